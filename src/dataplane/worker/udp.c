/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <utlist.h>

#include "base/log.h"
#include "base/sockaddr.h"
#include "dataplane/worker/worker_internal.h"

/*
 * UDP flows.
 *
 * A flow is identified by the client's address, the listener, and our address that the client wrote
 * to. Answers leave from that address (ip(7), IP_PKTINFO; ipv6(7), IPV6_PKTINFO): clients accept
 * them from no other. In the namespace the flow has its own connected socket.
 *
 * Datagrams arrive in receive buffers, alone or as a run that the kernel put together (UDP_GRO).
 * They leave as they came, or joined with others (udp_send.c), before the turn ends and its buffers
 * are returned. Those of a flow that has no socket yet are copied and wait (udp_pending.c).
 *
 * A flow ends when it was idle for the time-out. When the table is full, the least recently used
 * flow ends, one of the same listener if that has most of them. So forged source addresses cost
 * other ports nothing, and a flow in use stays.
 */

/* The states that may follow each state. */
static const uint8_t state_after[] = {
	[UDP_FLOW_FREE] = 1 << UDP_FLOW_WAITING | 1 << UDP_FLOW_OPEN,
	[UDP_FLOW_WAITING] = 1 << UDP_FLOW_WAITING | 1 << UDP_FLOW_OPEN | 1 << UDP_FLOW_CLOSING,
	[UDP_FLOW_OPEN] = 1 << UDP_FLOW_WAITING | 1 << UDP_FLOW_OPEN | 1 << UDP_FLOW_CLOSING,
	[UDP_FLOW_CLOSING] = 0,
};

/* Flows above a lowered limit that end in one turn. */
#define EVICT_AT_ONCE 64

void udp_set_state(struct udp_flow *f, enum udp_state state)
{
	assert(state_after[f->state] & 1 << state);
	f->state = state;
}

#define flow_debug(w, f, ...)                                                                      \
	do {                                                                                       \
		if (log_is_debug())                                                                \
			flow_log((w), "UDP", (uint32_t)((f) - (w)->udp.flows), (f)->gen,           \
				 __VA_ARGS__);                                                     \
	} while (0)

static uint64_t handle_of(const struct worker *w, const struct udp_flow *f)
{
	return handle_pack(HANDLE_UDP_FLOW, 1, f->gen, (uint32_t)(f - w->udp.flows));
}

/* Flows */

static struct udp_flow *slot_get(struct worker *w)
{
	struct udp_flow *f = w->udp.free;

	if (f) {
		w->udp.free = f->next;
	} else {
		if (w->udp.used == w->config.udp_flows_max)
			return NULL;
		f = &w->udp.flows[w->udp.used++];
	}
	assert(f->state == UDP_FLOW_FREE);
	return f;
}

void udp_wait(struct worker *w, struct udp_flow *f)
{
	bool ipv6 = udp_target_family(f) == AF_INET6;

	udp_set_state(f, UDP_FLOW_WAITING);
	DL_APPEND2(w->udp.waiting[ipv6], f, wait_prev, wait_next);
	w->supply.pools[POOL_UDP4 + ipv6].waiting++;
}

static void wait_end(struct worker *w, struct udp_flow *f)
{
	bool ipv6 = udp_target_family(f) == AF_INET6;

	DL_DELETE2(w->udp.waiting[ipv6], f, wait_prev, wait_next);
	w->supply.pools[POOL_UDP4 + ipv6].waiting--;
}

static void release(struct worker *w, struct udp_flow *f)
{
	struct listener *l = f->listener;
	uint32_t gen = f->gen + 1;

	assert(f->state == UDP_FLOW_CLOSING && !f->armed && f->n_pending == 0);
	if (f->fd >= 0)
		w->io->ops->close_fd(w->io, f->fd);
	DL_DELETE(l->udp_flows, f);
	w->udp.slots--;
	memset(f, 0, sizeof(*f));
	f->gen = gen;
	f->next = w->udp.free;
	w->udp.free = f;
	flow_closed(w, l);
}

