/* SPDX-License-Identifier: Apache-2.0 */
#include "io_sim_internal.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "dataplane/io/handle.h"

#define SWAP(a, b)                                                                                 \
	do {                                                                                       \
		__typeof__(a) was_ = (a);                                                          \
		(a) = (b);                                                                         \
		(b) = was_;                                                                        \
	} while (0)

struct sim *sim_of(struct io *io)
{
	return (struct sim *)io;
}

uint32_t sim_random(struct sim *s, uint32_t below)
{
	/* xorshift64* */
	s->rng ^= s->rng >> 12;
	s->rng ^= s->rng << 25;
	s->rng ^= s->rng >> 27;
	return below ? (uint32_t)((s->rng * 0x2545f4914f6cdd1dull) >> 33) % below : 0;
}

bool sim_fault(struct sim *s)
{
	return sim_random(s, 100) < s->fault_percent;
}

size_t sim_shorten(struct sim *s, size_t n)
{
	return n > 1 && sim_fault(s) ? 1 + sim_random(s, (uint32_t)n) : n;
}

struct object *sim_object_of(struct sim *s, int fd)
{
	struct object *o;

	assert(fd >= FD_BASE && fd < FD_BASE + OBJECTS);
	o = &s->objects[fd - FD_BASE];
	assert(o->open);
	return o;
}

int sim_object_new(struct sim *s, enum kind kind, int family)
{
	for (int i = s->first_free; i < OBJECTS; i++)
		if (s->objects[i].kind == KIND_FREE) {
			s->objects[i] = (struct object){
				.kind = kind, .family = family, .open = true, .urgent = -1};
			s->first_free = i + 1;
			s->used = s->used > i ? s->used : i + 1;
			return i;
		}
	abort();
}

void sim_object_free(struct sim *s, struct object *o)
{
	int i = (int)(o - s->objects);

	o->kind = KIND_FREE;
	if (i < s->first_free)
		s->first_free = i;
}

struct queue *sim_queue_new(void)
{
	struct queue *q = calloc(1, sizeof(*q));

	assert(q);
	return q;
}

void sim_queue_put(struct queue *q, const void *data, size_t n)
{
	assert(q->len + n <= sizeof(q->data));
	memcpy(q->data + q->len, data, n);
	q->len += n;
}

void sim_queue_drop(struct queue *q, size_t n)
{
	assert(n <= q->len);
	memmove(q->data, q->data + n, q->len - n);
	q->len -= n;
}

void sim_emit(struct sim *s, uint64_t handle, int res, bool more)
{
	assert(s->n_ready < OPS_MAX);
	s->ready[s->n_ready++] = (struct io_event){.handle = handle, .res = res, .more = more};
}

static void op_add(struct io *io, struct op op)
{
	struct sim *s = sim_of(io);

	assert(s->n_ops < OPS_MAX);
	s->ops[s->n_ops++] = op;
}

int sim_index_of_fd(struct sim *s, int fd)
{
	return (int)(sim_object_of(s, fd) - s->objects);
}

static void sim_op_accept(struct io *io, int fd, uint64_t handle)
{
	op_add(io, (struct op){.handle = handle,
			       .type = OP_ACCEPT,
			       .object = sim_index_of_fd(sim_of(io), fd)});
}

static void sim_op_connect(struct io *io, int fd, const struct sockaddr *addr, socklen_t len,
			   uint64_t handle)
{
	struct sim *s = sim_of(io);
	struct object *o = sim_object_of(s, fd);
	int err = sim_addr_error(s, o, addr, len);

	if (err) {
		sim_emit(s, handle, err, false);
		return;
	}
	/* The connect goes on when the operation is cancelled, and a poll tells its outcome. */
	o->connecting = true;
	memcpy(&o->peer, addr, len);
	op_add(io, (struct op){.handle = handle,
			       .type = OP_CONNECT,
			       .object = sim_index_of_fd(s, fd),
			       .port = ntohs(o->peer.in4.sin_port)});
}

