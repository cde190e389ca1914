/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/out_ping.h"

#include <assert.h>
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <string.h>
#include <utlist.h>

#include "base/sockaddr.h"
#include "dataplane/worker/gate_packet.h"
#include "dataplane/worker/worker_internal.h"

/*
 * Pings on their way out. An echo request leaves by a ping socket, which any user may open where
 * the administrator allows it (icmp(7), ping_group_range). Its answer goes inside by a raw socket.
 * The client sees the answer that came, or none.
 */

/* Answers that take longer than this are dropped. */
#define PING_NS (10000 * WORKER_NS_PER_MS)

/* Answers read from one socket before others have their turn. */
#define PING_TURN 64

static uint64_t handle_of(const struct worker *w, const struct out_ping *p)
{
	return handle_pack(HANDLE_OUT_PING, 0, p->gen, (uint32_t)(p - w->out.pings.table));
}

static void arm(struct worker *w, struct out_ping *p)
{
	if (handover_holds(w))
		return; /* out_ping_go arms it */
	p->armed = true;
	w->io->ops->poll(w->io, p->fd, POLLIN, handle_of(w, p));
}

/* The states that may follow each state. */
static const uint8_t state_after[] = {
	[OUT_PING_FREE] = 1 << OUT_PING_OPEN,
	[OUT_PING_OPEN] = 1 << OUT_PING_CLOSING,
	[OUT_PING_CLOSING] = 0,
};

void out_ping_set_state(struct out_ping *p, enum out_ping_state state)
{
	assert(state_after[p->state] & 1 << state);
	p->state = state;
}

static void release(struct worker *w, struct out_ping *p)
{
	uint32_t gen = p->gen + 1;

	assert(p->state == OUT_PING_CLOSING && !p->armed);
	w->io->ops->close_fd(w->io, p->fd);
	w->out.fds--;
	memset(p, 0, sizeof(*p));
	p->gen = gen;
	p->next = w->out.pings.free;
	w->out.pings.free = p;
}

static void ping_close(struct worker *w, struct out_ping *p)
{
	DL_DELETE(w->out.pings.list, p);
	out_ping_set_state(p, OUT_PING_CLOSING);
	if (p->armed)
		w->io->ops->cancel(w->io, p->fd, handle_of(w, p));
	else
		release(w, p);
}

static struct out_ping *find(struct worker *w, const struct gate_packet *g, uint16_t id)
{
	struct out_ping *p;

	DL_FOREACH(w->out.pings.list, p)
	{
		if (p->id == id && sockaddr_same(&p->client, &g->source) &&
		    sockaddr_same(&p->dest, &g->dest))
			return p;
	}
	return NULL;
}

static struct out_ping *slot_get(struct worker *w)
{
	struct out_pings *t = &w->out.pings;
	struct out_ping *p = t->free;

	if (p)
		t->free = p->next;
	else if (t->used < LIMIT_OUT_PINGS)
		p = &t->table[t->used++];
	else if (t->list)
		ping_close(w, t->list); /* the slot is free once its operation has ended */
	return p;
}

