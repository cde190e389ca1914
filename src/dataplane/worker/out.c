/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/out.h"

#include <assert.h>

#include "dataplane/worker/worker_internal.h"

static int open_listeners(struct worker *w)
{
	static const int families[] = {AF_INET, AF_INET6};

	for (unsigned i = 0; i < 2; i++) {
		int code, fd = w->config.out.tcp_fd[i];

		if (fd < 0)
			continue;
		w->config.out.tcp_fd[i] = -1; /* the listener owns it now, even if this fails */
		code = listener_add_outward(w, fd, families[i], &w->out.port_stats);
		if (code)
			return code;
	}
	return 0;
}

static void open_supply(struct worker *w)
{
	const struct out_config *config = &w->config.out;
	struct supply *s = &w->out.supply;

	supply_open(w, s, HANDLE_OUT_CHANNEL, w->out.policy.netns_cookie);
	/* The other pools are used by ports. */
	s->pools[POOL_UDP4].users = config->udp_fd[0] >= 0;
	s->pools[POOL_UDP6].users = config->udp_fd[1] >= 0;
	if (config->channel_fd >= 0)
		supply_set_channel(w, s, config->channel_fd);
	supply_request(w, s); /* the first answers should not have to wait for sockets */
}

int out_open(struct worker *w)
{
	const struct out_config *config = &w->config.out;

	w->out.gate.fd = -1;
	if (!config->policy)
		return 0;
	w->out.on = true;
	w->out.policy = *config->policy;
	w->out.gate.fd = config->queue_fd;
	w->out.tcp.hash_seed = w->udp.hash_seed;
	open_supply(w);
	gate_open(w);
	out_udp_open(w);
	return open_listeners(w);
}

void out_close(struct worker *w)
{
	if (!w->out.on)
		return;
	out_tcp_close_all(w);
	out_udp_close_all(w);
	out_ping_close_all(w);
	supply_close(w, &w->out.supply);
	if (w->out.gate.fd >= 0)
		w->io->ops->close_fd(w->io, w->out.gate.fd);
}

void out_event(struct worker *w, const struct io_event *ev)
{
	switch (handle_op(ev->handle)) {
	case HANDLE_OUT_GATE:
		gate_event(w, ev);
		break;
	case HANDLE_OUT_CONNECT:
		out_tcp_connect_event(w, ev);
		break;
	case HANDLE_OUT_DATAGRAMS:
		out_udp_listen_event(w, ev);
		break;
	case HANDLE_OUT_MAP:
		out_udp_map_event(w, ev);
		break;
	case HANDLE_OUT_PING:
		out_ping_event(w, ev);
		break;
	case HANDLE_OUT_CHANNEL:
		supply_event(w, &w->out.supply, ev);
		tcp_sockets_ready(w, AF_INET, true);
		tcp_sockets_ready(w, AF_INET6, true);
		break;
	default:
		assert(false);
	}
}

void out_tick(struct worker *w)
{
	if (!w->out.on)
		return;
	out_udp_tick(w);
	out_tcp_tick(w);
	out_ping_tick(w);
	gate_tick(w);
	supply_request(w, &w->out.supply);
}

uint64_t out_deadline(const struct worker *w)
{
	uint64_t at = UINT64_MAX, others[5];

	if (!w->out.on)
		return at;
	others[0] = out_tcp_deadline(w);
	others[1] = out_udp_deadline(w);
	others[2] = out_ping_deadline(w);
	others[3] = gate_deadline(w);
	others[4] = supply_deadline(w, &w->out.supply);
	for (unsigned i = 0; i < 5; i++)
		at = others[i] < at ? others[i] : at;
	return at;
}

bool out_trim(struct worker *w)
{
	return w->out.on && supply_trim(&w->out.supply);
}

void out_set_resolvers(struct worker *w, const struct dp_msg *msg)
{
	const union sock_addr *resolvers[] = {&msg->target, &msg->target2, &msg->target3};
	struct dp_outward *policy = &w->out.policy;

	policy->n_resolvers = 0;
	for (unsigned i = 0; i < DP_RESOLVERS; i++)
		if (resolvers[i]->sa.sa_family)
			policy->resolvers[policy->n_resolvers++] = *resolvers[i];
	if (w->out.on)
		out_udp_new_resolvers(w);
}
