/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <utlist.h>

#include "base/log.h"
#include "dataplane/worker/worker_internal.h"

/*
 * TCP flows.
 *
 * A flow joins an accepted connection (side 0) and a socket in the namespace (side 1). Each
 * direction is pumped on its own: read from one side, write to the other, in line, until one side
 * has no more to give or takes no more. Then a one-shot poll waits for that side alone. Small
 * messages are copied through the worker's buffer. A direction that filled the buffer counts as a
 * bulk transfer: it is spliced through a pipe, which the flow holds only while bytes are in it.
 * What a send did not take goes into a pipe, too. Without a pipe, the worker looks at the data
 * (MSG_PEEK), sends it, and then drops from the receive queue what was sent, so that it never holds
 * data itself.
 *
 * Ends. End of stream on one side becomes a shutdown on the other (half-close). A reset on one side
 * becomes a reset on the other, but first the data from the side that reset is delivered: a server
 * that answers and closes without reading the rest of the request resets the connection, and its
 * answer must arrive. A side that is not being read, because the other takes no more or because its
 * stream has ended, is watched with a poll for errors alone.
 *
 * The reset waits until the remaining side has acknowledged everything, since a reset drops what is
 * still in the send queue (DRAINING).
 *
 * Fairness. Bulk transfers go on from the run queue alone, which has RUN_NS of each turn, so that
 * small messages of other flows never wait for more than that.
 *
 * A slot is freed when nothing of the flow is in flight, never before.
 */

/* A connection whose last bytes are on their way is looked at this often. */
#define DRAIN_LOOK_NS (10 * WORKER_NS_PER_MS)

/* Time of a turn that the run queue may take. */
#define RUN_NS (WORKER_NS_PER_MS / 2)

static void pump(struct worker *w, struct tcp_flow *f, unsigned d, bool bulk);

void tcp_requeue(struct worker *w, struct tcp_flow *f, unsigned d)
{
	f->dir[d].again = true;
	if (f->queued)
		return;
	f->queued = true;
	DL_APPEND2(w->tcp.run_queue, f, queue_prev, queue_next);
}

/* Ends the flow with resets: nothing more is to be forwarded. The side that is still there first
 * gets all that was sent to it. */
static void flow_abort(struct worker *w, struct tcp_flow *f, unsigned survivor)
{
	if (f->state != TCP_FLOW_OPEN)
		return;
	f->abort = true;
	f->unsent = (uint32_t)w->io->ops->unsent(w->io, f->fd[survivor]);
	if (f->unsent == 0) {
		tcp_flow_close(w, f, true, "a side is gone");
		return;
	}
	tcp_flow_unqueue(w, f);
	f->survivor = (uint8_t)survivor;
	f->end_ns = w->now_ns + TCP_DRAIN_STALL_NS;
	tcp_flow_set_state(w, f, TCP_FLOW_DRAINING);
	tcp_flow_arm_watch(w, f, survivor);
	tcp_timer_set(w, f, w->now_ns + DRAIN_LOOK_NS);
}

static void drain(struct worker *w, struct tcp_flow *f)
{
	uint32_t unsent = (uint32_t)w->io->ops->unsent(w->io, f->fd[f->survivor]);

	if (unsent < f->unsent)
		f->end_ns = w->now_ns + TCP_DRAIN_STALL_NS;
	f->unsent = unsent;
	if (unsent == 0 || w->now_ns >= f->end_ns)
		tcp_flow_close(w, f, true,
			       unsent ? "the rest was not taken" : "all of the rest is there");
	else
		tcp_timer_set(w, f, w->now_ns + DRAIN_LOOK_NS);
}

static void end_of_stream(struct worker *w, struct tcp_flow *f, unsigned d)
{
	f->dir[d].done = true;
	if (f->dir[!d].done) {
		if (f->abort)
			flow_abort(w, f, !d);
		else
			tcp_flow_close(w, f, false, "both sides have ended");
		return;
	}
	w->io->ops->shutdown_write(w->io, f->fd[!d]);
	tcp_flow_arm_watch(w, f, d);
}

