/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/udp_handover.h"

#include "dataplane/worker/worker_internal.h"

/*
 * Handing over a UDP flow. The flow keeps its socket, and with it the port that its server knows.
 * Datagrams on their way are in the kernel's queues. The exceptions are the first datagrams of a
 * flow that has no socket yet, or whose server has not answered: those are handed over
 * (handover.c).
 */

void udp_handover_get(const struct udp_flow *f, struct handover_udp *u)
{
	bool open = f->state == UDP_FLOW_OPEN;

	*u = (struct handover_udp){
		.port_id = f->listener->port_id,
		.flags = (uint8_t)((f->plain ? HANDOVER_UDP_PLAIN : 0) |
				   (f->routed ? HANDOVER_UDP_ROUTED : 0) |
				   (f->both ? HANDOVER_UDP_BOTH : 0) |
				   (f->second ? HANDOVER_UDP_SECOND : 0) |
				   (f->undecided ? HANDOVER_UDP_UNDECIDED : 0) |
				   (f->unreachable ? HANDOVER_UDP_UNREACHABLE : 0) |
				   (open ? HANDOVER_UDP_OPEN : 0)),
		.client = f->key.client,
		.local = f->key.local,
		.client_scope = f->key.client_scope,
		.local_ifindex = f->key.local_ifindex,
		.client_port = f->key.client_port,
		.last_ns = f->last_ns,
	};
}

struct udp_flow *udp_handover_put(struct worker *w, struct listener *l,
				  const struct handover_udp *u, int fd)
{
	struct udp_key key = {.client = u->client,
			      .local = u->local,
			      .client_scope = u->client_scope,
			      .local_ifindex = u->local_ifindex,
			      .client_port = u->client_port,
			      .listener = listener_index(w, l)};
	bool second = u->flags & HANDOVER_UDP_SECOND, routed = u->flags & HANDOVER_UDP_ROUTED;
	struct udp_flow *f;

	if ((second && !l->target2_len) || (routed && l->routed[second].sa.sa_family == 0))
		return NULL;
	f = udp_take_over(w, l, &key, fd);
	if (!f)
		return NULL;
	udp_target_choose(w, f);
	f->plain = u->flags & HANDOVER_UDP_PLAIN;
	f->routed = routed;
	f->both = u->flags & HANDOVER_UDP_BOTH;
	f->second = second;
	f->undecided = u->flags & HANDOVER_UDP_UNDECIDED;
	f->unreachable = u->flags & HANDOVER_UDP_UNREACHABLE;
	f->last_ns = u->last_ns < w->now_ns ? u->last_ns : w->now_ns;
	if (fd < 0)
		udp_wait(w, f);
	return f;
}
