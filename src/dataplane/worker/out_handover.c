/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/out_handover.h"

#include <utlist.h>

#include "dataplane/worker/worker_internal.h"

/*
 * The way out at a hand-over. TCP flows are handed over as all others are (tcp_handover.c). A
 * mapping keeps its socket, and with it the port that the outside knows, and the addresses from
 * which it accepts answers.
 *
 * A connection that is just being opened is not handed over: its packet waits in the queue, comes
 * again to the new worker, and is connected anew. A client that was accepted without its connection
 * outside is handed over, and connected anew, too. A ping under way is lost.
 */

void out_rest(struct worker *w)
{
	const struct out_udp *u = &w->out.udp;

	if (!w->out.on)
		return;
	gate_rest(w);
	out_tcp_rest(w);
	out_ping_rest(w);
	for (unsigned i = 0; i < 2; i++)
		if (w->config.out.udp_fd[i] >= 0 && !u->listener_paused[i])
			w->io->ops->cancel(w->io, w->config.out.udp_fd[i],
					   handle_pack(HANDLE_OUT_DATAGRAMS, 0, 0, i));
	for (uint32_t i = 0; i < u->maps_used; i++)
		if (u->maps[i].state == OUT_MAP_OPEN && u->maps[i].armed)
			w->io->ops->cancel(w->io, u->maps[i].fd, out_map_handle(w, &u->maps[i]));
}

bool out_in_flight(const struct worker *w)
{
	const struct out_udp *u = &w->out.udp;

	if (!w->out.on)
		return false;
	if (w->out.gate.armed || out_tcp_in_flight(w) || out_ping_in_flight(w))
		return true;
	for (unsigned i = 0; i < 2; i++)
		if (w->config.out.udp_fd[i] >= 0 && !u->listener_paused[i])
			return true;
	for (uint32_t i = 0; i < u->maps_used; i++)
		if (u->maps[i].armed)
			return true;
	return false;
}

void out_rest_tick(struct worker *w)
{
	if (!w->out.on)
		return;
	out_udp_flush(w);
	gate_flush(w);
	supply_request(w, &w->out.supply); /* the next data plane finds its pools full */
}

/* out_udp_tick of the next turn listens for datagrams again. */
void out_go(struct worker *w)
{
	struct out_udp *u = &w->out.udp;

	if (!w->out.on)
		return;
	gate_go(w);
	out_tcp_go(w);
	out_ping_go(w);
	for (uint32_t i = 0; i < u->maps_used; i++)
		if (u->maps[i].state == OUT_MAP_OPEN && !u->maps[i].armed && !u->maps[i].paused)
			out_map_arm(w, &u->maps[i]);
}

bool out_handover_get(const struct worker *w, uint32_t index, struct handover_map *m)
{
	const struct out_map *map = &w->out.udp.maps[index];

	if (map->state != OUT_MAP_OPEN)
		return false;
	*m = (struct handover_map){.kind = (uint8_t)map->kind,
				   .age = (uint8_t)map->age,
				   .resolver = (uint8_t)map->resolver,
				   .unanswered = map->unanswered,
				   .asked_ns = map->asked_ns,
				   .last_ns = map->last_ns,
				   .inside = map->inside};
	return true;
}

struct out_map *out_handover_put(struct worker *w, const struct handover_map *m, int fd)
{
	struct out_map *map;

	if (!w->out.on || !out_has_fds(w, 1) ||
	    out_map_find(w, &m->inside, (enum egress_kind)m->kind))
		return NULL;
	map = out_map_slot(w);
	if (!map)
		return NULL;
	__atomic_add_fetch(&w->config.out.ports->udp, 1, __ATOMIC_RELAXED);
	w->io->ops->adopt(w->io, fd);
	map->fd = fd;
	map->kind = (enum egress_kind)m->kind;
	map->resolver = m->resolver < w->out.policy.n_resolvers ? m->resolver : 0;
	map->unanswered = m->unanswered;
	map->asked_ns = m->asked_ns;
	out_map_begin(w, map, &m->inside, (enum out_age)m->age,
		      m->last_ns < w->now_ns ? m->last_ns : w->now_ns);
	return map;
}