/* A side takes no more data. The bytes that it sent are still delivered; then the flow ends. Calls
 * pump() for the other direction, so that the two are nested at most twice. */
static void side_lost(struct worker *w, struct tcp_flow *f, unsigned side)
{
	struct tcp_dir *to = &f->dir[!side], *from = &f->dir[side];

	f->abort = true;
	to->done = true;
	tcp_drop_pipe(w, to);
	if (from->done) {
		flow_abort(w, f, !side);
		return;
	}
	tcp_flow_arm_watch(w, f, !side);
	if (!(f->armed & TCP_ARMED_WRITE(!side)))
		pump(w, f, side, false);
}

/* Moves the bytes of one direction and decides what comes next. bulk: it is the flow's turn in the
 * run queue. */
static void pump(struct worker *w, struct tcp_flow *f, unsigned d, bool bulk)
{
	if (f->state != TCP_FLOW_OPEN || f->dir[d].done)
		return;
	f->dir[d].again = false;
	switch (tcp_pump(w, f, d, bulk)) {
	case PUMP_WAIT_READ:
		tcp_flow_arm_read(w, f, d);
		break;
	case PUMP_WAIT_WRITE:
		tcp_flow_arm_write(w, f, !d);
		tcp_flow_arm_watch(w, f, d);
		break;
	case PUMP_END:
		end_of_stream(w, f, d);
		break;
	case PUMP_READ_ERROR:
		flow_abort(w, f, !d);
		break;
	case PUMP_WRITE_ERROR:
		side_lost(w, f, !d);
		break;
	default:
		tcp_requeue(w, f, d);
		break;
	}
}

void tcp_run_queue(struct worker *w)
{
	struct tcp_flow *last = w->tcp.run_queue ? w->tcp.run_queue->queue_prev : NULL, *f = NULL;
	uint64_t end_ns = last ? w->io->ops->now_ns(w->io) + RUN_NS : 0;

	/* A flow that has more is queued again behind last, and has its turn next time. */
	while (f != last && w->tcp.run_queue) {
		if (f && w->io->ops->now_ns(w->io) >= end_ns)
			break;
		f = w->tcp.run_queue;
		tcp_flow_unqueue(w, f);
		for (unsigned d = 0; d < 2; d++)
			if (f->state == TCP_FLOW_OPEN && f->dir[d].again)
				pump(w, f, d, true);
	}
}

void tcp_connect_ended(struct worker *w, struct tcp_flow *f, int res)
{
	if (!tcp_connect_done(w, f, res))
		return;
	rhythm_expect(&w->rhythm);
	/* Few servers speak first: wait for that, and read what the client has sent. */
	tcp_flow_arm_read(w, f, 1);
	pump(w, f, 0, false);
}

void tcp_join(struct worker *w, struct listener *l, int client_fd, int server_fd)
{
	struct tcp_flow *f = tcp_flow_get(w);

	assert(f); /* out_tcp.c has made sure that a slot is free */
	f->fd[0] = client_fd;
	f->fd[1] = server_fd;
	f->listener = l;
	f->dir[0].pipe = f->dir[1].pipe = PIPEPOOL_NONE;
	flow_opened(w, l);
	DL_APPEND(l->tcp_flows, f);
	stats_add(&w->stats->out_tcp_flows, 1);
	tcp_flow_set_state(w, f, TCP_FLOW_OPEN);
	tcp_flow_debug(w, f, "on its way out");
	rhythm_expect(&w->rhythm);
	tcp_flow_arm_read(w, f, 1);
	pump(w, f, 0, false);
}

/* Events */

