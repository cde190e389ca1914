/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/handover_build.h"

#include <assert.h>
#include <string.h>

#include "base/fdpass.h"
#include "dataplane/worker/handover_counters.h"
#include "dataplane/worker/handover_record.h"
#include "dataplane/worker/out_handover.h"
#include "dataplane/worker/tcp_handover.h"
#include "dataplane/worker/udp_handover.h"
#include "dataplane/worker/worker_internal.h"

enum stage {
	STAGE_STATS,
	STAGE_PORTS,
	STAGE_TCP,
	STAGE_UDP,
	STAGE_MAPS,
	STAGE_RESPONDERS,
	STAGE_OUT_CLIENTS,
	STAGE_END
};

/* Room for one more record in the message, which is begun if need be. NULL: the message is full. */
static uint8_t *add_record(struct worker *w, enum handover_type type, unsigned fds)
{
	struct handover *h = &w->handover;
	struct handover_head head;
	size_t size = handover_record_size(type);

	if (h->len == 0) {
		head = (struct handover_head){.type = (uint16_t)type, .size = (uint32_t)size};
		h->len = sizeof(head);
		h->n_fds = 0;
	} else {
		memcpy(&head, w->handover.msg, sizeof(head));
	}
	if (head.type != type || h->len + size > HANDOVER_BYTES || h->n_fds + fds > FDPASS_MAX)
		return NULL;
	head.count = (uint16_t)(head.count + 1);
	memcpy(w->handover.msg, &head, sizeof(head));
	h->len += (unsigned)size;
	return w->handover.msg + h->len - size;
}

static void build_ports(struct worker *w)
{
	struct handover *h = &w->handover;

	for (; h->at < w->listeners.used; h->at++) {
		const struct listener *l = &w->listeners.table[h->at];
		struct handover_port p;
		uint8_t *to;

		if (l->state == LISTENER_FREE || l->outward)
			continue;
		to = add_record(w, HANDOVER_PORT, 0);
		if (!to)
			return;
		handover_get_port(l, &p);
		memcpy(to, &p, sizeof(p));
	}
}

static void build_tcp(struct worker *w)
{
	struct handover *h = &w->handover;

	for (; h->at < w->tcp.used; h->at++) {
		struct handover_tcp t;
		int fds[HANDOVER_TCP_FDS];
		unsigned n = 0;
		uint8_t *to;

		if (!tcp_handover_get(w, h->at, &t, fds, &n))
			continue;
		to = add_record(w, HANDOVER_TCP, n);
		if (!to)
			return;
		memcpy(to, &t, sizeof(t));
		memcpy(h->fds + h->n_fds, fds, n * sizeof(*fds));
		h->n_fds += n;
	}
}

static void build_udp(struct worker *w)
{
	struct handover *h = &w->handover;

	/* A flow with datagrams is the last record of its message: they come after it. */
	while (h->udp && h->copies == 0) {
		struct udp_flow *f = h->udp;
		uint8_t *to = add_record(w, HANDOVER_UDP, f->fd >= 0);
		struct handover_udp u;

		if (!to)
			return;
		udp_handover_get(f, &u);
		memcpy(to, &u, sizeof(u));
		if (f->fd >= 0)
			h->fds[h->n_fds++] = f->fd;
		h->copy = f->copy_first;
		h->copies = f->n_pending;
		h->udp = f->age_next;
	}
}

static void build_datagram(struct worker *w)
{
	struct handover *h = &w->handover;
	struct handover_datagram d = {.sent = w->udp.store.blocks[h->copy].sent};
	struct udp_payload p;
	uint8_t *to;

	h->copies--;
	h->copy = udp_copy_read(w, h->copy, &p);
	d.len = p.len;
	d.segment = p.segment;
	to = add_record(w, HANDOVER_DATAGRAM, 0);
	assert(to); /* a datagram has a message of its own */
	memcpy(to, &d, sizeof(d));
	memcpy(to + sizeof(d), p.data, p.len);
	h->len += p.len;
}

/* A mapping with peers is the last record of its message: they come after it. */
static void build_maps(struct worker *w)
{
	struct handover *h = &w->handover;

	for (; h->at < w->out.udp.maps_used && !h->peer; h->at++) {
		struct handover_map m;
		uint8_t *to;

		if (!out_handover_get(w, h->at, &m))
			continue;
		to = add_record(w, HANDOVER_MAP, 1);
		if (!to)
			return;
		memcpy(to, &m, sizeof(m));
		h->fds[h->n_fds++] = w->out.udp.maps[h->at].fd;
		h->peer = w->out.udp.maps[h->at].peers;
	}
}

static void build_peers(struct worker *w)
{
	struct handover *h = &w->handover;

	for (; h->peer; h->peer = h->peer->next) {
		struct handover_peer p = {.addr = h->peer->addr, .last_ns = h->peer->last_ns};
		uint8_t *to = add_record(w, HANDOVER_PEER, 0);

		if (!to)
			return;
		memcpy(to, &p, sizeof(p));
	}
}

static void build_responders(struct worker *w)
{
	struct handover *h = &w->handover;

	for (; h->at < w->out.udp.responders_used; h->at++) {
		const struct out_responder *r = &w->out.udp.responders[h->at];
		uint8_t *to;

		if (!r->used)
			continue;
		to = add_record(w, HANDOVER_RESPONDER, 1);
		if (!to)
			return;
		memcpy(to, &r->addr, sizeof(r->addr));
		h->fds[h->n_fds++] = r->fd;
	}
}

static void build_out_clients(struct worker *w)
{
	struct handover *h = &w->handover;

	for (; h->at < w->out.tcp.used; h->at++) {
		const struct out_pending *p = &w->out.tcp.table[h->at];
		struct handover_out_client c = {.client = p->client};
		uint8_t *to;

		if (p->state != OUT_CONNECTING || p->client_fd < 0)
			continue;
		to = add_record(w, HANDOVER_OUT_CLIENT, 1);
		if (!to)
			return;
		c.family = (uint32_t)p->listener->family;
		memcpy(to, &c, sizeof(c));
		h->fds[h->n_fds++] = p->client_fd;
	}
}

static void build_stats(struct worker *w)
{
	struct handover_stats s;

	if (w->handover.at++ > 0)
		return;
	handover_get_stats(w, &s);
	memcpy(add_record(w, HANDOVER_STATS, 0), &s, sizeof(s));
}

bool handover_build(struct worker *w)
{
	static void (*const builders[])(struct worker * w) = {
		[STAGE_STATS] = build_stats,
		[STAGE_PORTS] = build_ports,
		[STAGE_TCP] = build_tcp,
		[STAGE_UDP] = build_udp,
		[STAGE_MAPS] = build_maps,
		[STAGE_RESPONDERS] = build_responders,
		[STAGE_OUT_CLIENTS] = build_out_clients,

	};
	struct handover *h = &w->handover;

	if (h->copies > 0) {
		build_datagram(w);
		return true;
	}
	if (h->peer) {
		build_peers(w);
		return true;
	}
	while (h->stage < STAGE_END) {
		builders[h->stage](w);
		if (h->len)
			return true;
		h->stage++;
		h->at = 0;
		h->udp = w->udp.ages;
	}
	if (h->stage++ > STAGE_END)
		return false;
	h->len = sizeof(struct handover_head);
	h->n_fds = 0;
	memcpy(w->handover.msg, &(struct handover_head){.type = HANDOVER_END}, h->len);
	return true;
}
