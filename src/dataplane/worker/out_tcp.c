/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/out_tcp.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <utlist.h>

#include "dataplane/worker/gate_packet.h"
#include "dataplane/worker/out_hash.h"
#include "dataplane/worker/worker_internal.h"

/*
 * Connections on their way out.
 *
 * The packet that opens one waits in the queue (gate.c) while the worker connects outside. When
 * that has succeeded, the packet goes on to the worker's listener, and the connection that is
 * accepted there joins the one outside as a flow like any other (tcp.c). When it has failed, the
 * client is told the reason: refused, unreachable or prohibited. While the connect gets no answer,
 * neither does the client: its repeated packets are recognised and dropped. When they stop, the
 * client has given up, and so does the worker.
 *
 * Without a queue, or for a connection whose packet an earlier data plane let through, the client
 * is accepted first, and reset if the connect fails.
 */

/* Pause between two looks at pending connections for expiry. */
#define CHECK_NS (500 * WORKER_NS_PER_MS)

/* Time for a client's handshake after its packet has gone on. One of the three packets may be lost
 * between the namespaces; it is repeated within a second, or three. */
#define ACCEPT_NS (10000 * WORKER_NS_PER_MS)

/* TCP repeats an unanswered packet after about as long as it has been trying (RFC 6298, 5.5). A
 * client counts as gone after twice that time plus this. */
#define SILENCE_NS (4000 * WORKER_NS_PER_MS)

/* The states that may follow each state. */
static const uint8_t state_after[] = {
	[OUT_FREE] = 1 << OUT_CONNECTING,
	[OUT_CONNECTING] = 1 << OUT_CONNECTING | 1 << OUT_CONNECTED | 1 << OUT_CLOSING,
	[OUT_CONNECTED] = 1 << OUT_CLOSING,
	[OUT_CLOSING] = 0,
};

void out_tcp_set_state(struct out_pending *p, enum out_state state)
{
	assert(state_after[p->state] & 1 << state);
	p->state = state;
}

uint64_t out_tcp_handle(const struct worker *w, const struct out_pending *p)
{
	return handle_pack(HANDLE_OUT_CONNECT, 0, p->gen, (uint32_t)(p - w->out.tcp.table));
}

/* The table */

static struct out_pending **bucket_of(struct worker *w, const union sock_addr *client,
				      const union sock_addr *dest)
{
	struct out_tcp *t = &w->out.tcp;

	return &t->hash[out_hash_addr(out_hash_addr(t->hash_seed, client), dest) & t->hash_mask];
}

static struct out_pending *find(struct worker *w, const union sock_addr *client,
				const union sock_addr *dest)
{
	struct out_pending *p = *bucket_of(w, client, dest);

	while (p && !(sockaddr_same(&p->client, client) && sockaddr_same(&p->dest, dest)))
		p = p->hash_next;
	return p;
}

static void unhash(struct worker *w, struct out_pending *p)
{
	struct out_pending **at = bucket_of(w, &p->client, &p->dest);

	while (*at != p)
		at = &(*at)->hash_next;
	*at = p->hash_next;
}

static void release(struct worker *w, struct out_pending *p)
{
	struct out_tcp *t = &w->out.tcp;
	uint32_t gen = p->gen + 1;

	assert(!p->armed && !p->held && p->client_fd < 0 && p->fd < 0);
	DL_DELETE(t->list, p);
	t->count--;
	stats_sub(&w->stats->out_tcp_pending, 1);
	memset(p, 0, sizeof(*p));
	p->gen = gen;
	p->next = t->free;
	t->free = p;
}

static void close_outside(struct worker *w, struct out_pending *p)
{
	if (p->fd >= 0)
		w->io->ops->reset_fd(w->io, p->fd);
	p->fd = -1;
}

/* The connection is given up. The client gets verdict, or a reset if it has been accepted. */
static void give_up(struct worker *w, struct out_pending *p, enum gate_verdict verdict)
{
	if (p->held)
		gate_decide(w, p->packet, verdict);
	p->held = false;
	if (p->client_fd >= 0)
		w->io->ops->reset_fd(w->io, p->client_fd);
	p->client_fd = -1;
	unhash(w, p);
	w->out.fds -= 2;
	out_port_put(w);
	out_tcp_set_state(p, OUT_CLOSING);
	if (p->armed) {
		w->io->ops->cancel(w->io, p->fd, out_tcp_handle(w, p));
		return;
	}
	close_outside(w, p);
	release(w, p);
}

