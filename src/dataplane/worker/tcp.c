/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <utlist.h>

#include "base/log.h"
#include "base/sockaddr.h"
#include "dataplane/worker/worker_internal.h"

/*
 * TCP flows.
 *
 * A flow joins an accepted connection (side 0) and a socket in the namespace (side 1). Each
 * direction is pumped on its own: read from one side, write to the other, in line, until a side
 * has no more to give or to take; then a one-shot poll waits for that side alone. Small messages
 * are copied through the worker's buffer. A direction that filled the buffer is taken for a bulk
 * transfer and spliced through a pipe, which the flow holds only while bytes are in it. What a
 * send did not take goes into a pipe too; without a pipe, data is looked at (MSG_PEEK), sent, and
 * then dropped from the receive queue as far as it was sent, so that nothing is ever held here.
 *
 * Ends. End of stream on one side becomes a shutdown on the other (half-close). A reset on one
 * side becomes a reset on the other, but first what the side that went had sent is delivered: a
 * server that answers and closes without reading the rest of the request resets the connection,
 * and its answer must arrive. A side that is not being read just now, because the other does not
 * take more or because its stream has ended, is watched with a poll for errors alone.
 *
 * A slot is freed when nothing of the flow is in flight, never before.
 */

#define READ(side)  ((uint8_t)(TCP_ARMED_READ0 << (side)))
#define WRITE(side) ((uint8_t)(TCP_ARMED_WRITE0 << (side)))
#define WATCH(side) ((uint8_t)(TCP_ARMED_WATCH0 << (side)))

/* One line for each thing that happens to a flow, with --debug; otherwise this costs a comparison.
 */
#define flow_debug(w, f, ...)                                                                      \
	do {                                                                                       \
		if (log_is_debug())                                                                \
			flow_log((w), "TCP", index_of((w), (f)), (f)->gen, __VA_ARGS__);           \
	} while (0)

/* From each state, the ones that may follow. */
static const uint8_t state_after[] = {
	[TCP_FLOW_FREE] = 1 << TCP_FLOW_WAITING | 1 << TCP_FLOW_CONNECTING | 1 << TCP_FLOW_OPEN,
	[TCP_FLOW_WAITING] =
		1 << TCP_FLOW_WAITING | 1 << TCP_FLOW_CONNECTING | 1 << TCP_FLOW_CLOSING,
	[TCP_FLOW_CONNECTING] = 1 << TCP_FLOW_WAITING | 1 << TCP_FLOW_CONNECTING |
				1 << TCP_FLOW_OPEN | 1 << TCP_FLOW_CLOSING,
	[TCP_FLOW_OPEN] = 1 << TCP_FLOW_CLOSING,
	[TCP_FLOW_CLOSING] = 0,
};

static void set_state(struct tcp_flow *f, enum tcp_state state)
{
	assert(state_after[f->state] & 1 << state);
	f->state = state;
}

static uint32_t index_of(const struct worker *w, const struct tcp_flow *f)
{
	return (uint32_t)(f - w->tcp.flows);
}

static uint64_t handle_of(const struct worker *w, const struct tcp_flow *f, enum handle_op op,
			  unsigned side)
{
	return handle_pack(op, side, f->gen, index_of(w, f));
}

/* Slots */

static struct tcp_flow *slot_get(struct worker *w)
{
	struct tcp_flow *f = w->tcp.free;

	if (f) {
		w->tcp.free = f->next;
	} else {
		if (w->tcp.used == w->config.tcp_flows_max + w->config.out.tcp_flows_max)
			return NULL;
		f = &w->tcp.flows[w->tcp.used++];
	}
	assert(f->state == TCP_FLOW_FREE);
	return f;
}

static void unqueue(struct worker *w, struct tcp_flow *f)
{
	if (!f->queued)
		return;
	f->queued = false;
	DL_DELETE2(w->tcp.run_queue, f, queue_prev, queue_next);
}

/* Waiting for a socket of the broker's. */

