/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/handover.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/fd.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "dataplane/dataplane.h"
#include "dataplane/worker/handover_build.h"
#include "dataplane/worker/handover_counters.h"
#include "dataplane/worker/handover_record.h"
#include "dataplane/worker/out_handover.h"
#include "dataplane/worker/tcp_handover.h"
#include "dataplane/worker/udp_handover.h"
#include "dataplane/worker/worker_internal.h"

/* Pause before a message that the channel had no room for is sent again: the other worker reads at
 * once. */
#define RETRY_NS (WORKER_NS_PER_MS / 5)

/* Messages taken in one turn. */
#define TAKE_TURN 64

/* The message and its descriptors lie in w->copy, which payload needs only in service. They come
 * after the part that udp_copy_read uses. */
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

/* Giving */

static bool in_flight(const struct worker *w)
{
	return listener_in_flight(w) || tcp_handover_in_flight(w) || udp_in_flight(w) ||
	       out_in_flight(w);
}

void handover_give(struct worker *w, int fd, uint32_t seq)
{
	struct handover *h = &w->handover;
	/* An earlier hand-over was given up before everything was at rest. */
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
	h->stage = 0;
	h->at = 0;
	h->len = 0;
	h->copies = 0;
	h->peer = NULL;
	listener_rest(w);
	tcp_handover_rest(w);
	udp_rest(w);
	out_rest(w);
}

static void send_all(struct worker *w)
{
	struct handover *h = &w->handover;

	while (h->len || handover_build(w)) {
		int code = w->io->ops->msg_send_fds(w->io, h->fd, h->msg, h->len, h->fds, h->n_fds);

		/* ETOOMANYREFS: too many descriptors are in flight (unix(7)). */
		if (code == -ETOOMANYREFS || fd_is_passing(code)) {
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

static struct listener *outward_listener(const struct worker *w, int family)
{
	for (unsigned i = 0; i < w->listeners.used; i++) {
		struct listener *l = &w->listeners.table[i];

		if (l->state != LISTENER_FREE && l->outward && l->family == family)
			return l;
	}
	return NULL;
}

static struct listener *tcp_listener(struct worker *w, const struct handover_tcp *t)
{
	struct listener *l;

	if (!t->port_id)
		return outward_listener(w, t->family);
	l = listener_find(w, t->port_id);
	return l && l->proto == PORT_TCP ? l : NULL;
}

static bool take_out_client(struct worker *w, const uint8_t *record, int fd)
{
	struct handover_out_client c;
	struct listener *l;

	memcpy(&c, record, sizeof(c));
	l = outward_listener(w, (int)c.family);
	return l && out_tcp_take_over(w, l, &c.client, fd);
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

static bool take_map(struct worker *w, const uint8_t *record, const int *fds)
{
	struct handover_map m;

	memcpy(&m, record, sizeof(m));
	w->handover.map = out_handover_put(w, &m, fds[0]);
	return w->handover.map;
}

/* A responder is no flow: if it is lost, another is made when needed. */
static void take_responder(struct worker *w, const uint8_t *record, int fd)
{
	struct handover_responder r;

	memcpy(&r, record, sizeof(r));
	if (w->out.on && out_responder_take_over(w, &r.addr, fd))
		w->io->ops->adopt(w->io, fd);
	else
		w->io->ops->close_fd(w->io, fd);
}

static void take_peer(struct worker *w, const uint8_t *record)
{
	struct handover_peer p;

	memcpy(&p, record, sizeof(p));
	if (w->handover.map)
		out_peer_take_over(w, w->handover.map, &p.addr, p.last_ns);
}

static void take_counters(struct worker *w, enum handover_type type, const uint8_t *record)
{
	struct handover_stats s;
	struct handover_port p;

	if (type == HANDOVER_STATS) {
		memcpy(&s, record, sizeof(s));
		handover_put_stats(w, &s);
	} else {
		memcpy(&p, record, sizeof(p));
		handover_put_port(w, &p);
	}
}

/* Takes over a record's flow. Its descriptors are used, or closed here. */
static void take_flow(struct worker *w, const struct handover_message *m, const uint8_t *record,
		      const int *fds, unsigned n)
{
	bool taken = m->type == HANDOVER_TCP	      ? take_tcp(w, record, fds)
		     : m->type == HANDOVER_MAP	      ? take_map(w, record, fds)
		     : m->type == HANDOVER_OUT_CLIENT ? take_out_client(w, record, fds[0])
						      : take_udp(w, record, fds);

	if (taken) {
		w->handover.flows++;
		return;
	}
	w->handover.lost++;
	for (unsigned i = 0; i < n; i++)
		w->io->ops->close_fd(w->io, fds[i]);
}

/* Acts on a message's records. 0, or -errno: nothing of the hand-over is used. *used: how many
 * descriptors belong to flows, or are closed, by now. */
static int take_records(struct worker *w, const struct handover_message *m, const int *fds,
			size_t n, size_t *used)
{
	size_t size = handover_record_size(m->type);

	for (unsigned i = 0; i < m->count; i++) {
		const uint8_t *record = m->records + i * size;
		int want = handover_record_fds(m->type, record, m->extra_len);

		if (want < 0 || (size_t)want > n - *used)
			return -EPROTO;
		if (m->type == HANDOVER_RESPONDER)
			take_responder(w, record, fds[*used]);
		else if (m->type == HANDOVER_PEER)
			take_peer(w, record);
		else if (m->type == HANDOVER_DATAGRAM)
			take_datagram(w, m);
		else if (m->type == HANDOVER_STATS || m->type == HANDOVER_PORT)
			take_counters(w, m->type, record);
		else
			take_flow(w, m, record, fds + *used, (unsigned)want);
		*used += (size_t)want;
	}
	return *used == n ? 0 : -EPROTO;
}

/* Reads a message and acts on it. Returns 0; 1: there is none now; or -errno. */
static int take_one(struct worker *w)
{
	struct handover *h = &w->handover;
	struct handover_message m;
	size_t n = FDPASS_MAX, used = 0;
	bool lost;
	ssize_t len = w->io->ops->msg_recv(w->io, h->fd, h->msg, HANDOVER_BYTES, h->fds, &n, &lost);
	int code;

	if (len == -EAGAIN)
		return 1;
	if (len <= 0)
		return len < 0 ? (int)len : -ECONNRESET;
	if (lost)
		code = -EMFILE;
	else if (!handover_parse(h->msg, (size_t)len, &m))
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

/* The pools may have been filled meanwhile: flows that wait may have sockets. */
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
		w->handover.go = true; /* operations end because of the hand-over */
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