static void open_event(struct worker *w, struct tcp_flow *f, const struct io_event *ev)
{
	unsigned side = handle_side(ev->handle);

	switch (handle_op(ev->handle)) {
	case HANDLE_TCP_READ:
		f->dir[side].hangup = ev->res > 0 && (ev->res & (POLLRDHUP | POLLHUP | POLLERR));
		pump(w, f, side, false);
		break;
	case HANDLE_TCP_WRITE:
		pump(w, f, !side, false);
		break;
	case HANDLE_TCP_WATCH:
		/* Hang-up without an error means that both streams have ended in order. What was
		 * sent before may still have to be read. */
		if (ev->res < 0 || (ev->res & POLLERR))
			side_lost(w, f, side);
		break;
	default:
		assert(false);
	}
}

/* For a flow that is not open yet, or that is draining: the client, or the survivor, has gone. End
 * of stream does not count: a client may have sent all it has. */
static void watch_event(struct worker *w, struct tcp_flow *f, const struct io_event *ev)
{
	if (handle_op(ev->handle) == HANDLE_TCP_WATCH &&
	    (ev->res < 0 || (ev->res & (POLLERR | POLLHUP))))
		tcp_flow_close(w, f, true, "the other side is gone, too");
}

static uint8_t armed_bit(const struct io_event *ev)
{
	unsigned side = handle_side(ev->handle);

	assert(side < 2);
	switch (handle_op(ev->handle)) {
	case HANDLE_TCP_READ:
		return TCP_ARMED_READ(side);
	case HANDLE_TCP_WRITE:
		return TCP_ARMED_WRITE(side);
	case HANDLE_TCP_WATCH:
		return TCP_ARMED_WATCH(side);
	default:
		return TCP_ARMED_CONNECT;
	}
}

/* For a hand-over: a poll's result is not noted, since the same poll finds it again; the outcome of
 * a connect is told only once, so it is. */
static void rest_event(struct tcp_flow *f, const struct io_event *ev)
{
	if (handle_op(ev->handle) != HANDLE_TCP_CONNECT || ev->res == -ECANCELED)
		return;
	f->connect_ended = true;
	f->connect_res = ev->res > 0 ? 0 : ev->res;
}

void tcp_event(struct worker *w, const struct io_event *ev)
{
	uint32_t index = handle_index(ev->handle);
	struct tcp_flow *f;

	assert(index < w->tcp.used);
	f = &w->tcp.flows[index];
	if (!worker_is_current(w, ev, f->state != TCP_FLOW_FREE, f->gen))
		return;
	assert(f->armed & armed_bit(ev));
	f->armed &= (uint8_t)~armed_bit(ev);
	if (f->state == TCP_FLOW_CLOSING) {
		if (f->armed == 0)
			tcp_flow_release(w, f);
	} else if (handover_holds(w)) {
		rest_event(f, ev);
	} else if (f->state == TCP_FLOW_OPEN) {
		open_event(w, f, ev);
	} else if (handle_op(ev->handle) == HANDLE_TCP_CONNECT) {
		tcp_connect_ended(w, f, ev->res > 0 ? 0 : ev->res);
	} else {
		watch_event(w, f, ev);
	}
}

void tcp_tick(struct worker *w)
{
	struct tcp_flow *f;

	while ((f = tcp_timer_expired(w))) {
		if (f->state == TCP_FLOW_DRAINING)
			drain(w, f);
		else if (f->state == TCP_FLOW_OPEN)
			tcp_stalled(w, f);
		else
			tcp_connect_timer(w, f);
	}
}

void tcp_close_listener_flows(struct worker *w, struct listener *l)
{
	struct tcp_flow *f, *next;

	for (f = l->tcp_flows; f; f = next) {
		next = f->next;
		tcp_flow_close(w, f, true, "the port is removed");
	}
}

void tcp_close_all(struct worker *w)
{
	for (uint32_t i = 0; i < w->tcp.used; i++)
		if (w->tcp.flows[i].state != TCP_FLOW_FREE) {
			w->tcp.flows[i].abort = true;
			tcp_flow_close_sides(w, &w->tcp.flows[i]);
		}
}