static bool wants_ipv6(const struct tcp_flow *f)
{
	const struct listener *l = f->listener;

	return (f->second ? l->target2.sa.sa_family : l->target.sa.sa_family) == AF_INET6;
}

static int family_of(const struct tcp_flow *f)
{
	return wants_ipv6(f) ? AF_INET6 : AF_INET;
}

static struct sockpool *pool_of(struct worker *w, int family, bool routed)
{
	return routed ? out_supply_pool(w, family, SOCK_STREAM)
		      : &w->supply.pools[supply_index(family, SOCK_STREAM)];
}

static void wait_begin(struct worker *w, struct tcp_flow *f)
{
	DL_APPEND2(w->tcp.waiting[f->routed][wants_ipv6(f)], f, queue_prev, queue_next);
	pool_of(w, family_of(f), f->routed)->waiting++;
}

static void wait_end(struct worker *w, struct tcp_flow *f)
{
	DL_DELETE2(w->tcp.waiting[f->routed][wants_ipv6(f)], f, queue_prev, queue_next);
	pool_of(w, family_of(f), f->routed)->waiting--;
}

static void close_sides(struct worker *w, struct tcp_flow *f)
{
	for (int side = 0; side < 2; side++) {
		tcp_drop_pipe(w, &f->dir[side]);
		if (f->fd[side] < 0)
			continue;
		if (f->abort)
			w->io->ops->reset_fd(w->io, f->fd[side]);
		else
			w->io->ops->close_fd(w->io, f->fd[side]);
	}
}

static void count_end(struct worker *w, const struct tcp_flow *f)
{
	if (f->listener->outward) {
		stats_add(f->abort ? &w->stats->out_tcp_aborted : &w->stats->out_tcp_closed, 1);
		stats_sub(&w->stats->out_tcp_flows, 1);
		out_tcp_flow_closed(w);
	} else {
		stats_add(f->abort ? &w->stats->tcp_aborted : &w->stats->tcp_closed, 1);
		stats_sub(&w->stats->tcp_flows, 1);
		w->tcp.count--;
	}
}

static void release(struct worker *w, struct tcp_flow *f)
{
	struct listener *l = f->listener;
	uint32_t gen = f->gen + 1;

	assert(f->state == TCP_FLOW_CLOSING && f->armed == 0 && !f->queued && !f->limited);
	close_sides(w, f);
	count_end(w, f);
	DL_DELETE(l->tcp_flows, f);
	memset(f, 0, sizeof(*f));
	f->gen = gen;
	f->next = w->tcp.free;
	w->tcp.free = f;
	flow_closed(w, l);
}

static void cancel_connect(struct worker *w, struct tcp_flow *f)
{
	w->io->ops->cancel(w->io, f->fd[1], handle_of(w, f, HANDLE_TCP_CONNECT, 1));
}

static void cancel_all(struct worker *w, struct tcp_flow *f)
{
	static const enum handle_op ops[] = {HANDLE_TCP_READ, HANDLE_TCP_WRITE, HANDLE_TCP_WATCH};

	for (unsigned side = 0; side < 2; side++)
		for (unsigned i = 0; i < 3; i++)
			if (f->armed & (1u << (2 * i + side)))
				w->io->ops->cancel(w->io, f->fd[side],
						   handle_of(w, f, ops[i], side));
	if (f->armed & TCP_ARMED_CONNECT)
		cancel_connect(w, f);
}

/* why: for the log. */
static void flow_close(struct worker *w, struct tcp_flow *f, bool abort, const char *why)
{
	if (f->state == TCP_FLOW_CLOSING)
		return;
	flow_debug(w, f, "closed%s: %s", f->abort || abort ? " by reset" : "", why);
	if (f->state == TCP_FLOW_WAITING)
		wait_end(w, f);
	unqueue(w, f);
	client_address_unlimit(w, f);
	f->abort |= abort;
	set_state(f, TCP_FLOW_CLOSING);
	if (f->armed)
		cancel_all(w, f);
	else
		release(w, f);
}

/* Waiting */

