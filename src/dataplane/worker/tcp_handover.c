/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/tcp_handover.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <utlist.h>

#include "dataplane/worker/worker_internal.h"

/*
 * Handing over a TCP flow. Beside its two sockets a flow consists of how far it has come, which
 * ends are closed, and what is in its pipes, which are handed over, too. Everything else that the
 * kernel knows (data in the queues, a connect under way, urgent marks, errors) stays with the
 * sockets and shows when they are looked at again. So a flow that goes on looks at everything: each
 * open direction has its turn in the run queue, and each closed one is watched.
 */

/* At rest */

void tcp_handover_rest(struct worker *w)
{
	for (uint32_t i = 0; i < w->tcp.used; i++)
		if (w->tcp.flows[i].state != TCP_FLOW_FREE &&
		    w->tcp.flows[i].state != TCP_FLOW_CLOSING)
			tcp_flow_cancel_all(w, &w->tcp.flows[i]);
}

bool tcp_handover_in_flight(const struct worker *w)
{
	for (uint32_t i = 0; i < w->tcp.used; i++)
		if (w->tcp.flows[i].armed)
			return true;
	return false;
}

/* Giving */

static uint16_t flags_of(const struct tcp_flow *f)
{
	return (uint16_t)((f->abort ? HANDOVER_ABORT : 0) | (f->second ? HANDOVER_SECOND : 0) |
			  (f->routed ? HANDOVER_ROUTED : 0) |
			  (f->routed_left ? HANDOVER_ROUTED_LEFT : 0) |
			  (f->transparent ? HANDOVER_TRANSPARENT : 0) |
			  (f->any_port ? HANDOVER_ANY_PORT : 0) |
			  (f->limited ? HANDOVER_LIMITED : 0) |
			  (f->connect_ended ? HANDOVER_CONNECT_ENDED : 0));
}

static void get_dir(struct worker *w, const struct tcp_flow *f, unsigned d, struct handover_tcp *t,
		    int *fds, unsigned *n)
{
	const struct tcp_dir *dir = &f->dir[d];
	const struct pipepool_pipe *pipe;

	t->dir[d].flags = (dir->bulk ? HANDOVER_BULK : 0) | (dir->done ? HANDOVER_DONE : 0) |
			  (dir->flowing ? HANDOVER_FLOWING : 0);
	if (!dir->in_pipe)
		return;
	pipe = pipepool_at(&w->pipes, dir->pipe);
	t->dir[d].in_pipe = dir->in_pipe;
	t->dir[d].pipe_size = pipe->size;
	t->fds |= (uint8_t)(HANDOVER_PIPE0 << d);
	fds[(*n)++] = pipe->fds[0];
	fds[(*n)++] = pipe->fds[1];
}

bool tcp_handover_get(struct worker *w, uint32_t index, struct handover_tcp *t, int *fds,
		      unsigned *n)
{
	const struct tcp_flow *f = &w->tcp.flows[index];

	if (f->state == TCP_FLOW_FREE || f->state == TCP_FLOW_CLOSING)
		return false;
	*t = (struct handover_tcp){
		.port_id = f->listener->port_id,
		.state = (uint8_t)f->state,
		.family = f->listener->outward ? (uint8_t)f->listener->family : 0,
		.lost = f->lost,
		.tries = f->tries,
		.survivor = f->survivor,
		.flags = flags_of(f),
		.connect_res = f->connect_res,
		.timer_ns = f->timer_pos ? f->timer_ns : 0,
		.limit_ns = f->limit_ns,
		.end_ns = f->end_ns,
		.silent_ns = {f->silent_ns[0], f->silent_ns[1]},
		.client = f->client,
	};
	for (unsigned side = 0; side < 2; side++) {
		if (f->fd[side] < 0)
			continue;
		t->fds |= (uint8_t)(HANDOVER_CLIENT << side);
		fds[(*n)++] = f->fd[side];
	}
	for (unsigned d = 0; d < 2; d++)
		get_dir(w, f, d, t, fds, n);
	return true;
}

/* Taking */

static void put_flags(struct tcp_flow *f, uint16_t flags)
{
	f->abort = flags & HANDOVER_ABORT;
	f->second = flags & HANDOVER_SECOND;
	f->routed = flags & HANDOVER_ROUTED;
	f->routed_left = flags & HANDOVER_ROUTED_LEFT;
	f->transparent = flags & HANDOVER_TRANSPARENT;
	f->any_port = flags & HANDOVER_ANY_PORT;
	f->limited = flags & HANDOVER_LIMITED;
	f->connect_ended = flags & HANDOVER_CONNECT_ENDED;
}

/* Whether the listener has the way that the flow uses. */
static bool has_way(const struct worker *w, const struct listener *l, const struct handover_tcp *t)
{
	bool second = t->flags & HANDOVER_SECOND;

	if (second && !l->target2_len)
		return false;
	return !(t->flags & HANDOVER_ROUTED) || (w->out.on && l->routed[second].sa.sa_family != 0);
}

static bool has_room(const struct worker *w, const struct listener *l)
{
	return l->outward ? w->out.tcp.flows < w->config.out.tcp_flows_max
			  : w->tcp.count < w->config.tcp_flows_max;
}

