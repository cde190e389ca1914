/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>

#include "dataplane/worker/worker_internal.h"

/*
 * Moves the bytes of one direction of a TCP flow, in line, until one side has no more to give or
 * takes no more. tcp.c says what is copied, what is spliced, and what follows.
 */

/* A pipe whose bytes have waited for this long counts as stalled: somebody does not read. */
#define STALLED_NS (1000 * WORKER_NS_PER_MS)

void tcp_drop_pipe(struct worker *w, struct tcp_dir *dir)
{
	if (dir->pipe == PIPEPOOL_NONE)
		return;
	if (dir->in_pipe)
		pipepool_discard(&w->pipes, dir->pipe);
	else
		pipepool_put(&w->pipes, dir->pipe);
	dir->pipe = PIPEPOOL_NONE;
	dir->in_pipe = 0;
	if (dir->stalled)
		w->pipes.stalled--;
	dir->stalled = false;
	dir->stall_ns = 0;
}

/* The direction's output takes no more. If that lasts, its pipe is stalled: tcp_stalled looks after
 * a while. */
static void stall(struct worker *w, struct tcp_flow *f, struct tcp_dir *dir)
{
	dir->flowing = false;
	if (dir->stall_ns)
		return;
	dir->stall_ns = w->now_ns;
	if (!f->timer_pos)
		tcp_timer_set(w, f, w->now_ns + STALLED_NS);
}

void tcp_stalled(struct worker *w, struct tcp_flow *f)
{
	for (unsigned d = 0; d < 2; d++) {
		struct tcp_dir *dir = &f->dir[d];

		if (!dir->stall_ns || dir->stalled)
			continue;
		if (w->now_ns - dir->stall_ns < STALLED_NS) {
			tcp_timer_set(w, f, dir->stall_ns + STALLED_NS);
			continue;
		}
		dir->stalled = true;
		w->pipes.stalled++;
	}
}

static void count_bytes(struct worker *w, const struct tcp_flow *f, unsigned d, size_t n)
{
	struct port_stats *port = f->listener->stats;

	if (f->listener->outward)
		stats_add(d == 0 ? &w->stats->out_tcp_bytes_up : &w->stats->out_tcp_bytes_down, n);
	else
		stats_add(d == 0 ? &w->stats->tcp_bytes_in : &w->stats->tcp_bytes_out, n);
	stats_add(d == 0 ? &port->bytes_in : &port->bytes_out, n);
}

/* Sends what is in the pipe, which comes before any other bytes. */
static enum tcp_pump drain_pipe(struct worker *w, struct tcp_flow *f, unsigned d)
{
	struct tcp_dir *dir = &f->dir[d];
	struct pipepool_pipe *pipe = pipepool_at(&w->pipes, dir->pipe);

	while (dir->in_pipe) {
		ssize_t n = w->io->ops->splice(w->io, pipe->fds[0], f->fd[!d], dir->in_pipe);

		if (n == -EAGAIN) {
			stall(w, f, dir);
			return PUMP_WAIT_WRITE;
		}
		if (n <= 0)
			return PUMP_WRITE_ERROR;
		assert((size_t)n <= dir->in_pipe);
		dir->in_pipe -= (uint32_t)n;
		count_bytes(w, f, d, (size_t)n);
	}
	tcp_drop_pipe(w, dir);
	return PUMP_MOVED;
}

static enum tcp_pump read_result(ssize_t n)
{
	if (n == 0)
		return PUMP_END;
	return n == -EAGAIN ? PUMP_WAIT_READ : PUMP_READ_ERROR;
}

/* Without a pipe: sends what is in the receive queue, then drops from the queue what was sent. */
static enum tcp_pump move_peeked(struct worker *w, struct tcp_flow *f, unsigned d, size_t *moved)
{
	const struct io_ops *ops = w->io->ops;
	ssize_t n, sent;

	n = ops->recv(w->io, f->fd[d], w->copy, WORKER_BULK_COPY_BYTES, MSG_PEEK);
	if (n <= 0)
		return read_result(n);
	sent = ops->send(w->io, f->fd[!d], w->copy, (size_t)n, 0);
	if (sent == -EAGAIN)
		return PUMP_WAIT_WRITE;
	if (sent <= 0)
		return PUMP_WRITE_ERROR;
	/* tcp(7): MSG_TRUNC drops bytes without copying them. The bytes are there, so none can be
	 * missing. */
	n = ops->recv(w->io, f->fd[d], w->copy, (size_t)sent, MSG_TRUNC);
	if (n != sent)
		return PUMP_READ_ERROR;
	*moved += (size_t)sent;
	count_bytes(w, f, d, (size_t)sent);
	return PUMP_MOVED;
}