static void arm(struct worker *w, struct tcp_flow *f, enum handle_op op, unsigned side, uint8_t bit,
		uint32_t events)
{
	if (f->armed & bit)
		return;
	f->armed |= bit;
	w->io->ops->poll(w->io, f->fd[side], events, handle_of(w, f, op, side));
}

static void arm_read(struct worker *w, struct tcp_flow *f, unsigned side)
{
	arm(w, f, HANDLE_TCP_READ, side, READ(side), POLLIN | POLLRDHUP);
}

static void arm_write(struct worker *w, struct tcp_flow *f, unsigned side)
{
	arm(w, f, HANDLE_TCP_WRITE, side, WRITE(side), POLLOUT);
}

static void arm_watch(struct worker *w, struct tcp_flow *f, unsigned side)
{
	arm(w, f, HANDLE_TCP_WATCH, side, WATCH(side), 0);
}

/* What follows from it */

static void pump(struct worker *w, struct tcp_flow *f, unsigned d);

static void requeue(struct worker *w, struct tcp_flow *f, unsigned d)
{
	f->dir[d].again = true;
	if (f->queued)
		return;
	f->queued = true;
	DL_APPEND2(w->tcp.run_queue, f, queue_prev, queue_next);
}

static void end_of_stream(struct worker *w, struct tcp_flow *f, unsigned d)
{
	f->dir[d].done = true;
	if (f->dir[!d].done) {
		flow_close(w, f, false, "both sides have ended");
		return;
	}
	w->io->ops->shutdown_write(w->io, f->fd[!d]);
	arm_watch(w, f, d);
}

/* A side takes nothing any more. What it sent is still delivered; then the flow ends. */
/* Two deep at most: what is pumped then is the other direction. */
static void side_lost(struct worker *w, struct tcp_flow *f, unsigned side)
{
	struct tcp_dir *to = &f->dir[!side], *from = &f->dir[side];

	f->abort = true;
	to->done = true;
	tcp_drop_pipe(w, to);
	if (from->done) {
		flow_close(w, f, true, "a side is gone");
		return;
	}
	arm_watch(w, f, !side);
	if (!(f->armed & WRITE(!side)))
		pump(w, f, side);
}

static void pump(struct worker *w, struct tcp_flow *f, unsigned d)
{
	if (f->state != TCP_FLOW_OPEN || f->dir[d].done)
		return;
	f->dir[d].again = false;
	switch (tcp_pump(w, f, d)) {
	case PUMP_WAIT_READ:
		arm_read(w, f, d);
		break;
	case PUMP_WAIT_WRITE:
		arm_write(w, f, !d);
		arm_watch(w, f, d);
		break;
	case PUMP_END:
		end_of_stream(w, f, d);
		break;
	case PUMP_READ_ERROR:
		flow_close(w, f, true, "a side has failed");
		break;
	case PUMP_WRITE_ERROR:
		side_lost(w, f, !d);
		break;
	default:
		requeue(w, f, d);
		break;
	}
}

void tcp_run_queue(struct worker *w)
{
	struct tcp_flow *last = w->tcp.run_queue ? w->tcp.run_queue->queue_prev : NULL, *f = NULL;

	/* Those that come back go to the end, behind last, and have their turn next time. */
	while (f != last && w->tcp.run_queue) {
		f = w->tcp.run_queue;
		unqueue(w, f);
		for (unsigned d = 0; d < 2; d++)
			if (f->state == TCP_FLOW_OPEN && f->dir[d].again)
				pump(w, f, d);
	}
}

/* Connecting */

static void connect_socket(struct worker *w, struct tcp_flow *f)
{
	const struct listener *l = f->listener;
	const union dp_addr *to = f->second ? &l->target2 : &l->target;
	socklen_t len = f->second ? l->target2_len : l->target_len;

	if (f->routed)
		to = &l->routed[f->second];
	if (f->transparent)
		client_address_limit(w, f);
	set_state(f, TCP_FLOW_CONNECTING);
	f->armed |= TCP_ARMED_CONNECT;
	w->io->ops->connect(w->io, f->fd[1], &to->sa, len, handle_of(w, f, HANDLE_TCP_CONNECT, 1));
}

