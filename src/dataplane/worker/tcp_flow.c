/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/tcp_flow.h"

#include <assert.h>
#include <poll.h>
#include <string.h>
#include <utlist.h>

#include "dataplane/worker/worker_internal.h"

/* The states that may follow each state. */
static const uint8_t state_after[] = {
	/* From RETRYING on: states in which an earlier data plane hands a flow over
	 * (tcp_handover.c). */
	[TCP_FLOW_FREE] = 1 << TCP_FLOW_WAITING | 1 << TCP_FLOW_CONNECTING |
			  1 << TCP_FLOW_RETRYING | 1 << TCP_FLOW_OPEN | 1 << TCP_FLOW_DRAINING,
	[TCP_FLOW_WAITING] =
		1 << TCP_FLOW_WAITING | 1 << TCP_FLOW_CONNECTING | 1 << TCP_FLOW_CLOSING,
	[TCP_FLOW_CONNECTING] = 1 << TCP_FLOW_WAITING | 1 << TCP_FLOW_CONNECTING |
				1 << TCP_FLOW_RETRYING | 1 << TCP_FLOW_OPEN | 1 << TCP_FLOW_CLOSING,
	[TCP_FLOW_RETRYING] =
		1 << TCP_FLOW_WAITING | 1 << TCP_FLOW_CONNECTING | 1 << TCP_FLOW_CLOSING,
	[TCP_FLOW_OPEN] = 1 << TCP_FLOW_DRAINING | 1 << TCP_FLOW_CLOSING,
	[TCP_FLOW_DRAINING] = 1 << TCP_FLOW_CLOSING,
	[TCP_FLOW_CLOSING] = 0,
};

void tcp_flow_set_state(struct worker *w, struct tcp_flow *f, enum tcp_state state)
{
	assert(state_after[f->state] & 1 << state);
	w->tcp.retrying += (state == TCP_FLOW_RETRYING) - (f->state == TCP_FLOW_RETRYING);
	f->state = state;
}

uint32_t tcp_flow_index(const struct worker *w, const struct tcp_flow *f)
{
	return (uint32_t)(f - w->tcp.flows);
}

uint64_t tcp_flow_handle(const struct worker *w, const struct tcp_flow *f, enum handle_op op,
			 unsigned side)
{
	return handle_pack(op, side, f->gen, tcp_flow_index(w, f));
}

/* Slots */

struct tcp_flow *tcp_flow_get(struct worker *w)
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

void tcp_flow_unqueue(struct worker *w, struct tcp_flow *f)
{
	if (!f->queued)
		return;
	f->queued = false;
	DL_DELETE2(w->tcp.run_queue, f, queue_prev, queue_next);
}

/* Waiting for a socket of the broker or the router */

static bool wants_ipv6(const struct tcp_flow *f)
{
	const struct listener *l = f->listener;

	return (f->second ? l->target2.sa.sa_family : l->target.sa.sa_family) == AF_INET6;
}

int tcp_flow_family(const struct tcp_flow *f)
{
	return wants_ipv6(f) ? AF_INET6 : AF_INET;
}

struct sockpool *tcp_flow_pool(struct worker *w, int family, bool routed)
{
	return supply_pool(routed ? &w->out.supply : &w->supply, family, SOCK_STREAM);
}

void tcp_flow_wait_begin(struct worker *w, struct tcp_flow *f)
{
	DL_APPEND2(w->tcp.waiting[f->routed][wants_ipv6(f)], f, queue_prev, queue_next);
	tcp_flow_pool(w, tcp_flow_family(f), f->routed)->waiting++;
}

void tcp_flow_wait_end(struct worker *w, struct tcp_flow *f)
{
	DL_DELETE2(w->tcp.waiting[f->routed][wants_ipv6(f)], f, queue_prev, queue_next);
	tcp_flow_pool(w, tcp_flow_family(f), f->routed)->waiting--;
}

void tcp_flow_close_sides(struct worker *w, struct tcp_flow *f)
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

void tcp_flow_release(struct worker *w, struct tcp_flow *f)
{
	struct listener *l = f->listener;
	uint32_t gen = f->gen + 1;

	assert(f->state == TCP_FLOW_CLOSING && f->armed == 0 && !f->queued && !f->timer_pos);
	tcp_flow_close_sides(w, f);
	count_end(w, f);
	DL_DELETE(l->tcp_flows, f);
	memset(f, 0, sizeof(*f));
	f->gen = gen;
	f->next = w->tcp.free;
	w->tcp.free = f;
	flow_closed(w, l);
}

void tcp_flow_cancel_connect(struct worker *w, struct tcp_flow *f)
{
	w->io->ops->cancel(w->io, f->fd[1], tcp_flow_handle(w, f, HANDLE_TCP_CONNECT, 1));
}

void tcp_flow_cancel_all(struct worker *w, struct tcp_flow *f)
{
	static const enum handle_op ops[] = {HANDLE_TCP_READ, HANDLE_TCP_WRITE, HANDLE_TCP_WATCH};

	for (unsigned side = 0; side < 2; side++)
		for (unsigned i = 0; i < 3; i++)
			if (f->armed & (1u << (2 * i + side)))
				w->io->ops->cancel(w->io, f->fd[side],
						   tcp_flow_handle(w, f, ops[i], side));
	if (f->armed & TCP_ARMED_CONNECT)
		tcp_flow_cancel_connect(w, f);
}

void tcp_flow_close(struct worker *w, struct tcp_flow *f, bool abort, const char *why)
{
	if (f->state == TCP_FLOW_CLOSING)
		return;
	tcp_flow_debug(w, f, "closed%s: %s", f->abort || abort ? " by reset" : "", why);
	if (f->state == TCP_FLOW_WAITING)
		tcp_flow_wait_end(w, f);
	tcp_flow_unqueue(w, f);
	tcp_timer_clear(w, f);
	f->abort |= abort;
	tcp_flow_set_state(w, f, TCP_FLOW_CLOSING);
	if (f->armed)
		tcp_flow_cancel_all(w, f);
	else
		tcp_flow_release(w, f);
}

static void arm(struct worker *w, struct tcp_flow *f, enum handle_op op, unsigned side, uint8_t bit,
		uint32_t events)
{
	if (f->armed & bit || handover_holds(w))
		return;
	f->armed |= bit;
	w->io->ops->poll(w->io, f->fd[side], events, tcp_flow_handle(w, f, op, side));
}

void tcp_flow_arm_read(struct worker *w, struct tcp_flow *f, unsigned side)
{
	arm(w, f, HANDLE_TCP_READ, side, TCP_ARMED_READ(side), POLLIN | POLLRDHUP);
}

void tcp_flow_arm_write(struct worker *w, struct tcp_flow *f, unsigned side)
{
	arm(w, f, HANDLE_TCP_WRITE, side, TCP_ARMED_WRITE(side), POLLOUT);
}

void tcp_flow_arm_watch(struct worker *w, struct tcp_flow *f, unsigned side)
{
	arm(w, f, HANDLE_TCP_WATCH, side, TCP_ARMED_WATCH(side), 0);
}
