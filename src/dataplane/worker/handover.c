/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/handover.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/fdpass.h"
#include "base/log.h"
#include "dataplane/dataplane.h"
#include "dataplane/worker/handover_record.h"
#include "dataplane/worker/tcp_handover.h"
#include "dataplane/worker/udp_handover.h"
#include "dataplane/worker/worker_internal.h"

/* What a channel does not take now is offered again after this: the other worker reads at once. */
#define RETRY_NS (WORKER_NS_PER_MS / 5)

/* Messages taken in one turn. */
#define TAKE_TURN 64

enum stage { STAGE_STATS, STAGE_PORTS, STAGE_TCP, STAGE_UDP, STAGE_END };

/* The message and its descriptors lie in the buffer that payload needs only in service, behind what
 * udp_copy_read puts together there. */
#define MSG_AT ((UDP_RUN_BYTES + 8) & ~7)
#define FDS_AT (MSG_AT + HANDOVER_BYTES)

static_assert(WORKER_BULK_COPY_BYTES >= FDS_AT + sizeof(int) * FDPASS_MAX && FDS_AT % 8 == 0,
	      "a message fits there");

void handover_open(struct worker *w, bool hold)
{
	w->handover = (struct handover){.state = hold ? HANDOVER_HOLDING : HANDOVER_NONE, .fd = -1};
	w->handover.msg = w->copy + MSG_AT;
	w->handover.fds = (int *)(void *)(w->copy + FDS_AT);
}

static void close_channel(struct worker *w)
{
	if (w->handover.fd >= 0)
		w->io->ops->close_fd(w->io, w->handover.fd);
	w->handover.fd = -1;
	w->handover.gen++;
}

void handover_close(struct worker *w)
{
	close_channel(w);
}

/* Counters: those of now are made anew with what is taken over. */

static uint64_t *const *gauges(struct stats *s, uint64_t *out[7])
{
	out[0] = &s->tcp_flows;
	out[1] = &s->udp_flows;
	out[2] = &s->pipes_open;
	out[3] = &s->listeners;
	out[4] = &s->out_tcp_pending;
	out[5] = &s->out_tcp_flows;
	out[6] = &s->out_udp_flows;
	return out;
}

static void get_stats(const struct worker *w, struct handover_stats *out)
{
	struct stats copy = *w->stats;
	uint64_t *of_now[7];

	gauges(&copy, of_now);
	for (unsigned i = 0; i < 7; i++)
		*of_now[i] = 0;
	memcpy(out->words, &copy, sizeof(copy));
}

static void add_words(uint64_t *to, const uint64_t *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		stats_add(&to[i], words[i]);
}

static void put_stats(struct worker *w, const struct handover_stats *in)
{
	struct stats copy;
	uint64_t *of_now[7];

	memcpy(&copy, in->words, sizeof(copy));
	gauges(&copy, of_now);
	for (unsigned i = 0; i < 7; i++)
		*of_now[i] = 0;
	add_words((uint64_t *)w->stats, (const uint64_t *)&copy, STATS_WORDS);
}

static void get_port(const struct listener *l, struct handover_port *p)
{
	struct port_stats copy = *l->stats;

	*p = (struct handover_port){.port_id = l->port_id,
				    .transparent_worked = l->transparent_worked,
				    .transparent_timeouts = l->transparent_timeouts,
				    .transparent_offs = l->transparent_offs,
				    .transparent_off_ns = l->transparent_off_ns,
				    .routed_off_ns = l->routed_off_ns,
				    .udp_second_ns = l->udp_second_ns};
	copy.flows = 0;
	/* The port's socket in the namespace shares them. */
	if (l->port_id > 0)
		memcpy(p->words, &copy, sizeof(copy));
}

static void put_port(struct worker *w, const struct handover_port *p)
{
	struct listener *l = p->port_id ? listener_find(w, p->port_id) : NULL;
	struct port_stats copy;

	if (!l)
		return;
	l->transparent_worked = p->transparent_worked != 0;
	l->transparent_timeouts = p->transparent_timeouts;
	l->transparent_offs = p->transparent_offs;
	l->transparent_off_ns = p->transparent_off_ns;
	l->routed_off_ns = p->routed_off_ns;
	l->udp_second_ns = p->udp_second_ns;
	memcpy(&copy, p->words, sizeof(copy));
	copy.flows = 0;
	add_words((uint64_t *)l->stats, (const uint64_t *)&copy, PORT_STATS_WORDS);
}

/* Giving */

static bool in_flight(const struct worker *w)
{
	return listener_in_flight(w) || tcp_handover_in_flight(w) || udp_in_flight(w) ||
	       out_in_flight(w);
}