/* Ends the flow. why: for the log. */
static void flow_close(struct worker *w, struct udp_flow *f, const char *why)
{
	if (f->state == UDP_FLOW_CLOSING)
		return;
	flow_debug(w, f, "closed: %s", why);
	if (w->udp.batch.flow == f)
		udp_flush(w);
	if (f->state == UDP_FLOW_WAITING)
		wait_end(w, f);
	if (f->paused)
		DL_DELETE2(w->udp.paused, f, wait_prev, wait_next);
	f->paused = false;
	if (f->state == UDP_FLOW_OPEN)
		udp_pending_forget(w, f);
	else
		udp_pending_drop(w, f);
	udp_hash_remove(w, f);
	DL_DELETE2(w->udp.ages, f, age_prev, age_next);
	if (f->state == UDP_FLOW_OPEN)
		udp_ports_gave(w);
	udp_set_state(f, UDP_FLOW_CLOSING);
	w->udp.count--;
	stats_sub(&w->stats->udp_flows, 1);
	if (f->armed)
		w->io->ops->cancel(w->io, f->fd, handle_of(w, f));
	else
		release(w, f);
}

static uint64_t timeout_ns(const struct worker *w)
{
	return w->config.udp_timeout_ms * WORKER_NS_PER_MS;
}

/* The last eighth of the slots is for flows that are closing: new ones need not wait for them. */
static unsigned live_max(const struct worker *w)
{
	return w->config.udp_flows_max - w->config.udp_flows_max / 8;
}

static bool has_room(struct worker *w)
{
	return w->udp.count < live_max(w) && budget_udp(w) == BUDGET_PLENTY && udp_ports_left(w);
}

static void evict(struct worker *w, struct udp_flow *victim)
{
	stats_add(&w->stats->udp_evicted, 1);
	flow_close(w, victim, "a newer one needs its place");
}

static bool has_most(const struct worker *w, const struct listener *l)
{
	return l->n_flows > w->udp.count / 2; /* whichever limit has been reached */
}

static struct udp_flow *victim_for(const struct worker *w, const struct listener *l)
{
	struct udp_flow *f = w->udp.ages;

	if (has_most(w, l))
		for (f = l->udp_flows; f && f->state == UDP_FLOW_CLOSING;)
			f = f->next;
	return f;
}

/* Ends a flow to make room for a new one, and another one if the limit of ports was lowered. */
static void evict_for(struct worker *w, struct listener *l)
{
	struct udp_flow *victim;

	if (!has_room(w) && (victim = victim_for(w, l)))
		evict(w, victim);
	if (!udp_ports_left(w) && (victim = victim_for(w, l)))
		evict(w, victim);
}

static void arm(struct worker *w, struct udp_flow *f)
{
	if (handover_holds(w))
		return; /* udp_go arms it */
	f->armed = true;
	w->io->ops->recvmsg(w->io, f->fd, handle_of(w, f));
}

/* Binds the flow's socket to the client's address. 0 or -errno, which is not about our own ports.
 */
static int bear_client(struct worker *w, struct udp_flow *f)
{
	union sock_addr client = udp_target_client(f);

	return w->io->ops->bind_as(w->io, f->fd, &client.sa, sockaddr_len(&client.sa), 0)
		       ? -EADDRNOTAVAIL
		       : 0;
}

static int take_socket(struct worker *w, struct udp_flow *f)
{
	int fd = f->routed && !handover_holds(w)
			 ? supply_take(w, &w->out.supply, udp_target_family(f), SOCK_DGRAM)
			 : -1;

	if (fd >= 0 || handover_holds(w))
		return fd;
	/* The router has no socket now: try the other ways rather than wait. */
	if (f->routed)
		udp_target_unreachable(w, f);
	return udp_ports_may_try(w) ? supply_take(w, &w->supply, udp_target_family(f), SOCK_DGRAM)
				    : -1;
}

