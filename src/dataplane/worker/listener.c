/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <utlist.h>

#include "base/log.h"
#include "base/sockaddr.h"
#include "dataplane/dataplane.h"
#include "dataplane/worker/worker_internal.h"

/*
 * A worker's ports. Adding a port arms its socket. Removing it cancels the operation and closes the
 * flows. The parent gets its answer only when the socket is closed, so that the address is free by
 * then.
 *
 * A listener that has met a limit (descriptors, its share of them, memory, receive buffers) is
 * paused: connections wait in its backlog until a flow ends or some time has passed.
 */

#define RESUME_NS   (100 * WORKER_NS_PER_MS)
#define COMPLAIN_NS (60000 * WORKER_NS_PER_MS)

static struct listener **bucket_of(struct worker *w, int port_id)
{
	uint32_t hash = (uint32_t)port_id * 2654435761u;

	return &w->listeners.hash[hash & (w->config.listeners_max - 1)];
}

struct listener *listener_find(struct worker *w, int port_id)
{
	struct listener *l = *bucket_of(w, port_id);

	while (l && l->port_id != port_id)
		l = l->hash_next;
	return l;
}

static struct listener *slot_get(struct worker *w)
{
	struct listener *l = w->listeners.free;

	if (l) {
		w->listeners.free = l->next;
	} else {
		if (w->listeners.used == w->config.listeners_max)
			return NULL;
		l = &w->listeners.table[w->listeners.used++];
	}
	assert(l->state == LISTENER_FREE);
	return l;
}

static void slot_put(struct worker *w, struct listener *l)
{
	uint32_t gen = l->gen + 1;

	flow_set_listener_state(l, LISTENER_FREE);
	w->listeners.held[listener_index(w, l)] = 0;
	memset(l, 0, sizeof(*l));
	l->gen = gen;
	l->fd = -1;
	l->next = w->listeners.free;
	w->listeners.free = l;
}

static enum io_accepts accepts_kind(const struct listener *l)
{
	return l->outward ? IO_ACCEPTS_OUTWARD : IO_ACCEPTS_PUBLISHED;
}

static void arm(struct worker *w, struct listener *l)
{
	bool tcp = l->proto == PORT_TCP;
	uint64_t h = handle_pack(tcp ? HANDLE_ACCEPT : HANDLE_UDP_LISTEN, accepts_kind(l), l->gen,
				 listener_index(w, l));

	assert(!l->armed && l->state == LISTENER_OPEN);
	if (handover_holds(w))
		return;
	l->armed = true;
	if (tcp)
		w->io->ops->accept(w->io, l->fd, h);
	else
		w->io->ops->recvmsg(w->io, l->fd, h);
}

/* The list for paused listeners of this kind. */
static struct listener **paused_of(struct worker *w, const struct listener *l)
{
	if (l->outward)
		return &w->listeners.paused[LISTENERS_OUTWARD];
	return &w->listeners.paused[l->proto == PORT_UDP ? LISTENERS_UDP : LISTENERS_TCP];
}

/* Pauses a listener. It is armed again at at_ns at the latest. */
static void pause_until(struct worker *w, struct listener *l, uint64_t at_ns)
{
	flow_set_listener_state(l, LISTENER_PAUSED);
	DL_APPEND(*paused_of(w, l), l);
	if (at_ns < w->listeners.resume_ns)
		w->listeners.resume_ns = at_ns;
}

static void disarm(struct worker *w, struct listener *l)
{
	bool tcp = l->proto == PORT_TCP;

	w->io->ops->cancel(w->io, l->fd,
			   handle_pack(tcp ? HANDLE_ACCEPT : HANDLE_UDP_LISTEN, accepts_kind(l),
				       l->gen, listener_index(w, l)));
}

/* Cancels the operation. When that has ended, ended() pauses the listener. */
static void stop(struct worker *w, struct listener *l)
{
	if (!l->armed || l->state != LISTENER_OPEN || l->stopping)
		return;
	l->stopping = true;
	disarm(w, l);
}