void handover_give(struct worker *w, int fd, uint32_t seq)
{
	struct handover *h = &w->handover;
	/* One that was given up, and came to rest no sooner. */
	bool again = h->state == HANDOVER_RESTING && h->go;

	if (h->state != HANDOVER_NONE && !again) {
		w->io->ops->close_fd(w->io, fd);
		answers_send(w, 0, seq, -EALREADY);
		return;
	}
	close_channel(w);
	h->go = false;
	udp_flush(w);
	h->state = HANDOVER_RESTING;
	h->fd = fd;
	h->seq = seq;
	h->stage = STAGE_STATS;
	h->at = 0;
	h->len = 0;
	h->copies = 0;
	listener_rest(w);
	tcp_handover_rest(w);
	udp_rest(w);
	out_rest(w);
}

/* Room for a record more in the message, which is begun if need be. NULL: it is full. */
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
		get_port(l, &p);
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

	/* One with datagrams is the last of its message: they come after it. */
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
	assert(to); /* it has a message of its own */
	memcpy(to, &d, sizeof(d));
	memcpy(to + sizeof(d), p.data, p.len);
	h->len += p.len;
}

static void build_stats(struct worker *w)
{
	struct handover_stats s;

	if (w->handover.at++ > 0)
		return;
	get_stats(w, &s);
	memcpy(add_record(w, HANDOVER_STATS, 0), &s, sizeof(s));
}