/* Connects the flow's socket. 0, or -errno and the flow has no socket. */
static int connect_to_target(struct worker *w, struct udp_flow *f)
{
	socklen_t len;
	const union sock_addr *target = udp_target(f, &len);
	int err = f->routed ? bear_client(w, f) : 0;

	if (!err)
		err = w->io->ops->connect_now(w->io, f->fd, &target->sa, len);

	if (err < 0) {
		w->io->ops->close_fd(w->io, f->fd);
		f->fd = -1;
	}
	return err;
}

/* Connects the flow, or lets it wait for a socket. False: the flow has been closed. */
static bool start(struct worker *w, struct udp_flow *f)
{
	int err;

	do {
		f->fd = take_socket(w, f);
		if (f->fd < 0) {
			udp_wait(w, f);
			return true;
		}
		err = connect_to_target(w, f);
		if (err == -EAGAIN || err == -EADDRINUSE)
			udp_ports_none(w);
	} while (err == -EAGAIN || err == -EADDRINUSE || (err && udp_target_unreachable(w, f)));
	udp_set_state(f, UDP_FLOW_OPEN);
	udp_ports_took(w);
	if (err < 0) {
		flow_close(w, f, strerror(-err));
		return false;
	}
	f->unreachable = false;
	flow_debug(w, f, "connected");
	arm(w, f);
	return true;
}

static void log_opened(struct worker *w, const struct udp_flow *f)
{
	union sock_addr client = udp_target_client(f);
	char text[SOCKADDR_TEXT_BYTES];

	flow_debug(w, f, "opened by %s, port %d", sockaddr_format(&client.sa, text),
		   f->listener->port_id);
}

/* Enters the flow into every table of live flows. */
static void flow_begin(struct worker *w, struct udp_flow *f, struct listener *l,
		       const struct udp_key *key)
{
	f->key = *key;
	f->fd = -1;
	f->listener = l;
	f->last_ns = w->now_ns;
	udp_hash_add(w, f);
	w->udp.slots++;
	DL_APPEND(l->udp_flows, f);
	DL_APPEND2(w->udp.ages, f, age_prev, age_next);
	w->udp.count++;
	stats_add(&w->stats->udp_flows, 1);
}

static struct udp_flow *flow_new(struct worker *w, struct listener *l, const struct udp_key *key)
{
	struct udp_flow *f;

	evict_for(w, l);
	f = budget_udp(w) == BUDGET_OUT ? NULL : slot_get(w);
	if (!f)
		return NULL;
	flow_begin(w, f, l, key);
	udp_target_choose(w, f);
	flow_opened(w, l);
	if (log_is_debug())
		log_opened(w, f);
	return start(w, f) ? f : NULL;
}

static void drop(struct worker *w, struct listener *l, const struct io_datagram *d)
{
	struct udp_payload payload = udp_payload_of(d, udp_read_control(d, NULL));

	udp_send_dropped(w, l, udp_datagrams(&payload));
	w->io->ops->buf_put(w->io, d->buf_id);
}

/* Nobody was where the flow leads. The port may lead elsewhere by now. So may rules in the
 * namespace, which turn a flow when its first datagram passes: then only another socket gets there.
 * NULL: there is no room. */
static struct udp_flow *begin_anew(struct worker *w, struct udp_flow *f)
{
	struct listener *l = f->listener;
	struct udp_key key = f->key;

	flow_close(w, f, "nobody was there: looks anew");
	f = flow_new(w, l, &key);
	if (f)
		udp_target_anew(w, f);
	return f;
}