/* Room */

/* Gives up the oldest of the connects under way: a flood of connects that nobody answers must not
 * keep others out for as long as TCP waits. */
static void make_room(struct worker *w)
{
	struct out_tcp *t = &w->out.tcp;
	struct out_pending *p = t->list;

	if (t->count < w->config.out.pending_max - w->config.out.pending_max / 8)
		return;
	while (p && p->state == OUT_CLOSING)
		p = p->next;
	if (!p)
		return;
	stats_add(&w->stats->out_tcp_evicted, 1);
	give_up(w, p, GATE_DROP);
}

static struct out_pending *slot_get(struct worker *w)
{
	struct out_tcp *t = &w->out.tcp;
	struct out_pending *p = t->free;

	if (p) {
		t->free = p->next;
	} else {
		if (t->used == w->config.out.pending_max)
			return NULL;
		p = &t->table[t->used++];
	}
	assert(p->state == OUT_FREE);
	p->fd = p->client_fd = -1;
	return p;
}

static struct out_pending *pending_new(struct worker *w, const union sock_addr *client,
				       const union sock_addr *dest)
{
	struct out_tcp *t = &w->out.tcp;
	struct out_pending *p, **bucket;

	make_room(w);
	if (!out_tcp_has_room(w) || !out_port_get(w))
		return NULL;
	p = slot_get(w);
	if (!p) {
		out_port_put(w);
		return NULL;
	}
	bucket = bucket_of(w, client, dest);
	p->client = *client;
	p->dest = *dest;
	p->begun_ns = p->seen_ns = w->now_ns;
	p->hash_next = *bucket;
	*bucket = p;
	DL_APPEND(t->list, p);
	if (t->count++ == 0)
		t->check_ns = w->now_ns + CHECK_NS;
	w->out.fds += 2;
	stats_add(&w->stats->out_tcp_pending, 1);
	return p;
}

/* Connecting */

static enum gate_verdict verdict_of(int err)
{
	switch (-err) {
	case ECONNREFUSED:
	case ECONNRESET:
		return GATE_REFUSE;
	case EHOSTUNREACH:
	case EHOSTDOWN:
		return GATE_UNREACHABLE_HOST;
	case ENETUNREACH:
	case ENETDOWN:
	case EAFNOSUPPORT:
	case EADDRNOTAVAIL: /* the host has no address of this family */
	case EINVAL:
		return GATE_UNREACHABLE_NET;
	case EACCES:
	case EPERM:
		return GATE_PROHIBIT;
	default:
		return GATE_DROP;
	}
}

static uint64_t *counter_of(struct stats *stats, enum gate_verdict verdict, int err)
{
	switch (verdict) {
	case GATE_REFUSE:
		return &stats->out_tcp_refused;
	case GATE_UNREACHABLE_HOST:
	case GATE_UNREACHABLE_NET:
		return &stats->out_tcp_unreachable;
	case GATE_PROHIBIT:
		return &stats->out_tcp_prohibited;
	default:
		return err == -ETIMEDOUT || err == -ECANCELED ? &stats->out_tcp_timed_out
							      : &stats->out_tcp_failed;
	}
}

static void failed(struct worker *w, struct out_pending *p, int err)
{
	enum gate_verdict verdict = verdict_of(err);

	stats_add(counter_of(w->stats, verdict, err), 1);
	give_up(w, p, verdict);
}

/* Binds the socket to the address that --outbound-addr names. */
static int bind_outside(struct worker *w, const struct out_pending *p)
{
	const struct dp_outward *policy = &w->out.policy;
	const union sock_addr *from =
		p->to.sa.sa_family == AF_INET6 ? &policy->outbound6 : &policy->outbound4;

	if (p->kind != EGRESS_WORLD || from->sa.sa_family == 0)
		return 0;
	return w->io->ops->bind_from(w->io, p->fd, &from->sa, sockaddr_len(&from->sa));
}

void out_tcp_arm(struct worker *w, struct out_pending *p)
{
	if (handover_holds(w))
		return; /* out_tcp_go arms it */
	p->armed = true;
	w->io->ops->poll(w->io, p->fd, POLLOUT, out_tcp_handle(w, p));
}

/* Starts the connect, not by the ring: the ring's connect returns 0 when an ICMP error has come
 * while connect(2) was at work, as one from this host does. 0, or -errno and there is no socket. */