static void resume_one(struct worker *w, struct listener *l)
{
	DL_DELETE(*paused_of(w, l), l);
	flow_set_listener_state(l, LISTENER_OPEN);
	arm(w, l);
}

static void resume_all(struct worker *w, struct listener **paused)
{
	while (*paused)
		resume_one(w, *paused);
}

/* Arms paused ports that may have a connection. The walk is short: each port that it leaves paused
 * holds several times what is left, so there are few of them. */
static void resume_published(struct worker *w)
{
	struct listener *l, *next;

	for (l = w->listeners.paused[LISTENERS_TCP]; l; l = next) {
		next = l->next;
		if (budget_has_share(w, l))
			resume_one(w, l);
	}
}

/* Arms paused listeners. While descriptors are short, TCP connections stay in the backlog. */
static void resume(struct worker *w)
{
	struct listener **paused = w->listeners.paused;
	bool some;

	resume_all(w, &paused[LISTENERS_UDP]);
	if (paused[LISTENERS_TCP] && budget_connections(w) > 0)
		resume_published(w);
	if (paused[LISTENERS_OUTWARD] && out_tcp_has_room(w))
		resume_all(w, &paused[LISTENERS_OUTWARD]);
	some = paused[LISTENERS_TCP] || paused[LISTENERS_OUTWARD];
	w->listeners.resume_ns = some ? w->now_ns + RESUME_NS : UINT64_MAX;
}

/* The pool for the listener's connections. A second target is rarely needed: its pool is filled
 * when a connection waits for it. */
static struct sockpool *pool_of(struct worker *w, const struct listener *l)
{
	unsigned pool = l->proto == PORT_TCP ? POOL_TCP4 : POOL_UDP4;

	return &w->supply.pools[pool + (l->target.sa.sa_family == AF_INET6)];
}

static void take_targets(struct listener *l, const struct dp_msg *msg)
{
	l->target = msg->target;
	l->target_len = sockaddr_len(&msg->target.sa);
	l->target2 = msg->target2;
	l->target2_len = sockaddr_len(&msg->target2.sa);
	l->turned = sockaddr_is_loopback(&l->target2.sa) && !sockaddr_is_loopback(&l->target.sa);
}

int listener_add(struct worker *w, const struct dp_msg *msg, int fd)
{
	struct listener *l, **bucket = bucket_of(w, msg->port_id);
	bool valid = msg->proto <= PORT_UDP && sockaddr_len(&msg->target.sa) > 0 &&
		     msg->slot < w->config.port_slots;

	l = valid && !listener_find(w, msg->port_id) ? slot_get(w) : NULL;
	if (!l) {
		w->io->ops->close_fd(w->io, fd);
		return !valid ? -EINVAL : listener_find(w, msg->port_id) ? -EEXIST : -ENOSPC;
	}
	flow_set_listener_state(l, LISTENER_OPEN);
	l->fd = fd;
	l->port_id = msg->port_id;
	l->proto = msg->proto;
	l->family = (int)msg->listen_family;
	take_targets(l, msg);
	l->literal = msg->literal;
	l->stats = &w->config.port_stats[msg->slot];
	if (msg->slot_used)
		memset(l->stats, 0, sizeof(*l->stats));
	l->tune = msg->proto == PORT_TCP && w->io->ops->paces(w->io, fd);
	l->transparent = msg->transparent && (w->config.transparent || w->out.on);
	if (l->transparent)
		client_address_prepare(w, l);
	l->hash_next = *bucket;
	*bucket = l;
	w->listeners.count++;
	stats_add(&w->stats->listeners, 1);
	pool_of(w, l)->users++;
	arm(w, l);
	return 0;
}