void udp_from_client(struct worker *w, struct listener *l, const struct io_datagram *d)
{
	struct udp_key key = {.listener = listener_index(w, l)};
	size_t segment = udp_read_control(d, &key);
	struct udp_flow *f = NULL;
	struct udp_payload payload;

	if (!d->truncated && udp_key_client(&key, d)) {
		f = udp_hash_find(w, &key);
		if (!f)
			f = flow_new(w, l, &key);
		else if (f->refused)
			f = begin_anew(w, f);
	}
	if (!f) {
		drop(w, l, d);
		return;
	}
	payload = udp_payload_of(d, segment);
	udp_target_asked(w, f);
	if (f->state == UDP_FLOW_OPEN)
		udp_pending_keep(w, f, &payload);
	if (f->state == UDP_FLOW_OPEN)
		udp_send(w, f, false, &payload);
	else
		udp_pending_add(w, f, &payload);
}

void udp_sockets_ready(struct worker *w, int family)
{
	struct sockpool *pool = &w->supply.pools[POOL_UDP4 + (family == AF_INET6)];
	struct udp_flow *f = w->udp.waiting[family == AF_INET6], *next;

	for (; f && pool->n > 0 && udp_ports_may_try(w) && !handover_holds(w); f = next) {
		next = f->wait_next;
		wait_end(w, f);
		if (start(w, f) && f->state == UDP_FLOW_OPEN)
			udp_pending_send(w, f);
	}
}

/* Starts again, with a socket for the flow's other address. */
static void start_again(struct worker *w, struct udp_flow *f)
{
	if (w->udp.batch.flow == f)
		udp_flush(w);
	w->io->ops->close_fd(w->io, f->fd);
	f->fd = -1;
	udp_ports_gave(w);
	udp_pending_again(w, f);
	flow_debug(w, f, "nobody is there: tries the other address");
	if (start(w, f) && f->state == UDP_FLOW_OPEN)
		udp_pending_send(w, f);
}

/* The receive operation of an open flow has ended. */
static void receive_ended(struct worker *w, struct udp_flow *f, int why)
{
	if (why == -ECANCELED && handover_holds(w))
		return; /* udp_go arms it */
	switch (-why) {
	case ENOBUFS:
	case ENOMEM: /* for a moment: the datagram is still there */
		f->paused = true;
		DL_APPEND2(w->udp.paused, f, wait_prev, wait_next);
		return;
	case ECONNREFUSED: /* ICMP errors: a UDP client behind a proxy does not get them */
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EMSGSIZE:
	case EPROTO:
		stats_add(&w->stats->udp_refused, 1);
		stats_add(&f->listener->stats->errors, 1);
		if (why == -EMSGSIZE || why == -EPROTO)
			arm(w, f);
		else if (udp_target_refused(w, f))
			start_again(w, f);
		else
			arm(w, f);
		return;
	default:
		if (why >= 0)
			arm(w, f);
		else
			flow_close(w, f, strerror(-why));
	}
}

static void from_server(struct worker *w, struct udp_flow *f, const struct io_datagram *d)
{
	struct udp_payload payload = udp_payload_of(d, udp_read_control(d, NULL));

	if (f && f->state == UDP_FLOW_OPEN)
		udp_target_answered(w, f);
	if (f && f->state == UDP_FLOW_OPEN && !d->truncated)
		udp_send(w, f, true, &payload);
	else
		drop(w, f ? f->listener : NULL, d);
}

void udp_flow_event(struct worker *w, const struct io_event *ev)
{
	uint32_t index = handle_index(ev->handle);
	struct udp_flow *f;

	assert(index < w->udp.used);
	f = &w->udp.flows[index];
	if (!worker_is_current(w, ev, f->state != UDP_FLOW_FREE, f->gen))
		f = NULL;
	if (ev->has_dgram)
		from_server(w, f, &ev->dgram);
	if (!f || ev->more)
		return;
	f->armed = false;
	if (f->state == UDP_FLOW_CLOSING)
		release(w, f);
	else
		receive_ended(w, f, ev->res);
}

static void resume_paused(struct worker *w)
{
	struct udp_flow *f;

	while ((f = w->udp.paused)) {
		DL_DELETE2(w->udp.paused, f, wait_prev, wait_next);
		f->paused = false;
		arm(w, f);
	}
}

