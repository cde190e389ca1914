/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/budget.h"

#include "dataplane/worker/worker_internal.h"

/* The share of all descriptors, one in so many, that is kept for flows that are under way. */
#define FDS_RESERVE 16

/* The share of the descriptors that the listeners leave, one in so many, that each protocol has
 * alone. */
#define FDS_SHARE 4

static unsigned pools_hold(const struct worker *w, enum sockpool_index ipv4)
{
	return sockpool_hold(&w->supply.pools[ipv4]) + sockpool_hold(&w->supply.pools[ipv4 + 1]);
}

/* Descriptors that TCP holds, and those that its flows under way will need. */
static unsigned tcp_fds(const struct worker *w)
{
	return 2 * w->pipes.n_open + 2 * w->tcp.count + pools_hold(w, POOL_TCP4);
}

/* The descriptors that are left for flows, without the reserve. */
static unsigned flow_fds(const struct worker *w)
{
	unsigned max = w->config.fds_max - w->config.fds_max / FDS_RESERVE;

	return max > w->listeners.count ? max - w->listeners.count : 0;
}

static unsigned share_of(const struct worker *w, enum sockpool_index ipv4)
{
	const struct sockpool *pools = &w->supply.pools[ipv4];

	return pools[0].users || pools[1].users ? flow_fds(w) / FDS_SHARE : 0;
}

static unsigned larger(unsigned a, unsigned b)
{
	return a > b ? a : b;
}

static unsigned smaller(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

enum budget budget_udp(const struct worker *w)
{
	unsigned others = w->listeners.count + tcp_fds(w) + pools_hold(w, POOL_UDP4);
	unsigned tcp = smaller(tcp_fds(w), flow_fds(w) - share_of(w, POOL_UDP4));

	if (others + w->udp.slots + 1 > w->config.fds_max)
		return BUDGET_OUT;
	/* A flow that is closing still holds a descriptor: it comes from the reserve. */
	tcp = larger(tcp, share_of(w, POOL_TCP4));
	return tcp + pools_hold(w, POOL_UDP4) + w->udp.count + 1 > flow_fds(w) ? BUDGET_LOW
									       : BUDGET_PLENTY;
}

/* Descriptors that others hold, that are kept for UDP, or that TCP flows under way will need. */
static unsigned tcp_cannot_have(const struct worker *w)
{
	unsigned udp = w->udp.slots + pools_hold(w, POOL_UDP4);

	return w->listeners.count + tcp_fds(w) + larger(udp, share_of(w, POOL_UDP4));
}

unsigned budget_connections(const struct worker *w)
{
	unsigned max = w->config.fds_max - w->config.fds_max / FDS_RESERVE;
	unsigned taken = tcp_cannot_have(w);
	unsigned pairs = taken < max ? (max - taken) / 2 : 0;

	return smaller(pairs, w->config.tcp_flows_max - w->tcp.count);
}

bool budget_has_share(const struct worker *w, const struct listener *l)
{
	return io_has_share(l->n_flows, budget_connections(w));
}

unsigned budget_pool_max(const struct worker *w)
{
	unsigned max = w->config.fds_max / FDS_RESERVE;

	if (max < SOCKPOOL_REST)
		return SOCKPOOL_REST;
	return max < FDPASS_MAX ? max : FDPASS_MAX;
}