static int start_connect(struct worker *w, struct out_pending *p)
{
	int code;

	p->fd = w->io->ops->socket_open(w->io, p->to.sa.sa_family, SOCK_STREAM, IPPROTO_TCP);
	if (p->fd < 0) {
		code = p->fd;
		p->fd = -1;
		return code;
	}
	code = bind_outside(w, p);
	if (code) {
		close_outside(w, p);
		return code;
	}
	if (p->state != OUT_CONNECTING)
		out_tcp_set_state(p, OUT_CONNECTING);
	code = w->io->ops->connect_now(w->io, p->fd, &p->to.sa, sockaddr_len(&p->to.sa));
	if (code && code != -EINPROGRESS) {
		close_outside(w, p);
		return code;
	}
	out_tcp_arm(w, p);
	return 0;
}

/* Makes a flow of the client's connection and the one outside. */
static void join(struct worker *w, struct out_pending *p)
{
	struct listener *l = p->listener;
	int client_fd = p->client_fd, fd = p->fd;

	p->client_fd = p->fd = -1;
	if (p->held) /* the packet is of another attempt from the same port, which came while this
			one was accepted */
		gate_decide(w, p->packet, GATE_DROP);
	p->held = false;
	if (p->state != OUT_CONNECTED)
		out_tcp_set_state(p, OUT_CONNECTED);
	unhash(w, p);
	release(w, p);
	w->out.tcp.flows++;
	stats_add(&w->stats->out_tcp_connected, 1);
	tcp_join(w, l, client_fd, fd);
}

static void connected(struct worker *w, struct out_pending *p)
{
	if (p->client_fd >= 0) {
		join(w, p);
		return;
	}
	assert(p->held);
	out_tcp_set_state(p, OUT_CONNECTED);
	p->seen_ns = w->now_ns;
	p->held = false;
	gate_decide(w, p->packet, GATE_ACCEPT);
}

/* Tries another resolver, if there is one that was not tried. */
static bool next_resolver(struct worker *w, struct out_pending *p)
{
	const struct dp_outward *policy = &w->out.policy;

	if (p->kind != EGRESS_DNS || p->resolver + 1 >= policy->n_resolvers)
		return false;
	p->resolver++;
	p->to = policy->resolvers[p->resolver];
	close_outside(w, p);
	return start_connect(w, p) == 0;
}

/* A second connect(2) returns the outcome of the first, except for an ICMP error that came while
 * the first was at work: then the kernel goes on trying, and only SO_ERROR tells. */
static int connect_result(struct worker *w, struct out_pending *p, int32_t events)
{
	int code = events & POLLERR ? w->io->ops->error_of(w->io, p->fd) : 0;

	if (code)
		return code;
	code = w->io->ops->connect_now(w->io, p->fd, &p->to.sa, sockaddr_len(&p->to.sa));
	if (code == -EALREADY && (events & POLLERR))
		return -EHOSTUNREACH;
	return code == -EISCONN ? 0 : code;
}

static void connect_outcome(struct worker *w, struct out_pending *p, int code)
{
	if (code == 0)
		connected(w, p);
	else if (code == -EALREADY || code == -EINPROGRESS)
		out_tcp_arm(w, p);
	else if (!next_resolver(w, p))
		failed(w, p, code);
}

void out_tcp_connect_event(struct worker *w, const struct io_event *ev)
{
	uint32_t index = handle_index(ev->handle);
	struct out_pending *p;

	assert(index < w->out.tcp.used);
	p = &w->out.tcp.table[index];
	if (!worker_is_current(w, ev, p->state != OUT_FREE, p->gen))
		return;
	assert(p->armed);
	p->armed = false;
	if (p->state == OUT_CLOSING) {
		close_outside(w, p);
		release(w, p);
		return;
	}
	if (!handover_holds(w))
		connect_outcome(w, p, ev->res < 0 ? ev->res : connect_result(w, p, ev->res));
}

struct out_pending *out_tcp_begin(struct worker *w, const union sock_addr *client,
				  const union sock_addr *dest, enum gate_verdict *verdict)
{
	enum egress_kind kind = EGRESS_WORLD;
	union sock_addr to;
	enum egress egress = egress_decide(&w->out.policy, dest, 0, &to, &kind);
	struct out_pending *p;

	if (egress != EGRESS_ALLOWED) {
		out_log_refused(w, "TCP connection", client, dest);
		*verdict = egress == EGRESS_REFUSED ? GATE_REFUSE : GATE_PROHIBIT;
		stats_add(counter_of(w->stats, *verdict, 0), 1);
		return NULL;
	}
	p = pending_new(w, client, dest);
	if (!p) {
		*verdict = GATE_DROP;
		stats_add(&w->stats->out_tcp_dropped, 1);
		return NULL;
	}
	p->kind = kind;
	p->to = to;
	p->fd = -1;
	return p;
}