/* Puts the rest of a short send into a pipe. The caller has made sure that there is one. */
static enum tcp_pump spill(struct worker *w, struct tcp_dir *dir, const uint8_t *rest, size_t len)
{
	ssize_t n;

	dir->pipe = (int16_t)pipepool_get(&w->pipes, w->now_ns);
	assert(dir->pipe != PIPEPOOL_NONE);
	n = w->io->ops->pipe_write(w->io, pipepool_at(&w->pipes, dir->pipe)->fds[1], rest, len);
	if (n != (ssize_t)len)
		return PUMP_WRITE_ERROR;
	dir->in_pipe = (uint32_t)len;
	return PUMP_WAIT_WRITE;
}

static enum tcp_pump move_copied(struct worker *w, struct tcp_flow *f, unsigned d, size_t *moved)
{
	const struct io_ops *ops = w->io->ops;
	struct tcp_dir *dir = &f->dir[d];
	ssize_t n, sent;

	if (!pipepool_ready(&w->pipes, w->now_ns))
		return move_peeked(w, f, d, moved);
	n = ops->recv(w->io, f->fd[d], w->copy, WORKER_COPY_BYTES, 0);
	if (n <= 0)
		return read_result(n);
	sent = ops->send(w->io, f->fd[!d], w->copy, (size_t)n, 0);
	if (sent < 0 && sent != -EAGAIN)
		return PUMP_WRITE_ERROR;
	if (sent < 0)
		sent = 0;
	*moved += (size_t)n;
	count_bytes(w, f, d, (size_t)sent);
	if (sent < n)
		return spill(w, dir, w->copy + sent, (size_t)(n - sent));
	dir->bulk = n == WORKER_COPY_BYTES;
	/* A short read means that the queue is empty. Reading again would only confirm that, unless
	 * the end of the stream is behind it. */
	return dir->bulk || dir->hangup ? PUMP_MOVED : PUMP_WAIT_READ;
}

/* The share of the pipes, one in so many, that bulk transfers leave for the rests of small
 * messages. */
#define SPILL_SHARE 8

/* Whether a direction must do without a pipe. Clients that do not read what they asked for must not
 * hold every pipe: when half of the pipes have been stalled for a second, a direction gets none
 * until its output has taken a whole budget. */
static bool goes_without(const struct worker *w, const struct tcp_dir *dir)
{
	const struct pipepool *p = &w->pipes;

	return p->max - p->n_open + p->n_free <= p->max / SPILL_SHARE ||
	       (!dir->flowing && p->stalled >= p->max / 2);
}

static enum tcp_pump move_spliced(struct worker *w, struct tcp_flow *f, unsigned d, size_t *moved)
{
	struct tcp_dir *dir = &f->dir[d];
	struct pipepool_pipe *pipe;
	ssize_t n;

	if (goes_without(w, dir))
		return move_peeked(w, f, d, moved);
	dir->pipe = (int16_t)pipepool_get(&w->pipes, w->now_ns);
	if (dir->pipe == PIPEPOOL_NONE)
		return move_peeked(w, f, d, moved);
	pipe = pipepool_at(&w->pipes, dir->pipe);
	n = w->io->ops->splice(w->io, f->fd[d], pipe->fds[1], pipe->size);
	if (n > 0) {
		dir->in_pipe = (uint32_t)n;
		dir->bulk = n >= WORKER_COPY_BYTES;
		*moved += (size_t)n;
		return PUMP_MOVED;
	}
	tcp_drop_pipe(w, dir);
	/* At an urgent mark splice returns EAGAIN for ever (tcp(7), MSG_OOB); recv reads past it.
	 */
	if (n == -EAGAIN)
		return move_copied(w, f, d, moved);
	return read_result(n);
}

enum tcp_pump tcp_pump(struct worker *w, struct tcp_flow *f, unsigned d, bool bulk)
{
	struct tcp_dir *dir = &f->dir[d];
	size_t moved = 0;

	for (;;) {
		enum tcp_pump r = PUMP_MOVED;

		if (dir->in_pipe)
			r = drain_pipe(w, f, d);
		if (r == PUMP_MOVED && moved >= WORKER_FLOW_BUDGET) {
			dir->flowing = true;
			return PUMP_BUDGET;
		}
		if (r == PUMP_MOVED && dir->bulk && !bulk)
			return PUMP_BUDGET;
		if (r == PUMP_MOVED)
			r = dir->bulk ? move_spliced(w, f, d, &moved)
				      : move_copied(w, f, d, &moved);
		if (r != PUMP_MOVED)
			return r;
	}
}