static void sim_op_poll(struct io *io, int fd, uint32_t events, uint64_t handle)
{
	op_add(io, (struct op){.handle = handle,
			       .type = OP_POLL,
			       .events = events,
			       .object = sim_index_of_fd(sim_of(io), fd)});
}

static void sim_op_recvmsg(struct io *io, int fd, uint64_t handle)
{
	op_add(io, (struct op){.handle = handle,
			       .type = OP_RECVMSG,
			       .object = sim_index_of_fd(sim_of(io), fd)});
}

static void sim_op_cancel(struct io *io, int fd, uint64_t handle)
{
	struct sim *s = sim_of(io);

	sim_object_of(s, fd);
	for (unsigned i = 0; i < s->n_ops; i++)
		if (s->ops[i].handle == handle)
			s->ops[i].cancelled = true;
}

static uint32_t channel_state(const struct channel *c)
{
	uint32_t e = c->n_in || c->ended ? POLLIN : 0;

	return c->n_out < c->room ? e | POLLOUT : e;
}

static uint32_t poll_state(const struct sim *s, const struct object *o)
{
	uint32_t e = 0;

	if (o->kind == KIND_CHANNEL)
		return channel_state(o->channel);
	if (o->kind == KIND_DATAGRAM)
		return o->answer_len ? POLLIN : 0;
	if (o->in->len || o->in_end || o->flood)
		e |= POLLIN;
	if (o->in_end)
		e |= POLLRDHUP;
	if (o->out->len < s->socket_bytes)
		e |= POLLOUT;
	if (o->in_reset)
		e |= POLLIN | POLLOUT | POLLRDHUP | POLLERR | POLLHUP;
	if (o->in_end && o->out_end)
		e |= POLLHUP;
	return e;
}

void sim_make_connection(struct object *o)
{
	o->in = sim_queue_new();
	o->out = sim_queue_new();
	o->connected = true;
}

/* The outcome of a connect that is under way. */
static uint32_t connect_state(struct sim *s, struct object *o)
{
	uint16_t port = ntohs(o->peer.in4.sin_port);

	if (!o->connecting || port == s->silent_port)
		return 0;
	if (port == s->refused_port) {
		o->error = -ECONNREFUSED;
		return POLLOUT | POLLERR | POLLHUP;
	}
	o->connecting = false;
	sim_make_connection(o);
	s->last_server = (int)(o - s->objects);
	return POLLOUT;
}

/* The following functions return whether the operation has completed for good. */

static bool run_accept(struct sim *s, const struct op *op, struct object *o)
{
	int may = io_may_accept(&s->io, op->handle);
	bool ends;

	if (o->n_backlog == 0)
		return false;
	if (may < 0 || s->exhausted || s->accept_error) {
		int error = s->exhausted ? -EMFILE : s->accept_error;

		sim_emit(s, op->handle, may < 0 ? may : error, false);
		if (may == 0)
			s->accept_error = 0;
		return true;
	}
	io_accepted(&s->io, op->handle);
	s->objects[o->backlog[0]].open = true;
	ends = sim_fault(s);
	sim_emit(s, op->handle, FD_BASE + o->backlog[0], !ends);
	s->ready[s->n_ready - 1].peer = s->objects[o->backlog[0]].peer;
	memmove(o->backlog, o->backlog + 1, --o->n_backlog * sizeof(o->backlog[0]));
	return ends;
}

static bool run_connect(struct sim *s, const struct op *op, struct object *o)
{
	bool bound = s->bound_error && o->bound.sa.sa_family;
	int result = 0;

	/* The answer goes elsewhere, or no answer comes. */
	if ((bound && s->bound_error == -EINPROGRESS) || (!bound && op->port == s->silent_port))
		return false;
	if (bound) {
		result = s->bound_error;
	} else if (op->port == s->refused_port) {
		result = s->refusal ? s->refusal : -ECONNREFUSED;
	} else if (op->port == s->rejected_port) {
		o->error = -EHOSTUNREACH;
	} else {
		sim_make_connection(o);
		s->last_server = op->object;
	}
	o->connecting = false; /* the outcome is told once */
	sim_emit(s, op->handle, result, false);
	return true;
}