void out_tcp_begin_connect(struct worker *w, struct out_pending *p)
{
	int code;

	out_tcp_set_state(p, OUT_CONNECTING);
	code = start_connect(w, p);
	if (code)
		failed(w, p, code);
}

/* Packets that open connections */

/* A packet that was seen before, or one that takes the place of an earlier one of the same ports.
 */
static void syn_again(struct worker *w, struct out_pending *p, uint32_t seq, uint32_t packet)
{
	p->seen_ns = w->now_ns;
	if (p->seq != seq)
		p->begun_ns = w->now_ns;
	p->seq = seq;
	if (p->state == OUT_CONNECTED) {
		gate_decide(w, packet, GATE_ACCEPT);
		return;
	}
	if (!p->held) {
		gate_decide(w, packet, GATE_DROP);
		return;
	}
	/* The later packet waits. The earlier one may be gone: packets that an earlier data plane
	 * left come again under other ids. */
	gate_decide(w, p->packet, GATE_DROP);
	p->packet = packet;
}

void out_tcp_syn(struct worker *w, const struct gate_packet *syn, uint32_t packet)
{
	struct out_pending *p = find(w, &syn->source, &syn->dest);
	enum gate_verdict verdict = GATE_DROP;

	stats_add(&w->stats->out_tcp_syns, 1);
	if (p) {
		syn_again(w, p, syn->seq, packet);
		return;
	}
	p = out_tcp_begin(w, &syn->source, &syn->dest, &verdict);
	if (!p) {
		gate_decide(w, packet, verdict);
		return;
	}
	p->held = true;
	p->packet = packet;
	p->seq = syn->seq;
	out_tcp_begin_connect(w, p);
}

/* Connections */

bool out_tcp_accept(struct worker *w, struct listener *l, int fd, const union sock_addr *client)
{
	socklen_t len = sizeof(union sock_addr);
	enum gate_verdict verdict;
	union sock_addr dest = {.in6 = {0}};
	struct out_pending *p = NULL;

	if (w->io->ops->local_of(w->io, fd, &dest.sa, &len) < 0) {
		w->io->ops->reset_fd(w->io, fd);
		return true;
	}
	p = find(w, client, &dest);
	if (p && p->client_fd < 0) {
		p->client_fd = fd;
		p->listener = l;
		if (p->state == OUT_CONNECTED)
			join(w, p);
		return true;
	}
	p = p ? NULL : out_tcp_begin(w, client, &dest, &verdict);
	if (!p) {
		w->io->ops->reset_fd(w->io, fd);
		return out_tcp_has_room(w);
	}
	p->client_fd = fd;
	p->listener = l;
	out_tcp_begin_connect(w, p);
	return true;
}

/* Time */

/* After how long without a sign of life the client counts as gone. */
static uint64_t patience_ns(const struct out_pending *p)
{
	if (p->state == OUT_CONNECTED)
		return ACCEPT_NS;
	/* A client that has been accepted waits as long as the connect takes. */
	return p->client_fd >= 0 ? UINT64_MAX : 2 * (p->seen_ns - p->begun_ns) + SILENCE_NS;
}

void out_tcp_tick(struct worker *w)
{
	struct out_tcp *t = &w->out.tcp;
	struct out_pending *p, *next;

	if (t->count == 0 || w->now_ns < t->check_ns)
		return;
	t->check_ns = w->now_ns + CHECK_NS;
	for (p = t->list; p; p = next) {
		next = p->next;
		if (p->state == OUT_CLOSING || w->now_ns - p->seen_ns < patience_ns(p))
			continue;
		stats_add(&w->stats->out_tcp_timed_out, 1);
		give_up(w, p, GATE_DROP);
	}
}

uint64_t out_tcp_deadline(const struct worker *w)
{
	return w->out.tcp.count ? w->out.tcp.check_ns : UINT64_MAX;
}

void out_tcp_close_all(struct worker *w)
{
	struct out_pending *p;

	DL_FOREACH(w->out.tcp.list, p)
	{
		close_outside(w, p);
		if (p->client_fd >= 0)
			w->io->ops->reset_fd(w->io, p->client_fd);
	}
}