uint64_t udp_deadline(const struct worker *w)
{
	uint64_t at = UINT64_MAX;

	if (w->udp.paused)
		return 0;
	if (w->udp.ages)
		at = w->udp.ages->last_ns + timeout_ns(w);
	if (w->udp.ports_retry_ns && w->udp.ports_retry_ns < at)
		at = w->udp.ports_retry_ns;
	if (udp_pending_deadline(w) < at)
		at = udp_pending_deadline(w);
	return at;
}

/* The least recently used flow of the port that has most flows, if it is found soon. */
static struct udp_flow *victim_of_all(const struct worker *w)
{
	struct udp_flow *f = w->udp.ages;

	for (unsigned i = 0; i < EVICT_AT_ONCE && f && !has_most(w, f->listener); i++)
		f = f->age_next;
	return f ? f : w->udp.ages;
}

/* The kernel had no port for a flow: ends those above the lowered limit, and tries waiting ones. */
static void retry_ports(struct worker *w)
{
	if (w->udp.ports_retry_ns == 0 || !udp_ports_may_try(w))
		return;
	if (w->udp.ports > 0 && !udp_ports_left(w)) {
		for (unsigned i = 0; i < EVICT_AT_ONCE && !udp_ports_left(w); i++)
			evict(w, victim_of_all(w));
		/* Their sockets will be closed by then. */
		w->udp.ports_retry_ns = w->now_ns + WORKER_NS_PER_MS;
		return;
	}
	w->udp.ports_retry_ns = 0;
	udp_sockets_ready(w, AF_INET);
	udp_sockets_ready(w, AF_INET6);
}

void udp_tick(struct worker *w)
{
	struct udp_flow *f;

	resume_paused(w);
	retry_ports(w);
	udp_pending_tick(w);
	while ((f = w->udp.ages) && w->now_ns - f->last_ns >= timeout_ns(w)) {
		stats_add(&w->stats->udp_expired, 1);
		flow_close(w, f, "no traffic");
	}
}

/* For a hand-over */

void udp_rest(struct worker *w)
{
	for (uint32_t i = 0; i < w->udp.used; i++)
		if (w->udp.flows[i].state == UDP_FLOW_OPEN && w->udp.flows[i].armed)
			w->io->ops->cancel(w->io, w->udp.flows[i].fd,
					   handle_of(w, &w->udp.flows[i]));
}

bool udp_in_flight(const struct worker *w)
{
	for (uint32_t i = 0; i < w->udp.used; i++)
		if (w->udp.flows[i].armed)
			return true;
	return false;
}

struct udp_flow *udp_take_over(struct worker *w, struct listener *l, const struct udp_key *key,
			       int fd)
{
	struct udp_flow *f =
		udp_hash_find(w, key) || w->udp.count >= live_max(w) ? NULL : slot_get(w);

	if (!f)
		return NULL;
	flow_begin(w, f, l, key);
	flow_taken_over(w, l);
	f->fd = fd;
	if (fd < 0)
		return f;
	w->io->ops->adopt(w->io, fd);
	udp_set_state(f, UDP_FLOW_OPEN);
	udp_ports_took(w);
	return f;
}

void udp_go(struct worker *w)
{
	for (uint32_t i = 0; i < w->udp.used; i++) {
		struct udp_flow *f = &w->udp.flows[i];

		if (f->state == UDP_FLOW_OPEN && !f->armed && !f->paused)
			arm(w, f);
	}
}

void udp_close_listener_flows(struct worker *w, struct listener *l)
{
	struct udp_flow *f, *next;

	for (f = l->udp_flows; f; f = next) {
		next = f->next;
		flow_close(w, f, "the port is removed");
	}
}

void udp_close_all(struct worker *w)
{
	for (uint32_t i = 0; i < w->udp.used; i++)
		if (w->udp.flows[i].state != UDP_FLOW_FREE && w->udp.flows[i].fd >= 0)
			w->io->ops->close_fd(w->io, w->udp.flows[i].fd);
}