static bool run_poll(struct sim *s, const struct op *op, uint32_t state)
{
	uint32_t e = state & (op->events | POLLERR | POLLHUP);

	if (e)
		sim_emit(s, op->handle, (int)e, false);
	return e != 0;
}

static bool op_run(struct sim *s, struct op *op)
{
	struct object *o = &s->objects[op->object];

	assert(o->open); /* the worker closes nothing that has an operation in flight */
	if (op->cancelled) {
		if (s->hold_cancelled || s->held_object == op->object)
			return false;
		sim_emit(s, op->handle, -ECANCELED, false);
		return true;
	}
	switch (op->type) {
	case OP_ACCEPT:
		return run_accept(s, op, o);
	case OP_CONNECT:
		return run_connect(s, op, o);
	case OP_POLL:
		return run_poll(s, op,
				o->kind == KIND_SOCKET && !o->connected ? connect_state(s, o)
									: poll_state(s, o));
	default:
		return false; /* datagrams arrive by sim_datagram_in */
	}
}

static void run_ops(struct sim *s)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < s->n_ops; i++) {
		/* Some operations take longer than others. */
		bool late = sim_fault(s);

		if (late || !op_run(s, &s->ops[i]))
			s->ops[kept++] = s->ops[i];
	}
	s->n_ops = kept;
}

/* Completions of one operation stay in order, those of different operations need not. */
static void shuffle(struct sim *s)
{
	for (unsigned i = 1; i < s->n_ready; i++) {
		unsigned j = sim_random(s, i + 1);
		bool same = false;
		struct io_event tmp;

		for (unsigned k = j; k <= i; k++)
			same |= k != i && s->ready[k].handle == s->ready[i].handle;
		for (unsigned k = j + 1; k <= i; k++)
			same |= s->ready[k].handle == s->ready[j].handle;
		if (same)
			continue;
		tmp = s->ready[i];
		s->ready[i] = s->ready[j];
		s->ready[j] = tmp;
	}
}

static int sim_wait(struct io *io, struct io_event *events, unsigned max, uint64_t deadline_ns)
{
	struct sim *s = sim_of(io);
	unsigned n;

	run_ops(s);
	if (s->n_ready == 0 && deadline_ns > s->now_ns) {
		/* Nothing happens until then. */
		s->now_ns = deadline_ns < s->until_ns ? deadline_ns : s->until_ns;
		return deadline_ns <= s->until_ns ? 0 : -ETIME;
	}
	shuffle(s);
	n = s->n_ready < max ? s->n_ready : max;
	if (n && sim_fault(s))
		n = 1 + sim_random(s, n);
	memcpy(events, s->ready, n * sizeof(events[0]));
	s->n_ready -= n;
	memmove(s->ready, s->ready + n, s->n_ready * sizeof(events[0]));
	return (int)n;
}

static void sim_buf_put(struct io *io, uint16_t buf_id)
{
	struct sim *s = sim_of(io);

	assert(buf_id < BUFS && s->buf_used[buf_id]);
	s->buf_used[buf_id] = false;
}

static void sim_io_close(struct io *io)
{
	(void)io;
}