/* Opens a socket that is connected to the request's destination. Returns it or -errno. */
static int socket_to(struct worker *w, const union sock_addr *to)
{
	bool ipv6 = to->sa.sa_family == AF_INET6;
	int fd = w->io->ops->socket_open(w->io, to->sa.sa_family, SOCK_DGRAM,
					 ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
	int code = fd < 0 ? fd : w->io->ops->connect_now(w->io, fd, &to->sa, sockaddr_len(&to->sa));

	if (code < 0 && fd >= 0)
		w->io->ops->close_fd(w->io, fd);
	return code < 0 ? code : fd;
}

static struct out_ping *ping_new(struct worker *w, const struct gate_packet *g, uint16_t id,
				 const union sock_addr *to)
{
	struct out_ping *p = out_has_fds(w, 1) ? slot_get(w) : NULL;

	if (!p)
		return NULL;
	p->fd = socket_to(w, to);
	if (p->fd < 0) {
		p->next = w->out.pings.free;
		w->out.pings.free = p;
		return NULL;
	}
	out_ping_set_state(p, OUT_PING_OPEN);
	p->id = id;
	p->client = g->source;
	p->dest = g->dest;
	w->out.fds++;
	DL_APPEND(w->out.pings.list, p);
	arm(w, p);
	return p;
}

void out_ping_echo(struct worker *w, const struct gate_packet *g)
{
	enum egress_kind kind;
	union sock_addr to;
	struct out_ping *p;
	uint16_t id;

	stats_add(&w->stats->out_pings, 1);
	memcpy(&id, g->icmp + 4, sizeof(id));
	if (egress_decide(&w->out.policy, &g->dest, 0, &to, &kind) != EGRESS_ALLOWED ||
	    kind != EGRESS_WORLD)
		return;
	p = find(w, g, id);
	if (!p)
		p = ping_new(w, g, id, &to);
	if (!p)
		return;
	p->last_ns = w->now_ns;
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a list has a last one */
	DL_DELETE(w->out.pings.list, p);
	DL_APPEND(w->out.pings.list, p);
	w->io->ops->send(w->io, p->fd, g->icmp, g->icmp_len, 0);
}

static void answer(struct worker *w, struct out_ping *p, uint8_t *message, size_t len)
{
	bool ipv6 = p->client.sa.sa_family == AF_INET6;

	if (len < sizeof(struct icmphdr) ||
	    message[0] != (ipv6 ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY))
		return;
	memcpy(message + 4, &p->id, sizeof(p->id));
	stats_add(&w->stats->out_pings_answered, 1);
	out_icmp_send(w, &p->client, &p->dest, message, len);
}

static void take_answers(struct worker *w, struct out_ping *p)
{
	for (unsigned i = 0; i < PING_TURN; i++) {
		ssize_t n = w->io->ops->recv(w->io, p->fd, w->copy, WORKER_BULK_COPY_BYTES, 0);
		struct io_error e;

		if (n >= 0)
			answer(w, p, w->copy, (size_t)n);
		else if (n == -EAGAIN && w->io->ops->recv_error(w->io, p->fd, &e) < 0)
			return;
	}
}

void out_ping_event(struct worker *w, const struct io_event *ev)
{
	uint32_t index = handle_index(ev->handle);
	struct out_ping *p;

	assert(index < w->out.pings.used);
	p = &w->out.pings.table[index];
	if (!worker_is_current(w, ev, p->state != OUT_PING_FREE, p->gen))
		return;
	p->armed = false;
	if (p->state == OUT_PING_CLOSING) {
		release(w, p);
		return;
	}
	if (!handover_holds(w))
		take_answers(w, p);
	arm(w, p);
}

void out_ping_rest(struct worker *w)
{
	struct out_ping *p;

	DL_FOREACH(w->out.pings.list, p)
	{
		if (p->armed)
			w->io->ops->cancel(w->io, p->fd, handle_of(w, p));
	}
}

bool out_ping_in_flight(const struct worker *w)
{
	for (unsigned i = 0; i < w->out.pings.used; i++)
		if (w->out.pings.table[i].armed)
			return true;
	return false;
}

void out_ping_go(struct worker *w)
{
	struct out_ping *p;

	DL_FOREACH(w->out.pings.list, p)
	{
		if (!p->armed)
			arm(w, p);
	}
}

void out_ping_tick(struct worker *w)
{
	struct out_ping *p;

	while ((p = w->out.pings.list) && w->now_ns - p->last_ns >= PING_NS)
		ping_close(w, p);
}

uint64_t out_ping_deadline(const struct worker *w)
{
	return w->out.pings.list ? w->out.pings.list->last_ns + PING_NS : UINT64_MAX;
}

void out_ping_close_all(struct worker *w)
{
	for (unsigned i = 0; i < w->out.pings.used; i++)
		if (w->out.pings.table[i].state != OUT_PING_FREE)
			w->io->ops->close_fd(w->io, w->out.pings.table[i].fd);
}