static const int *put_dir(struct worker *w, struct tcp_flow *f, unsigned d,
			  const struct handover_tcp *t, const int *fds)
{
	struct tcp_dir *dir = &f->dir[d];

	dir->bulk = t->dir[d].flags & HANDOVER_BULK;
	dir->done = t->dir[d].flags & HANDOVER_DONE;
	dir->flowing = t->dir[d].flags & HANDOVER_FLOWING;
	dir->pipe = PIPEPOOL_NONE;
	if (!(t->fds & (HANDOVER_PIPE0 << d)))
		return fds;
	dir->pipe = (int16_t)pipepool_adopt(&w->pipes, fds, t->dir[d].pipe_size);
	assert(dir->pipe != PIPEPOOL_NONE); /* the caller has asked whether there is one */
	dir->in_pipe = t->dir[d].in_pipe;
	return fds + 2;
}

static void count_flow(struct worker *w, struct listener *l)
{
	flow_taken_over(w, l);
	if (l->outward) {
		stats_add(&w->stats->out_tcp_flows, 1);
		out_tcp_flow_taken_over(w);
	} else {
		stats_add(&w->stats->tcp_flows, 1);
		w->tcp.count++;
	}
}

/* A flow that is not open ends when its own worker would have ended it, whatever is handed over. */
static void put_times(const struct worker *w, struct tcp_flow *f, const struct handover_tcp *t)
{
	uint64_t longest_ns = t->state == TCP_FLOW_DRAINING ? TCP_DRAIN_STALL_NS : TCP_CONNECT_NS;

	f->end_ns = worker_at_most(t->end_ns, w->now_ns + longest_ns);
	if (f->end_ns < w->now_ns)
		f->end_ns = w->now_ns;
	f->limit_ns = worker_at_most(t->limit_ns, f->end_ns);
	f->silent_ns[0] = worker_at_most(t->silent_ns[0], w->now_ns);
	f->silent_ns[1] = worker_at_most(t->silent_ns[1], w->now_ns);
}

static void put_state(struct worker *w, struct tcp_flow *f, const struct handover_tcp *t)
{
	tcp_flow_set_state(w, f, (enum tcp_state)t->state);
	if (t->state == TCP_FLOW_WAITING)
		tcp_flow_wait_begin(w, f);
	/* An open flow has a timer only for an output that is full, which will show again. */
	if (t->state != TCP_FLOW_OPEN)
		tcp_timer_set(w, f,
			      worker_at_most(t->timer_ns ? t->timer_ns : w->now_ns, f->end_ns));
}

bool tcp_handover_put(struct worker *w, struct listener *l, const struct handover_tcp *t,
		      const int *fds)
{
	struct tcp_flow *f;

	if (!has_way(w, l, t) || !has_room(w, l) || PIPEPOOL_MAX - w->pipes.n_open < 2)
		return false;
	f = tcp_flow_get(w);
	if (!f)
		return false;
	f->listener = l;
	f->client = t->client;
	f->lost = t->lost;
	f->tries = t->tries;
	f->survivor = t->survivor;
	f->connect_res = t->connect_res;
	put_times(w, f, t);
	put_flags(f, t->flags);
	for (unsigned side = 0; side < 2; side++) {
		f->fd[side] = t->fds & (HANDOVER_CLIENT << side) ? *fds++ : -1;
		if (f->fd[side] >= 0)
			w->io->ops->adopt(w->io, f->fd[side]);
	}
	for (unsigned d = 0; d < 2; d++)
		fds = put_dir(w, f, d, t, fds);
	count_flow(w, l);
	DL_APPEND(l->tcp_flows, f);
	put_state(w, f, t);
	tcp_flow_debug(w, f, "taken over, port %d", l->port_id);
	return true;
}

/* Going on */

static void connecting_goes(struct worker *w, struct tcp_flow *f)
{
	if (f->connect_ended) {
		f->connect_ended = false;
		tcp_connect_ended(w, f, f->connect_res);
		return;
	}
	/* The attempt had reached its limit, and was cancelled for that. */
	if (f->transparent && !f->limited) {
		tcp_connect_ended(w, f, -ECANCELED);
		return;
	}
	/* connect(2) was called before: the socket becomes writable when it has ended, and SO_ERROR
	 * has the result. */
	tcp_connect_set_timer(w, f);
	f->armed |= TCP_ARMED_CONNECT;
	w->io->ops->poll(w->io, f->fd[1], POLLOUT, tcp_flow_handle(w, f, HANDLE_TCP_CONNECT, 1));
}

static void flow_goes(struct worker *w, struct tcp_flow *f)
{
	switch (f->state) {
	case TCP_FLOW_OPEN:
		for (unsigned d = 0; d < 2; d++) {
			if (f->dir[d].done)
				tcp_flow_arm_watch(w, f, d);
			else
				tcp_requeue(w, f, d);
		}
		break;
	case TCP_FLOW_CONNECTING:
		connecting_goes(w, f);
		break;
	case TCP_FLOW_RETRYING:
		tcp_flow_arm_watch(w, f, 0);
		break;
	case TCP_FLOW_DRAINING:
		tcp_flow_arm_watch(w, f, f->survivor);
		break;
	case TCP_FLOW_WAITING: /* a socket or the timer will come */
	case TCP_FLOW_CLOSING:
	case TCP_FLOW_FREE:
		break;
	}
}

void tcp_handover_go(struct worker *w)
{
	uint32_t used = w->tcp.used;

	for (uint32_t i = 0; i < used; i++)
		flow_goes(w, &w->tcp.flows[i]);
}
