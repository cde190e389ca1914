/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/budget.h"

#include "dataplane/worker/worker_internal.h"

/* The last of the descriptors, as a share, are for flows that are under way. */
#define FDS_RESERVE 16

enum budget budget_left(const struct worker *w)
{
	unsigned max = w->config.fds_max;
	unsigned n = w->listeners.count + 2 * w->pipes.n_open + w->udp.slots + 2 * w->tcp.count;

	for (unsigned i = 0; i < POOLS; i++)
		n += sockpool_hold(&w->supply.pools[i]);
	n += 2; /* another flow */
	if (n > max)
		return BUDGET_OUT;
	return n > max - max / FDS_RESERVE ? BUDGET_LOW : BUDGET_PLENTY;
}

unsigned budget_pool_max(const struct worker *w)
{
	unsigned max = w->config.fds_max / FDS_RESERVE;

	if (max < SOCKPOOL_REST)
		return SOCKPOOL_REST;
	return max < FDPASS_MAX ? max : FDPASS_MAX;
}