static const struct io_ops sim_ops = {
	.close = sim_io_close,
	.accept = sim_op_accept,
	.connect = sim_op_connect,
	.poll = sim_op_poll,
	.recvmsg = sim_op_recvmsg,
	.cancel = sim_op_cancel,
	.wait = sim_wait,
	.buf_put = sim_buf_put,
	.now_ns = sim_now_ns,
	.recv = sim_recv,
	.send = sim_send,
	.sendmsg = sim_sendmsg,
	.splice = sim_splice,
	.pipe_write = sim_pipe_write,
	.pipe_open = sim_pipe_open,
	.connect_now = sim_connect_now,
	.shutdown_write = sim_shutdown_write,
	.close_fd = sim_close_fd,
	.reset_fd = sim_reset_fd,
	.tune_accepted = sim_tune_accepted,
	.is_reset = sim_is_reset,
	.local_of = sim_local_of,
	.error_of = sim_error_of,
	.recv_error = sim_recv_error,
	.socket_open = sim_socket_open,
	.bind_from = sim_bind_from,
	.unsent = sim_unsent,
	.unanswered_ms = sim_unanswered_ms,
	.backlog_ms = sim_backlog_ms,
	.source_for = sim_source_for,
	.bind_as = sim_bind_as,
	.paces = sim_paces,
	.msg_send = sim_msg_send,
	.msg_send_fds = sim_msg_send_fds,
	.adopt = sim_adopt,
	.msg_recv = sim_msg_recv,
	.sock_check = sim_sock_check,
	.random = sim_io_random,
};

struct sim *sim_open(uint64_t seed, unsigned fault_percent)
{
	struct sim *s = calloc(1, sizeof(*s));

	assert(s);
	s->io.ops = &sim_ops;
	s->rng = seed * 0x9e3779b97f4a7c15ull + 1;
	s->now_ns = s->until_ns = 1000000000;
	s->fault_percent = fault_percent;
	s->socket_bytes = seed % 2 ? SOCKET_BYTES_SMALL : SOCKET_BYTES_LARGE;
	s->last_server = s->held_object = -1;
	s->sent = calloc(OUT_MAX, sizeof(*s->sent));
	assert(s->sent);
	return s;
}

void sim_close(struct sim *s)
{
	for (int i = 0; i < s->used; i++) {
		struct object *o = &s->objects[i];

		if (o->kind == KIND_SOCKET) {
			free(o->in);
			free(o->out);
		} else if (o->kind == KIND_PIPE && o->write_end) {
			free(o->in);
		}
	}
	free(s->sent);
	free(s->aside);
	free(s);
}

struct io *sim_io(struct sim *s)
{
	return &s->io;
}

uint64_t sim_now(const struct sim *s)
{
	return s->now_ns;
}

void sim_let_pass(struct sim *s, uint64_t ns)
{
	s->until_ns = s->now_ns + ns;
}

void sim_stall(struct sim *s, uint64_t ns)
{
	s->now_ns += ns;
	s->until_ns = s->now_ns;
}

unsigned sim_open_fds(const struct sim *s)
{
	unsigned n = 0;

	for (int i = 0; i < s->used; i++)
		n += s->objects[i].kind != KIND_FREE && s->objects[i].open;
	return n;
}

void sim_other_worker(struct sim *s)
{
	struct aside *a = s->aside ? s->aside : calloc(1, sizeof(*a));
	unsigned n_ops, n_ready;

	assert(a);
	n_ops = a->n_ops > s->n_ops ? a->n_ops : s->n_ops;
	n_ready = a->n_ready > s->n_ready ? a->n_ready : s->n_ready;
	for (unsigned i = 0; i < n_ops; i++)
		SWAP(a->ops[i], s->ops[i]);
	for (unsigned i = 0; i < n_ready; i++)
		SWAP(a->ready[i], s->ready[i]);
	SWAP(a->n_ops, s->n_ops);
	SWAP(a->n_ready, s->n_ready);
	s->aside = a;
}

int sim_share(struct sim *s, int fd)
{
	sim_object_of(s, fd)->shared++;
	return fd;
}

void sim_stop(struct sim *s)
{
	s->n_ops = s->n_ready = 0;
}

unsigned sim_in_flight(const struct sim *s)
{
	return s->n_ops + s->n_ready;
}

void sim_hold_cancelled(struct sim *s, bool on)
{
	s->hold_cancelled = on;
}

void sim_hold_cancelled_of(struct sim *s, int far)
{
	s->held_object = far;
}

void sim_inject(struct sim *s, uint64_t handle, int res)
{
	sim_emit(s, handle, res, false);
}