void listener_set_target(struct worker *w, const struct dp_msg *msg)
{
	struct listener *l = listener_find(w, msg->port_id);

	/* Sockets of one family are ordered for the port. A flow that is on its way to the second
	 * target must still have one. */
	if (!l || msg->target.sa.sa_family != l->target.sa.sa_family ||
	    (l->target2_len > 0 && sockaddr_len(&msg->target2.sa) == 0))
		return;
	client_address_unprepare(w, l);
	take_targets(l, msg);
	if (l->transparent)
		client_address_prepare(w, l);
	/* What was learnt about the last target. */
	client_address_forget(l);
	l->udp_second_ns = 0;
}

int listener_add_outward(struct worker *w, int fd, int family, struct port_stats *stats)
{
	struct listener *l = slot_get(w);

	if (!l) {
		w->io->ops->close_fd(w->io, fd);
		return -ENOSPC;
	}
	flow_set_listener_state(l, LISTENER_OPEN);
	l->fd = fd;
	l->proto = PORT_TCP;
	l->family = family;
	l->stats = stats;
	l->outward = true;
	arm(w, l);
	return 0;
}

static void unhash(struct worker *w, struct listener *l)
{
	struct listener **p = bucket_of(w, l->port_id);

	while (*p != l)
		p = &(*p)->hash_next;
	*p = l->hash_next;
}

/* No flow or operation is left: closes the listener, and answers the parent. */
static void finish(struct worker *w, struct listener *l)
{
	w->io->ops->close_fd(w->io, l->fd);
	unhash(w, l);
	pool_of(w, l)->users--;
	client_address_unprepare(w, l);
	w->listeners.count--;
	w->listeners.n_closing--;
	stats_sub(&w->stats->listeners, 1);
	answers_send(w, l->port_id, l->remove_seq, 0);
	slot_put(w, l);
}

int listener_remove(struct worker *w, int port_id, uint32_t seq)
{
	struct listener *l = listener_find(w, port_id);

	if (!l || (l->state != LISTENER_OPEN && l->state != LISTENER_PAUSED))
		return -ENOENT;
	if (l->state == LISTENER_PAUSED)
		DL_DELETE(*paused_of(w, l), l);
	flow_set_listener_state(l, LISTENER_CLOSING);
	w->listeners.n_closing++;
	l->remove_seq = seq;
	if (l->armed && !l->stopping)
		disarm(w, l);
	if (l->proto == PORT_TCP)
		tcp_close_listener_flows(w, l);
	else
		udp_close_listener_flows(w, l);
	flow_settle(w, l);
	return 0;
}

void listener_tick(struct worker *w)
{
	struct listener *l;

	while ((l = w->listeners.settled)) {
		DL_DELETE(w->listeners.settled, l);
		finish(w, l);
	}
	if (w->listeners.flow_closed || w->now_ns >= w->listeners.resume_ns)
		resume(w);
	w->listeners.flow_closed = false;
}

uint64_t listener_deadline(const struct worker *w)
{
	return w->listeners.resume_ns;
}

/* The listener of an event; NULL: the event is of an earlier life of the slot. */
static struct listener *of_event(struct worker *w, const struct io_event *ev)
{
	uint32_t index = handle_index(ev->handle);
	struct listener *l;

	assert(index < w->listeners.used);
	l = &w->listeners.table[index];
	return worker_is_current(w, ev, l->state != LISTENER_FREE, l->gen) ? l : NULL;
}

/* Whether an error concerned one connection or datagram (accept(2), "Error handling"). */
static bool concerns_one_peer(int why)
{
	switch (-why) {
	case ECONNABORTED:
	case ECONNREFUSED:
	case EHOSTUNREACH:
	case EMSGSIZE:
	case ENETUNREACH:
	case EPERM:
	case EPROTO:
		return true;
	default:
		return false;
	}
}

/* Whether a line may be logged: one in COMPLAIN_NS. */
static bool may_complain(const struct worker *w, uint64_t *at_ns)
{
	if (w->now_ns < *at_ns)
		return false;
	*at_ns = w->now_ns + COMPLAIN_NS;
	return true;
}