/* The next message. False: there is none any more. */
static bool build(struct worker *w)
{
	static void (*const builders[])(struct worker * w) = {
		[STAGE_STATS] = build_stats,
		[STAGE_PORTS] = build_ports,
		[STAGE_TCP] = build_tcp,
		[STAGE_UDP] = build_udp,
	};
	struct handover *h = &w->handover;

	if (h->copies > 0) {
		build_datagram(w);
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

static void send_all(struct worker *w)
{
	struct handover *h = &w->handover;

	while (h->len || build(w)) {
		int code = w->io->ops->msg_send_fds(w->io, h->fd, w->handover.msg, h->len, h->fds,
						    h->n_fds);

		/* unix(7), ETOOMANYREFS: descriptors in flight are limited. */
		if (code == -EAGAIN || code == -ETOOMANYREFS || code == -ENOBUFS) {
			h->retry_ns = w->now_ns + RETRY_NS;
			return;
		}
		if (code < 0) {
			h->state = HANDOVER_SENT;
			answers_send(w, 0, h->seq, code);
			return;
		}
		h->len = 0;
	}
	h->state = HANDOVER_SENT;
	answers_send(w, 0, h->seq, 0);
}

/* Taking */

static void arm(struct worker *w)
{
	w->io->ops->poll(w->io, w->handover.fd, POLLIN,
			 handle_pack(HANDLE_HANDOVER, 0, w->handover.gen, 0));
}

void handover_take(struct worker *w, int fd, uint32_t seq)
{
	struct handover *h = &w->handover;

	if (h->state != HANDOVER_HOLDING || h->fd >= 0) {
		w->io->ops->close_fd(w->io, fd);
		answers_send(w, 0, seq, -EALREADY);
		return;
	}
	h->fd = fd;
	h->seq = seq;
	arm(w);
}

static void answer(struct worker *w, int err)
{
	answers_send(w, 0, w->handover.seq, err);
	close_channel(w);
}

static struct listener *tcp_listener(struct worker *w, const struct handover_tcp *t)
{
	struct listener *l;

	if (t->port_id) {
		l = listener_find(w, t->port_id);
		return l && l->proto == PORT_TCP ? l : NULL;
	}
	for (unsigned i = 0; i < w->listeners.used; i++) {
		l = &w->listeners.table[i];
		if (l->state != LISTENER_FREE && l->outward && l->family == t->family)
			return l;
	}
	return NULL;
}

static bool take_tcp(struct worker *w, const uint8_t *record, const int *fds)
{
	struct handover_tcp t;
	struct listener *l;

	memcpy(&t, record, sizeof(t));
	l = tcp_listener(w, &t);
	return l && tcp_handover_put(w, l, &t, fds);
}

static bool take_udp(struct worker *w, const uint8_t *record, const int *fds)
{
	struct handover_udp u;
	struct listener *l;

	memcpy(&u, record, sizeof(u));
	l = listener_find(w, u.port_id);
	w->handover.udp = NULL;
	if (l && l->proto == PORT_UDP)
		w->handover.udp =
			udp_handover_put(w, l, &u, u.flags & HANDOVER_UDP_OPEN ? fds[0] : -1);
	return w->handover.udp;
}

static void take_datagram(struct worker *w, const struct handover_message *m)
{
	struct handover_datagram d;
	struct udp_payload p;

	memcpy(&d, m->records, sizeof(d));
	p = (struct udp_payload){
		.data = m->extra, .len = d.len, .segment = d.segment, .buf_id = UDP_NO_BUF};
	if (w->handover.udp)
		udp_pending_take_over(w, w->handover.udp, &p, d.sent);
}

static void take_counters(struct worker *w, enum handover_type type, const uint8_t *record)
{
	struct handover_stats s;
	struct handover_port p;

	if (type == HANDOVER_STATS) {
		memcpy(&s, record, sizeof(s));
		put_stats(w, &s);
	} else {
		memcpy(&p, record, sizeof(p));
		put_port(w, &p);
	}
}

/* Its descriptors are taken over, or closed here. */
static void take_flow(struct worker *w, const struct handover_message *m, const uint8_t *record,
		      const int *fds, unsigned n)
{
	bool taken = m->type == HANDOVER_TCP ? take_tcp(w, record, fds) : take_udp(w, record, fds);

	if (taken) {
		w->handover.flows++;
		return;
	}
	w->handover.lost++;
	for (unsigned i = 0; i < n; i++)
		w->io->ops->close_fd(w->io, fds[i]);
}

/* 0, or -errno: there will be nothing of it. *used: descriptors that are nobody's to close now. */
static int take_records(struct worker *w, const struct handover_message *m, const int *fds,
			size_t n, size_t *used)
{
	size_t size = handover_record_size(m->type);

	for (unsigned i = 0; i < m->count; i++) {
		const uint8_t *record = m->records + i * size;
		int want = handover_record_fds(m->type, record, m->extra_len);

		if (want < 0 || (size_t)want > n - *used)
			return -EPROTO;
		if (m->type == HANDOVER_DATAGRAM)
			take_datagram(w, m);
		else if (m->type == HANDOVER_STATS || m->type == HANDOVER_PORT)
			take_counters(w, m->type, record);
		else
			take_flow(w, m, record, fds + *used, (unsigned)want);
		*used += (size_t)want;
	}
	return *used == n ? 0 : -EPROTO;
}

/* Takes a message. 1: there is none now; 0; or -errno. */
static int take_one(struct worker *w)
{
	struct handover *h = &w->handover;
	struct handover_message m;
	size_t n = FDPASS_MAX, used = 0;
	ssize_t len =
		w->io->ops->msg_recv(w->io, h->fd, w->handover.msg, HANDOVER_BYTES, h->fds, &n);
	int code;

	if (len == -EAGAIN)
		return 1;
	if (len <= 0)
		return len < 0 ? (int)len : -ECONNRESET;
	if (!handover_parse(w->handover.msg, (size_t)len, &m))
		code = -EPROTO;
	else if (m.type == HANDOVER_END && n == 0)
		code = -ENODATA;
	else
		code = take_records(w, &m, h->fds, n, &used);
	for (; used < n; used++)
		w->io->ops->close_fd(w->io, h->fds[used]);
	return code;
}

void handover_event(struct worker *w, const struct io_event *ev)
{
	int code = 0;

	if (w->handover.fd < 0 || !handle_is_current(ev->handle, w->handover.gen))
		return;
	for (unsigned i = 0; i < TAKE_TURN && code == 0; i++)
		code = take_one(w);
	if (code == -ENODATA)
		answer(w, 0);
	else if (code < 0)
		answer(w, code);
	else
		arm(w);
}

/* Going on */

/* Whoever has waited for a socket may find one: the pools were filled meanwhile. */
static void sockets_ready(struct worker *w)
{
	for (unsigned i = 0; i < 2; i++) {
		int family = i ? AF_INET6 : AF_INET;

		udp_sockets_ready(w, family);
		tcp_sockets_ready(w, family, false);
		if (w->out.on)
			tcp_sockets_ready(w, family, true);
	}
}

static void go(struct worker *w)
{
	struct handover *h = &w->handover;

	close_channel(w);
	h->state = HANDOVER_NONE;
	h->go = false;
	listener_go(w);
	tcp_handover_go(w);
	udp_go(w);
	out_go(w);
	sockets_ready(w);
}

void handover_go(struct worker *w)
{
	if (w->handover.state == HANDOVER_RESTING)
		w->handover.go = true; /* what ends now was taken back */
	else if (w->handover.state != HANDOVER_NONE)
		go(w);
}

void handover_tick(struct worker *w)
{
	struct handover *h = &w->handover;

	if (h->state == HANDOVER_RESTING && in_flight(w))
		return;
	if (h->go) {
		go(w);
		return;
	}
	if (h->state == HANDOVER_RESTING)
		h->state = HANDOVER_SENDING;
	if (h->state == HANDOVER_SENDING)
		send_all(w);
}

uint64_t handover_deadline(const struct worker *w)
{
	return w->handover.state == HANDOVER_SENDING ? w->handover.retry_ns : UINT64_MAX;
}