static void drop_socket(struct worker *w, struct tcp_flow *f)
{
	w->io->ops->close_fd(w->io, f->fd[1]);
	f->fd[1] = -1;
}

/* Goes to the target with the next way of those that are left. */
static void start_connect(struct worker *w, struct tcp_flow *f)
{
	for (;;) {
		enum client_address how = client_address_choose(w, f);

		if (how != CLIENT_ADDRESS_WAIT)
			f->fd[1] = f->routed ? out_supply_take(w, family_of(f), SOCK_STREAM)
					     : supply_take(w, family_of(f), SOCK_STREAM);
		if (f->fd[1] < 0) {
			set_state(f, TCP_FLOW_WAITING);
			wait_begin(w, f);
			return;
		}
		if (how == CLIENT_ADDRESS_NO || client_address_bind(w, f, how) == 0) {
			connect_socket(w, f);
			return;
		}
		drop_socket(w, f); /* it is not what it was */
	}
}

bool tcp_accept(struct worker *w, struct listener *l, int fd, const union dp_addr *client)
{
	enum budget fds = budget_left(w);
	bool room = fds != BUDGET_OUT && w->tcp.count < w->config.tcp_flows_max;
	struct tcp_flow *f = room ? slot_get(w) : NULL;
	char text[SOCKADDR_TEXT_BYTES];

	stats_add(&w->stats->tcp_accepted, 1);
	if (!f) {
		stats_add(&w->stats->flows_refused, 1);
		w->io->ops->reset_fd(w->io, fd);
		return fds == BUDGET_PLENTY;
	}
	f->fd[0] = fd;
	f->fd[1] = -1;
	f->client = *client;
	f->listener = l;
	f->dir[0].pipe = f->dir[1].pipe = PIPEPOOL_NONE;
	w->tcp.count++;
	flow_opened(l);
	DL_APPEND(l->tcp_flows, f);
	stats_add(&w->stats->tcp_flows, 1);
	if (l->tune)
		w->io->ops->tune_accepted(w->io, fd);
	flow_debug(w, f, "opened by %s, port %d", sockaddr_format(&f->client.sa, text), l->port_id);
	client_address_begin(w, f);
	start_connect(w, f);
	return fds == BUDGET_PLENTY;
}

void tcp_join(struct worker *w, struct listener *l, int client_fd, int server_fd)
{
	struct tcp_flow *f = slot_get(w);

	assert(f); /* out_tcp.c has counted */
	f->fd[0] = client_fd;
	f->fd[1] = server_fd;
	f->listener = l;
	f->dir[0].pipe = f->dir[1].pipe = PIPEPOOL_NONE;
	flow_opened(l);
	DL_APPEND(l->tcp_flows, f);
	stats_add(&w->stats->out_tcp_flows, 1);
	set_state(f, TCP_FLOW_OPEN);
	flow_debug(w, f, "on its way out");
	arm_read(w, f, 1);
	pump(w, f, 0);
}

void tcp_sockets_ready(struct worker *w, int family, bool routed)
{
	struct tcp_flow **waiting = &w->tcp.waiting[routed][family == AF_INET6], *f = NULL;
	struct tcp_flow *last = *waiting ? (*waiting)->queue_prev : NULL;
	const struct sockpool *pool = pool_of(w, family, routed);

	/* Those that wait for something else, too, go to the end, behind last. */
	while (f != last && pool->n > 0) {
		f = *waiting;
		wait_end(w, f);
		start_connect(w, f);
	}
}

static uint64_t *counter_of(struct stats *stats, int err)
{
	switch (-err) {
	case ECONNREFUSED:
		return &stats->tcp_refused;
	case EHOSTUNREACH:
	case ENETUNREACH:
		return &stats->tcp_unreachable;
	case ETIMEDOUT:
		return &stats->tcp_timed_out;
	default:
		return &stats->tcp_failed;
	}
}