static void complain_of_share(struct worker *w, const struct listener *l)
{
	if (may_complain(w, &w->listeners.complain_share_ns))
		log_warning("worker %u: port %d has %u of %u connections, and what is left is for "
			    "other ports: new connections to it wait; a higher limit of open files "
			    "(ulimit -n) would help",
			    w->config.number, l->port_id, l->n_flows, w->tcp.count);
}

/* Pauses a listener because something has run out, mostly descriptors or the port's share of them.
 * Logs that once in a while. */
static void pause_for_want(struct worker *w, struct listener *l, int why)
{
	pause_until(w, l, w->now_ns + RESUME_NS);
	stats_add(&w->stats->accept_paused, 1);
	if (why == -EDQUOT) {
		complain_of_share(w, l);
		return;
	}
	if (!may_complain(w, &w->listeners.complain_ns))
		return;
	log_warning("worker %u: %u connections and %u UDP flows, and no descriptors for more: new "
		    "connections wait; a higher limit of open files (ulimit -n) would help",
		    w->config.number, w->tcp.count, w->udp.count);
}

/* A multishot operation has ended; why is its result. */
static void ended(struct worker *w, struct listener *l, int why)
{
	bool stopping = l->stopping;

	l->armed = l->stopping = false;
	if (l->state == LISTENER_CLOSING) {
		flow_settle(w, l);
	} else if (handover_holds(w)) {
		return; /* listener_go arms it again */
	} else if (stopping) {
		pause_for_want(w, l, why);
	} else if (why >= 0 || concerns_one_peer(why)) {
		arm(w, l); /* the kernel may end multishot operations at any time */
	} else if (why == -ENOBUFS && l->proto == PORT_UDP) {
		pause_until(w, l, w->now_ns); /* the buffers are returned at the end of this turn */
	} else {
		pause_for_want(w, l, why);
	}
}

void listener_accept_event(struct worker *w, const struct io_event *ev)
{
	struct listener *l = of_event(w, ev);

	if (!l || l->state == LISTENER_CLOSING) {
		if (ev->res >= 0)
			w->io->ops->reset_fd(w->io, ev->res);
	} else if (ev->res >= 0 && l->outward) {
		if (!out_tcp_accept(w, l, ev->res, &ev->peer))
			stop(w, l);
	} else if (ev->res >= 0) {
		tcp_accept(w, l, ev->res, &ev->peer);
	}
	if (l && !ev->more)
		ended(w, l, ev->res);
}

void listener_udp_event(struct worker *w, const struct io_event *ev)
{
	struct listener *l = of_event(w, ev);

	if (ev->has_dgram) {
		if (l && l->state == LISTENER_OPEN)
			udp_from_client(w, l, &ev->dgram);
		else
			w->io->ops->buf_put(w->io, ev->dgram.buf_id);
	}
	if (l && !ev->more)
		ended(w, l, ev->res);
}

void listener_rest(struct worker *w)
{
	for (unsigned i = 0; i < w->listeners.used; i++)
		if (w->listeners.table[i].armed && w->listeners.table[i].state == LISTENER_OPEN &&
		    !w->listeners.table[i].stopping)
			disarm(w, &w->listeners.table[i]);
}

bool listener_in_flight(const struct worker *w)
{
	for (unsigned i = 0; i < w->listeners.used; i++)
		if (w->listeners.table[i].armed)
			return true;
	return false;
}

void listener_go(struct worker *w)
{
	for (unsigned i = 0; i < w->listeners.used; i++)
		if (w->listeners.table[i].state == LISTENER_OPEN && !w->listeners.table[i].armed)
			arm(w, &w->listeners.table[i]);
}

void listener_close_all(struct worker *w)
{
	for (unsigned i = 0; i < w->listeners.used; i++)
		if (w->listeners.table[i].state != LISTENER_FREE)
			w->io->ops->close_fd(w->io, w->listeners.table[i].fd);
}