static void connect_failed(struct worker *w, struct tcp_flow *f, int err)
{
	if (f->transparent) {
		client_address_failed(w, f, err);
	} else if ((f->second || f->listener->target2_len == 0) && client_address_last(f)) {
		/* By way of the router, which did not answer a while ago. */
	} else if (f->second || f->listener->target2_len == 0) {
		stats_add(counter_of(w->stats, err), 1);
		stats_add(&f->listener->stats->errors, 1);
		flow_close(w, f, true, strerror(-err));
		return;
	} else {
		f->second = true;
		f->routed = false;
	}
	drop_socket(w, f);
	start_connect(w, f);
}

static void connected(struct worker *w, struct tcp_flow *f, int res)
{
	client_address_unlimit(w, f);
	if (res < 0) {
		connect_failed(w, f, res);
		return;
	}
	/* A client that has gone is not to be heard under another address than its own. */
	if (f->lost && w->io->ops->is_reset(w->io, f->fd[0])) {
		flow_close(w, f, true, "the client has gone");
		return;
	}
	set_state(f, TCP_FLOW_OPEN);
	flow_debug(w, f, "connected%s", f->transparent ? " with the client's address" : "");
	stats_add(&w->stats->tcp_connected, 1);
	client_address_connected(w, f);
	/* Servers that speak first are few: wait for them, but look what the client has sent. */
	arm_read(w, f, 1);
	pump(w, f, 0);
}

/* Events */

static void open_event(struct worker *w, struct tcp_flow *f, const struct io_event *ev)
{
	unsigned side = handle_side(ev->handle);

	switch (handle_op(ev->handle)) {
	case HANDLE_TCP_READ:
		f->dir[side].hangup = ev->res > 0 && (ev->res & (POLLRDHUP | POLLHUP | POLLERR));
		pump(w, f, side);
		break;
	case HANDLE_TCP_WRITE:
		pump(w, f, !side);
		break;
	case HANDLE_TCP_WATCH:
		/* Hang-up without an error is the end of both streams in good order: what was
		 * sent before it may still be waiting to be read. */
		if (ev->res < 0 || (ev->res & POLLERR))
			side_lost(w, f, side);
		break;
	default:
		assert(false);
	}
}

static uint8_t armed_bit(const struct io_event *ev)
{
	unsigned side = handle_side(ev->handle);

	assert(side < 2);
	switch (handle_op(ev->handle)) {
	case HANDLE_TCP_READ:
		return READ(side);
	case HANDLE_TCP_WRITE:
		return WRITE(side);
	case HANDLE_TCP_WATCH:
		return WATCH(side);
	default:
		return TCP_ARMED_CONNECT;
	}
}

void tcp_event(struct worker *w, const struct io_event *ev)
{
	uint32_t index = handle_index(ev->handle);
	struct tcp_flow *f;

	assert(index < w->tcp.used);
	f = &w->tcp.flows[index];
	if (f->state == TCP_FLOW_FREE || !handle_is_current(ev->handle, f->gen)) {
		stats_add(&w->stats->stale_completions, 1);
		return;
	}
	assert(f->armed & armed_bit(ev));
	f->armed &= (uint8_t)~armed_bit(ev);
	if (f->state == TCP_FLOW_CLOSING) {
		if (f->armed == 0)
			release(w, f);
	} else if (f->state == TCP_FLOW_CONNECTING) {
		connected(w, f, ev->res);
	} else {
		open_event(w, f, ev);
	}
}

void tcp_tick(struct worker *w)
{
	struct tcp_flow *f;

	while ((f = client_address_expired(w))) {
		client_address_unlimit(w, f);
		cancel_connect(w, f);
	}
}

void tcp_close_listener_flows(struct worker *w, struct listener *l)
{
	struct tcp_flow *f, *next;

	for (f = l->tcp_flows; f; f = next) {
		next = f->next;
		flow_close(w, f, true, "the port is removed");
	}
}

void tcp_close_all(struct worker *w)
{
	for (uint32_t i = 0; i < w->tcp.used; i++)
		if (w->tcp.flows[i].state != TCP_FLOW_FREE) {
			w->tcp.flows[i].abort = true;
			close_sides(w, &w->tcp.flows[i]);
		}
}
