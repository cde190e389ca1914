/* SPDX-License-Identifier: Apache-2.0 */
#include "io_sim.h"
#include "dataplane/io/handle.h"

#include <assert.h>
#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"

#define FD_BASE 1000
#define OBJECTS 4096
/* What a socket takes: small, so that everything blocks often, or enough to be spliced. */
#define SOCKET_BYTES_SMALL 4096
#define SOCKET_BYTES_LARGE 32768
#define PIPE_BYTES	   65536
#define OPS_MAX		   8192
#define BUFS		   16
#define BUF_BYTES	   8192
#define OUT_MAX		   4096

#define MSG_BYTES   256
#define MSG_FDS	    253
#define CHANNEL_MAX 256

enum kind { KIND_FREE, KIND_LISTENER, KIND_SOCKET, KIND_DATAGRAM, KIND_PIPE, KIND_CHANNEL };

struct message {
	uint8_t data[MSG_BYTES];
	size_t len, n_fds;
	int fds[MSG_FDS];
	uint8_t *large; /* in place of data */
	bool fds_lost;	/* the receiver was out of descriptors */
};

/* The worker's end of a channel. */
struct channel {
	struct message in[CHANNEL_MAX], out[CHANNEL_MAX];
	unsigned n_in, n_out;
	unsigned room; /* messages in out beyond which it is full */
	bool ended;
};

struct queue {
	uint8_t data[PIPE_BYTES];
	size_t len;
};

struct object {
	enum kind kind;
	bool open;	   /* the worker's descriptor */
	bool write_end;	   /* of a pipe */
	int pipe_peer;	   /* object of the other end */
	struct queue *in;  /* to the worker; of a pipe: its content, on both ends */
	struct queue *out; /* from the worker */
	bool in_end, in_reset, out_end, out_reset;
	bool connected;
	bool flood;	 /* its input never ends, its output is swallowed */
	int64_t urgent;	 /* bytes before the mark, -1: none */
	int backlog[64]; /* listener: objects of connections to accept */
	unsigned n_backlog;
	struct sockaddr_in peer;  /* of a datagram socket; of an accepted connection */
	struct sockaddr_in local; /* of an accepted connection: what it was made to */
	struct sockaddr_in bound;
	bool outside;		/* made by the worker */
	bool connecting;	/* connect(2) has begun */
	int error;		/* what SO_ERROR has */
	struct io_error queued; /* what MSG_ERRQUEUE has; err 0: nothing */
	uint32_t mark;
	uint64_t since_ns;  /* a client's connection: it is there */
	uint64_t silent_ns; /* since when the far end owes an answer; 0: it does not */
	struct io_sock is;  /* what a socket of the broker's is */
	bool used;
	unsigned shared; /* so many descriptors of it beside the first: another worker's, or on
			    their way */
	struct channel *channel;
};

struct op {
	uint64_t handle;
	enum { OP_NONE, OP_ACCEPT, OP_CONNECT, OP_POLL, OP_RECVMSG } type;
	int object;
	uint32_t events;
	uint16_t port;
	bool cancelled;
};

/* What a worker that does not run just now has in flight. */
struct aside {
	struct op ops[OPS_MAX];
	unsigned n_ops;
	struct io_event ready[OPS_MAX];
	unsigned n_ready;
};

struct sim {
	struct io io; /* first */
	struct aside *aside;
	uint64_t rng, now_ns;
	uint64_t until_ns; /* the test's present: the clock goes no further */
	unsigned fault_percent;
	size_t socket_bytes;
	bool exhausted, hold_cancelled;
	int accept_error, send_error, segments_refused;
	uint16_t refused_port, silent_port, rejected_port;
	int refusal;
	uint64_t splice_ns; /* what each takes */
	uint32_t (*source_for)(uint32_t to);
	int bind_error, bound_error;
	int no_segments;
	unsigned local_ports, ports_refused;
	uint16_t unreachable_port;
	int last_server;
	struct object objects[OBJECTS];
	struct op ops[OPS_MAX];
	unsigned n_ops;
	struct io_event ready[OPS_MAX];
	unsigned n_ready;
	uint8_t bufs[BUFS][BUF_BYTES] __attribute__((aligned(16)));
	bool buf_used[BUFS];
	struct sim_datagram *sent;
	unsigned n_sent, sent_taken;
};

static struct sim *sim_of(struct io *io)
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

static bool fault(struct sim *s)
{
	return sim_random(s, 100) < s->fault_percent;
}

static size_t shorten(struct sim *s, size_t n)
{
	return n > 1 && fault(s) ? 1 + sim_random(s, (uint32_t)n) : n;
}

static struct object *object_of(struct sim *s, int fd)
{
	struct object *o;

	assert(fd >= FD_BASE && fd < FD_BASE + OBJECTS);
	o = &s->objects[fd - FD_BASE];
	assert(o->open);
	return o;
}

static int object_new(struct sim *s, enum kind kind)
{
	for (int i = 0; i < OBJECTS; i++)
		if (s->objects[i].kind == KIND_FREE) {
			s->objects[i] = (struct object){.kind = kind, .open = true, .urgent = -1};
			return i;
		}
	abort();
}

static struct queue *queue_new(void)
{
	struct queue *q = calloc(1, sizeof(*q));

	assert(q);
	return q;
}

static void queue_put(struct queue *q, const void *data, size_t n)
{
	assert(q->len + n <= sizeof(q->data));
	memcpy(q->data + q->len, data, n);
	q->len += n;
}

static void queue_drop(struct queue *q, size_t n)
{
	assert(n <= q->len);
	memmove(q->data, q->data + n, q->len - n);
	q->len -= n;
}

/* Operations */

static void op_add(struct io *io, struct op op)
{
	struct sim *s = sim_of(io);

	assert(s->n_ops < OPS_MAX);
	s->ops[s->n_ops++] = op;
}

static int index_of_fd(struct sim *s, int fd)
{
	return (int)(object_of(s, fd) - s->objects);
}

static void sim_op_accept(struct io *io, int fd, uint64_t handle)
{
	op_add(io, (struct op){.handle = handle,
			       .type = OP_ACCEPT,
			       .object = index_of_fd(sim_of(io), fd)});
}

static void sim_op_connect(struct io *io, int fd, const struct sockaddr *addr, socklen_t len,
			   uint64_t handle)
{
	struct sockaddr_in in;

	assert(len == sizeof(in));
	memcpy(&in, addr, sizeof(in));
	/* It goes on when the operation is taken back, and a poll tells. */
	object_of(sim_of(io), fd)->connecting = true;
	object_of(sim_of(io), fd)->peer = in;
	op_add(io, (struct op){.handle = handle,
			       .type = OP_CONNECT,
			       .object = index_of_fd(sim_of(io), fd),
			       .port = ntohs(in.sin_port)});
}

static void sim_op_poll(struct io *io, int fd, uint32_t events, uint64_t handle)
{
	op_add(io, (struct op){.handle = handle,
			       .type = OP_POLL,
			       .events = events,
			       .object = index_of_fd(sim_of(io), fd)});
}

static void sim_op_recvmsg(struct io *io, int fd, uint64_t handle)
{
	op_add(io, (struct op){.handle = handle,
			       .type = OP_RECVMSG,
			       .object = index_of_fd(sim_of(io), fd)});
}

static void sim_op_cancel(struct io *io, int fd, uint64_t handle)
{
	struct sim *s = sim_of(io);

	object_of(s, fd);
	for (unsigned i = 0; i < s->n_ops; i++)
		if (s->ops[i].handle == handle)
			s->ops[i].cancelled = true;
}

static void emit(struct sim *s, uint64_t handle, int res, bool more)
{
	assert(s->n_ready < OPS_MAX);
	s->ready[s->n_ready++] = (struct io_event){.handle = handle, .res = res, .more = more};
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

static void make_connection(struct object *o)
{
	o->in = queue_new();
	o->out = queue_new();
	o->connected = true;
}

/* What becomes of a connect that is under way. */
static uint32_t connect_state(struct sim *s, struct object *o)
{
	uint16_t port = ntohs(o->peer.sin_port);

	if (!o->connecting || port == s->silent_port)
		return 0;
	if (port == s->refused_port) {
		o->error = -ECONNREFUSED;
		return POLLOUT | POLLERR | POLLHUP;
	}
	o->connecting = false;
	make_connection(o);
	s->last_server = (int)(o - s->objects);
	return POLLOUT;
}

/* These tell whether the operation has completed for good. */

static bool run_accept(struct sim *s, const struct op *op, struct object *o)
{
	uint32_t *left = &s->io.accepts_left[handle_side(op->handle)];
	bool ends;

	if (o->n_backlog == 0)
		return false;
	if (*left == 0 || s->exhausted || s->accept_error) {
		bool other = *left && !s->exhausted;

		emit(s, op->handle, other ? s->accept_error : -EMFILE, false);
		if (*left)
			s->accept_error = 0;
		return true;
	}
	--*left;
	s->objects[o->backlog[0]].open = true;
	ends = fault(s);
	emit(s, op->handle, FD_BASE + o->backlog[0], !ends);
	s->ready[s->n_ready - 1].peer.in4 = s->objects[o->backlog[0]].peer;
	memmove(o->backlog, o->backlog + 1, --o->n_backlog * sizeof(o->backlog[0]));
	return ends;
}

static bool run_connect(struct sim *s, const struct op *op, struct object *o)
{
	bool bound = s->bound_error && o->bound.sin_family;
	int result = 0;

	/* The answer goes elsewhere, or there is none. */
	if ((bound && s->bound_error == -EINPROGRESS) || (!bound && op->port == s->silent_port))
		return false;
	if (bound) {
		result = s->bound_error;
	} else if (op->port == s->refused_port) {
		result = s->refusal ? s->refusal : -ECONNREFUSED;
	} else if (op->port == s->rejected_port) {
		o->error = -EHOSTUNREACH;
	} else {
		make_connection(o);
		s->last_server = op->object;
	}
	o->connecting = false; /* its outcome is told once */
	emit(s, op->handle, result, false);
	return true;
}

static bool run_poll(struct sim *s, const struct op *op, uint32_t state)
{
	uint32_t e = state & (op->events | POLLERR | POLLHUP);

	if (e)
		emit(s, op->handle, (int)e, false);
	return e != 0;
}

static bool op_run(struct sim *s, struct op *op)
{
	struct object *o = &s->objects[op->object];

	assert(o->open); /* the worker closes nothing that has an operation in flight */
	if (op->cancelled) {
		if (s->hold_cancelled)
			return false;
		emit(s, op->handle, -ECANCELED, false);
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
		/* Some take longer than others. */
		bool late = fault(s);

		if (late || !op_run(s, &s->ops[i]))
			s->ops[kept++] = s->ops[i];
	}
	s->n_ops = kept;
}

/* Completions of one operation stay in order, those of different ones need not. */
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
	if (n && fault(s))
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

/* Calls in line */

static uint64_t sim_now_ns(struct io *io)
{
	return sim_of(io)->now_ns;
}

/* What a read may take: up to the urgent mark, or past it when it begins there. */
static size_t readable(const struct object *o)
{
	return o->urgent > 0 ? (size_t)o->urgent : o->in->len;
}

static ssize_t nothing_to_read(const struct object *o)
{
	if (o->in_reset)
		return -ECONNRESET;
	return o->in_end ? 0 : -EAGAIN;
}

static void take_in(struct object *o, size_t n)
{
	queue_drop(o->in, n);
	if (o->urgent >= 0) {
		o->urgent -= (int64_t)n;
		if (o->urgent < 0)
			o->urgent = -1;
	}
}

static struct message message_of(const void *data, size_t len, const int *fds, size_t n_fds);
static struct message message_take(struct message *queue, unsigned *n);

/* Netlink sockets are channels whose messages are read and written by recv and send. */
static ssize_t netlink_recv(struct object *o, void *buf, size_t len)
{
	struct message m;

	if (o->channel->n_in == 0)
		return -EAGAIN;
	m = message_take(o->channel->in, &o->channel->n_in);
	assert(m.len <= len);
	memcpy(buf, m.data, m.len);
	return (ssize_t)m.len;
}

/* Each message of the kind that begins with its length arrives by itself. */
static ssize_t netlink_send(struct object *o, const void *buf, size_t len)
{
	struct channel *c = o->channel;

	for (size_t at = 0; at < len;) {
		uint32_t one;

		memcpy(&one, (const uint8_t *)buf + at, sizeof(one));
		one = (one + 3) & ~3u;
		assert(one >= 16 && at + one <= len && c->n_out < CHANNEL_MAX);
		c->out[c->n_out++] = message_of((const uint8_t *)buf + at, one, NULL, 0);
		at += one;
	}
	return (ssize_t)len;
}

static ssize_t sim_recv(struct io *io, int fd, void *buf, size_t len, int flags)
{
	struct sim *s = sim_of(io);
	struct object *o = object_of(s, fd);
	size_t n;

	if (o->kind == KIND_CHANNEL)
		return netlink_recv(o, buf, len);
	n = readable(o);
	assert(o->kind == KIND_SOCKET);
	if (o->flood) {
		memset(buf, 0, flags & MSG_TRUNC ? 0 : len);
		return (ssize_t)len;
	}
	if (o->in->len == 0)
		return nothing_to_read(o);
	if (n > len)
		n = len;
	if (!(flags & MSG_TRUNC)) {
		n = shorten(s, n);
		memcpy(buf, o->in->data, n);
	}
	if (!(flags & MSG_PEEK))
		take_in(o, n);
	return (ssize_t)n;
}

static ssize_t room(struct sim *s, const struct object *o, size_t len)
{
	size_t n = s->socket_bytes - o->out->len;

	if (o->in_reset || o->out_end)
		return -EPIPE;
	if (o->flood)
		return (ssize_t)len;
	if (n == 0)
		return -EAGAIN;
	return (ssize_t)shorten(s, n < len ? n : len);
}

static ssize_t sim_send(struct io *io, int fd, const void *buf, size_t len, int flags)
{
	struct sim *s = sim_of(io);
	struct object *o = object_of(s, fd);
	ssize_t n;

	(void)flags;
	if (o->kind == KIND_CHANNEL)
		return netlink_send(o, buf, len);
	n = room(s, o, len);
	if (n > 0 && !o->flood)
		queue_put(o->out, buf, (size_t)n);
	return n;
}

static ssize_t sim_pipe_write(struct io *io, int fd, const void *buf, size_t len)
{
	struct object *o = object_of(sim_of(io), fd);

	assert(o->kind == KIND_PIPE && o->write_end && o->in->len + len <= PIPE_BYTES);
	queue_put(o->in, buf, len);
	return (ssize_t)len;
}

static ssize_t splice_in(struct sim *s, struct object *from, struct object *pipe, size_t len)
{
	size_t n = readable(from);

	if (from->in->len == 0)
		return nothing_to_read(from);
	if (from->urgent == 0)
		return -EAGAIN; /* for ever, as the kernel does */
	if (n > len)
		n = len;
	n = shorten(s, n);
	assert(pipe->in->len + n <= PIPE_BYTES);
	queue_put(pipe->in, from->in->data, n);
	take_in(from, n);
	return (ssize_t)n;
}

static ssize_t sim_splice(struct io *io, int fd_in, int fd_out, size_t len)
{
	struct sim *s = sim_of(io);
	struct object *in = object_of(s, fd_in), *out = object_of(s, fd_out);
	ssize_t n;

	s->now_ns += s->splice_ns;
	if (out->kind == KIND_PIPE)
		return splice_in(s, in, out, len);
	assert(in->kind == KIND_PIPE && !in->write_end && len <= in->in->len);
	n = room(s, out, len);
	if (n > 0) {
		if (!out->flood)
			queue_put(out->out, in->in->data, (size_t)n);
		queue_drop(in->in, (size_t)n);
	}
	return n;
}

static ssize_t sim_pipe_open(struct io *io, int fds[2], size_t size)
{
	struct sim *s = sim_of(io);
	int r, w;

	(void)size;
	if (s->exhausted || fault(s))
		return -EMFILE;
	r = object_new(s, KIND_PIPE);
	w = object_new(s, KIND_PIPE);
	s->objects[r].in = s->objects[w].in = queue_new();
	s->objects[r].pipe_peer = w;
	s->objects[w].pipe_peer = r;
	s->objects[w].write_end = true;
	fds[0] = FD_BASE + r;
	fds[1] = FD_BASE + w;
	return PIPE_BYTES;
}

static unsigned connected_datagram_sockets(const struct sim *s)
{
	unsigned n = 0;

	for (int i = 0; i < OBJECTS; i++)
		n += s->objects[i].kind == KIND_DATAGRAM && s->objects[i].peer.sin_port;
	return n;
}

static int sim_connect_now(struct io *io, int fd, const struct sockaddr *addr, socklen_t len)
{
	struct sim *s = sim_of(io);
	struct object *o = object_of(s, fd);
	int err = o->error;

	assert(len == sizeof(o->peer));
	if (o->kind == KIND_DATAGRAM && s->local_ports &&
	    connected_datagram_sockets(s) >= s->local_ports) {
		s->ports_refused++;
		return -EAGAIN;
	}
	if (o->connected)
		return -EISCONN;
	if (o->connecting || err) {
		o->error = 0;
		return err ? err : -EALREADY;
	}
	if (o->kind == KIND_DATAGRAM && s->unreachable_port &&
	    ((const struct sockaddr_in *)addr)->sin_port == htons(s->unreachable_port))
		return -EADDRNOTAVAIL;
	memcpy(&o->peer, addr, sizeof(o->peer));
	o->connecting = o->kind == KIND_SOCKET;
	return o->connecting ? -EINPROGRESS : 0;
}

static int sim_error_of(struct io *io, int fd)
{
	struct object *o = object_of(sim_of(io), fd);
	int err = o->error;

	o->error = 0;
	return err;
}

static int sim_recv_error(struct io *io, int fd, struct io_error *out)
{
	struct object *o = object_of(sim_of(io), fd);

	if (o->queued.err == 0)
		return -EAGAIN;
	*out = o->queued;
	o->queued.err = 0;
	return 0;
}

static int sim_local_of(struct io *io, int fd, struct sockaddr *addr, socklen_t *len)
{
	struct object *o = object_of(sim_of(io), fd);

	assert(*len >= sizeof(o->local));
	memcpy(addr, &o->local, sizeof(o->local));
	*len = sizeof(o->local);
	return 0;
}

static int sim_socket_open(struct io *io, int family, int type, int proto)
{
	struct sim *s = sim_of(io);
	int i;

	assert(family == AF_INET && proto);
	if (s->exhausted)
		return -EMFILE;
	i = object_new(s, type == SOCK_STREAM ? KIND_SOCKET : KIND_DATAGRAM);
	s->objects[i].outside = true;
	return FD_BASE + i;
}

static int sim_bind_from(struct io *io, int fd, const struct sockaddr *addr, socklen_t len)
{
	struct object *o = object_of(sim_of(io), fd);

	assert(o->outside && !o->connecting && len == sizeof(o->bound));
	memcpy(&o->bound, addr, sizeof(o->bound));
	return 0;
}

static int sim_shutdown_write(struct io *io, int fd)
{
	object_of(sim_of(io), fd)->out_end = true;
	return 0;
}

static void sim_close_fd(struct io *io, int fd);

static void messages_free(struct sim *s, struct message *queue, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		free(queue[i].large);
		for (size_t k = 0; k < queue[i].n_fds; k++)
			sim_close_fd(&s->io, queue[i].fds[k]);
	}
}

static void channel_free(struct sim *s, struct object *o)
{
	messages_free(s, o->channel->in, o->channel->n_in);
	messages_free(s, o->channel->out, o->channel->n_out);
	free(o->channel);
	o->channel = NULL;
}

/* Sockets stay until the far end has seen what happened to them; pipes go at once. */
static void sim_close_fd(struct io *io, int fd)
{
	struct sim *s = sim_of(io);
	struct object *o = object_of(s, fd);

	for (unsigned i = 0; i < s->n_ops; i++)
		assert(s->ops[i].object != o - s->objects);
	if (o->shared) {
		o->shared--;
		return;
	}
	o->open = false;
	if (o->kind == KIND_PIPE) {
		if (!s->objects[o->pipe_peer].open) {
			free(o->in);
			s->objects[o->pipe_peer].kind = KIND_FREE;
			o->kind = KIND_FREE;
		}
	} else if (o->kind == KIND_SOCKET && o->connected) {
		/* Unread input turns a close into a reset, as in tcp_close(). */
		o->out_reset |= o->in->len > 0;
		o->out_end = true;
	} else {
		if (o->kind == KIND_CHANNEL)
			channel_free(s, o);
		o->kind = KIND_FREE;
	}
}

static void sim_reset_fd(struct io *io, int fd)
{
	struct object *o = object_of(sim_of(io), fd);

	if (o->connected && !o->shared) {
		o->out_reset = true;
		o->out->len = 0; /* what the far end has not read counts as not sent yet */
	}
	sim_close_fd(io, fd);
}

static void sim_tune_accepted(struct io *io, int fd)
{
	object_of(sim_of(io), fd);
}

static size_t sim_unsent(struct io *io, int fd)
{
	return object_of(sim_of(io), fd)->out->len;
}

static uint32_t sim_unanswered_ms(struct io *io, int fd)
{
	struct sim *s = sim_of(io);
	const struct object *o = object_of(s, fd);

	return o->silent_ns ? (uint32_t)((s->now_ns - o->silent_ns) / 1000000) + 1 : 0;
}

static int64_t sim_backlog_ms(struct io *io, int fd)
{
	struct sim *s = sim_of(io);

	return (int64_t)((s->now_ns - object_of(s, fd)->since_ns) / 1000000);
}

static bool sim_is_reset(struct io *io, int fd)
{
	return object_of(sim_of(io), fd)->in_reset;
}

static int sim_source_for(struct io *io, int fd, const struct sockaddr *to, socklen_t to_len,
			  struct sockaddr *source, socklen_t *len)
{
	struct sim *s = sim_of(io);
	struct sockaddr_in in;

	assert(object_of(s, fd)->kind == KIND_DATAGRAM && to_len == sizeof(in) && s->source_for);
	memcpy(&in, to, sizeof(in));
	in.sin_addr.s_addr = htonl(s->source_for(ntohl(in.sin_addr.s_addr)));
	if (in.sin_addr.s_addr == 0)
		return -ENETUNREACH;
	memcpy(source, &in, sizeof(in));
	*len = sizeof(in);
	return 0;
}

static int sim_bind_as(struct io *io, int fd, const struct sockaddr *addr, socklen_t len,
		       uint32_t mark)
{
	struct sim *s = sim_of(io);
	struct object *o = object_of(s, fd);

	assert((o->kind == KIND_SOCKET || o->kind == KIND_DATAGRAM) && !o->connected &&
	       len == sizeof(o->bound));
	memcpy(&o->bound, addr, sizeof(o->bound));
	o->mark = mark;
	if (s->bind_error && (o->bound.sin_port || s->bind_error != -EADDRINUSE))
		return s->bind_error;
	return 0;
}

/* Channels */

static bool sim_paces(struct io *io, int fd)
{
	object_of(sim_of(io), fd);
	return false;
}

static uint64_t sim_io_random(struct io *io)
{
	return sim_random(sim_of(io), UINT32_MAX);
}

static struct channel *channel_of(struct sim *s, int fd)
{
	struct object *o = object_of(s, fd);

	assert(o->kind == KIND_CHANNEL);
	return o->channel;
}

static struct message message_of(const void *data, size_t len, const int *fds, size_t n_fds)
{
	struct message m = {.len = len, .n_fds = n_fds};

	assert(n_fds <= MSG_FDS);
	m.large = len > MSG_BYTES ? malloc(len) : NULL;
	assert(m.large || len <= MSG_BYTES);
	memcpy(m.large ? m.large : m.data, data, len);
	if (n_fds)
		memcpy(m.fds, fds, n_fds * sizeof(fds[0]));
	return m;
}

static struct message message_take(struct message *queue, unsigned *n)
{
	struct message m = queue[0];

	memmove(queue, queue + 1, --*n * sizeof(queue[0]));
	return m;
}

/* What it says, up to size bytes. It is gone then. */
static void message_read(struct message *m, void *buf, size_t size)
{
	memcpy(buf, m->large ? m->large : m->data, m->len < size ? m->len : size);
	free(m->large);
	m->large = NULL;
}

static int sim_msg_send(struct io *io, int fd, const void *buf, size_t len)
{
	struct channel *c = channel_of(sim_of(io), fd);

	if (c->ended)
		return -EPIPE;
	if (c->n_out >= c->room)
		return -EAGAIN;
	c->out[c->n_out++] = message_of(buf, len, NULL, 0);
	return 0;
}

static int sim_msg_send_fds(struct io *io, int fd, const void *buf, size_t len, const int *fds,
			    size_t n_fds)
{
	struct channel *c = channel_of(sim_of(io), fd);

	if (c->ended)
		return -EPIPE;
	if (c->n_out >= c->room)
		return -EAGAIN;
	if (fault(sim_of(io)))
		return -ETOOMANYREFS;
	for (size_t i = 0; i < n_fds; i++)
		object_of(sim_of(io), fds[i])->shared++;
	c->out[c->n_out++] = message_of(buf, len, fds, n_fds);
	return 0;
}

static void sim_adopt(struct io *io, int fd)
{
	object_of(sim_of(io), fd);
}

static ssize_t sim_msg_recv(struct io *io, int fd, void *buf, size_t size, int *fds, size_t *n_fds)
{
	struct sim *s = sim_of(io);
	struct channel *c = channel_of(s, fd);
	struct message m;

	if (c->n_in == 0) {
		*n_fds = 0;
		return c->ended ? 0 : -EAGAIN;
	}
	m = message_take(c->in, &c->n_in);
	if (m.len > size || m.n_fds > *n_fds || m.fds_lost) {
		for (size_t i = 0; i < m.n_fds; i++)
			io->ops->close_fd(io, m.fds[i]);
		message_read(&m, buf, size);
		*n_fds = 0;
		return m.len > size ? -EMSGSIZE : -EMFILE;
	}
	message_read(&m, buf, size);
	memcpy(fds, m.fds, m.n_fds * sizeof(fds[0]));
	*n_fds = m.n_fds;
	return (ssize_t)m.len;
}

static bool sim_sock_check(struct io *io, int fd, const struct io_sock *want)
{
	const struct object *o = object_of(sim_of(io), fd);

	return o->is.family == want->family && o->is.type == want->type &&
	       o->is.protocol == want->protocol &&
	       (want->netns_cookie == 0 || o->is.netns_cookie == want->netns_cookie) && !o->used;
}

static void sent_one(struct sim *s, int fd, const struct msghdr *msg, const uint8_t *data,
		     size_t len)
{
	struct object *o = object_of(s, fd);
	struct sim_datagram *d = &s->sent[s->n_sent++];

	assert(s->n_sent <= OUT_MAX && len <= sizeof(d->data));
	*d = (struct sim_datagram){.fd = fd, .len = len, .from = o->bound, .to = o->peer};
	memcpy(d->data, data, len);
	if (msg->msg_name)
		memcpy(&d->to, msg->msg_name, sizeof(d->to));
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c;
	     c = CMSG_NXTHDR((struct msghdr *)(unsigned long)msg, c))
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			d->from.sin_addr = info.ipi_spec_dst;
		}
}

static size_t segment_of(const struct msghdr *msg)
{
	uint16_t segment = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c;
	     c = CMSG_NXTHDR((struct msghdr *)(unsigned long)msg, c))
		if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_SEGMENT)
			memcpy(&segment, CMSG_DATA(c), sizeof(segment));
	return segment;
}

static ssize_t sim_sendmsg(struct io *io, int fd, const struct msghdr *msg, int flags)
{
	static uint8_t flat[65536];
	struct sim *s = sim_of(io);
	size_t len = 0, segment = segment_of(msg), at = 0;

	(void)flags;
	if (segment && s->no_segments) {
		s->segments_refused++;
		return s->no_segments;
	}
	if (s->send_error) {
		int err = s->send_error;

		s->send_error = 0;
		return err;
	}
	for (size_t i = 0; i < msg->msg_iovlen; i++) {
		assert(len + msg->msg_iov[i].iov_len <= sizeof(flat));
		memcpy(flat + len, msg->msg_iov[i].iov_base, msg->msg_iov[i].iov_len);
		len += msg->msg_iov[i].iov_len;
	}
	assert(!segment || (len + segment - 1) / segment <= 64);
	do {
		size_t one = segment && len - at > segment ? segment : len - at;

		sent_one(s, fd, msg, flat + at, one);
		at += one;
	} while (at < len);
	return (ssize_t)len;
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

/* The test's side */

struct sim *sim_open(uint64_t seed, unsigned fault_percent)
{
	struct sim *s = calloc(1, sizeof(*s));

	assert(s);
	s->io.ops = &sim_ops;
	s->rng = seed * 0x9e3779b97f4a7c15ull + 1;
	s->now_ns = s->until_ns = 1000000000;
	s->fault_percent = fault_percent;
	s->socket_bytes = seed % 2 ? SOCKET_BYTES_SMALL : SOCKET_BYTES_LARGE;
	s->last_server = -1;
	s->sent = calloc(OUT_MAX, sizeof(*s->sent));
	assert(s->sent);
	return s;
}

void sim_close(struct sim *s)
{
	for (int i = 0; i < OBJECTS; i++) {
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

	for (int i = 0; i < OBJECTS; i++)
		n += s->objects[i].kind != KIND_FREE && s->objects[i].open;
	return n;
}

void sim_set_exhausted(struct sim *s, bool on)
{
	s->exhausted = on;
}

void sim_refuse_port(struct sim *s, uint16_t port)
{
	s->refused_port = port;
	s->refusal = -ECONNREFUSED;
}

void sim_refuse_port_with(struct sim *s, uint16_t port, int err)
{
	s->refused_port = port;
	s->refusal = err;
}

void sim_large_sockets(struct sim *s)
{
	s->socket_bytes = SOCKET_BYTES_LARGE;
}

void sim_splice_takes(struct sim *s, uint64_t ns)
{
	s->splice_ns = ns;
}

void sim_client_from(struct sim *s, int far, uint32_t address, uint16_t port)
{
	s->objects[far].peer = (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(address)};
}

void sim_routes(struct sim *s, uint32_t (*source_for)(uint32_t to))
{
	s->source_for = source_for;
}

void sim_fail_bind(struct sim *s, int err)
{
	s->bind_error = err;
}

void sim_fail_bound(struct sim *s, int err)
{
	s->bound_error = err;
}

struct sockaddr_in sim_bound(const struct sim *s, int far, uint32_t *mark)
{
	*mark = s->objects[far].mark;
	return s->objects[far].bound;
}

void sim_other_worker(struct sim *s)
{
	struct aside *was = s->aside ? s->aside : calloc(1, sizeof(*was)), *now;

	now = calloc(1, sizeof(*now));
	assert(was && now);
	memcpy(now->ops, s->ops, sizeof(s->ops));
	memcpy(now->ready, s->ready, sizeof(s->ready));
	now->n_ops = s->n_ops;
	now->n_ready = s->n_ready;
	memcpy(s->ops, was->ops, sizeof(s->ops));
	memcpy(s->ready, was->ready, sizeof(s->ready));
	s->n_ops = was->n_ops;
	s->n_ready = was->n_ready;
	free(was);
	s->aside = now;
}

int sim_share(struct sim *s, int fd)
{
	object_of(s, fd)->shared++;
	return fd;
}

bool sim_channel_pass(struct sim *s, int from, int to)
{
	struct channel *a = channel_of(s, from), *b = channel_of(s, to);

	if (a->n_out == 0 || b->n_in == CHANNEL_MAX)
		return false;
	b->in[b->n_in++] = message_take(a->out, &a->n_out);
	return true;
}

void sim_stop(struct sim *s)
{
	s->n_ops = s->n_ready = 0;
}

unsigned sim_in_flight(const struct sim *s)
{
	return s->n_ops + s->n_ready;
}

int sim_listener(struct sim *s)
{
	return FD_BASE + object_new(s, KIND_LISTENER);
}

int sim_socket(struct sim *s, bool datagram)
{
	struct io_sock is = {.family = AF_INET,
			     .type = datagram ? SOCK_DGRAM : SOCK_STREAM,
			     .protocol = datagram ? IPPROTO_UDP : IPPROTO_TCP,
			     .netns_cookie = SIM_NETNS};

	return sim_socket_like(s, &is, false);
}

int sim_socket_like(struct sim *s, const struct io_sock *is, bool used)
{
	int i = object_new(s, is->type == SOCK_DGRAM ? KIND_DATAGRAM : KIND_SOCKET);

	s->objects[i].is = *is;
	s->objects[i].used = used;
	return FD_BASE + i;
}

int sim_channel(struct sim *s)
{
	int i = object_new(s, KIND_CHANNEL);

	s->objects[i].channel = calloc(1, sizeof(struct channel));
	assert(s->objects[i].channel);
	s->objects[i].channel->room = CHANNEL_MAX;
	return FD_BASE + i;
}

bool sim_channel_open(struct sim *s, int fd)
{
	const struct object *o = &s->objects[fd - FD_BASE];

	return o->kind == KIND_CHANNEL && o->open;
}

void sim_channel_put(struct sim *s, int fd, const void *data, size_t len, const int *fds,
		     size_t n_fds)
{
	struct channel *c = channel_of(s, fd);

	assert(c->n_in < CHANNEL_MAX);
	c->in[c->n_in++] = message_of(data, len, fds, n_fds);
}

void sim_channel_lose_fds(struct sim *s, int fd)
{
	struct channel *c = channel_of(s, fd);

	c->in[c->n_in - 1].fds_lost = true;
}

bool sim_channel_get(struct sim *s, int fd, void *data, size_t len)
{
	struct channel *c = channel_of(s, fd);
	struct message m;

	if (c->n_out == 0)
		return false;
	m = message_take(c->out, &c->n_out);
	assert(m.len == len);
	message_read(&m, data, len);
	return true;
}

size_t sim_channel_get_any(struct sim *s, int fd, void *data, size_t size)
{
	struct channel *c = channel_of(s, fd);
	struct message m;

	if (c->n_out == 0)
		return 0;
	m = message_take(c->out, &c->n_out);
	assert(m.len <= size);
	message_read(&m, data, size);
	return m.len;
}

void sim_channel_room(struct sim *s, int fd, unsigned messages)
{
	assert(messages <= CHANNEL_MAX);
	channel_of(s, fd)->room = messages;
}

void sim_channel_end(struct sim *s, int fd)
{
	channel_of(s, fd)->ended = true;
}

int sim_client_connect(struct sim *s, int listener)
{
	struct object *l = object_of(s, listener);
	int i;

	if (l->n_backlog == ARRAY_SIZE(l->backlog))
		return -1;
	i = object_new(s, KIND_SOCKET);
	s->objects[i].open = false; /* until it is accepted */
	make_connection(&s->objects[i]);
	s->objects[i].since_ns = s->now_ns;
	sim_client_from(s, i, INADDR_LOOPBACK, 1);
	l->backlog[l->n_backlog++] = i;
	return i;
}

size_t sim_far_write(struct sim *s, int far, const void *data, size_t len)
{
	struct object *o = &s->objects[far];
	size_t n = s->socket_bytes - o->in->len;

	if (o->in_end || o->in_reset || o->out_reset)
		return 0;
	if (n > len)
		n = len;
	queue_put(o->in, data, n);
	return n;
}

size_t sim_far_read(struct sim *s, int far, void *data, size_t len)
{
	struct object *o = &s->objects[far];
	size_t n = o->out->len < len ? o->out->len : len;

	memcpy(data, o->out->data, n);
	queue_drop(o->out, n);
	return n;
}

void sim_far_shutdown(struct sim *s, int far)
{
	s->objects[far].in_end = true;
}

void sim_far_reset(struct sim *s, int far)
{
	s->objects[far].in_reset = true;
}

void sim_far_urgent(struct sim *s, int far)
{
	struct object *o = &s->objects[far];

	if (!o->in_end)
		o->urgent = (int64_t)o->in->len;
}

bool sim_far_saw_end(struct sim *s, int far)
{
	return s->objects[far].out_end && s->objects[far].out->len == 0;
}

bool sim_far_saw_reset(struct sim *s, int far)
{
	return s->objects[far].out_reset;
}

int sim_server_accept(struct sim *s)
{
	int far = s->last_server;

	s->last_server = -1;
	return far;
}

int sim_far_of(int fd)
{
	return fd - FD_BASE;
}

static struct op *receiver_of(struct sim *s, int object)
{
	for (unsigned i = 0; i < s->n_ops; i++)
		if (s->ops[i].object == object && s->ops[i].type == OP_RECVMSG &&
		    !s->ops[i].cancelled)
			return &s->ops[i];
	return NULL;
}

struct layout {
	struct sockaddr_in name;
	uint8_t control[CMSG_SPACE(sizeof(struct sockaddr_in)) + CMSG_SPACE(sizeof(int))]
		__attribute__((aligned(8)));
	uint8_t payload[4096];
};

/* Of the address that the datagram was sent to; with a port: the original destination. */
static size_t write_control(struct layout *at, const struct sockaddr_in *local, int segment)
{
	struct msghdr msg = {.msg_control = at->control, .msg_controllen = sizeof(at->control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	struct in_pktinfo info = {.ipi_spec_dst = local->sin_addr, .ipi_addr = local->sin_addr};
	size_t len = local->sin_port ? sizeof(*local) : sizeof(info);

	memset(at->control, 0, sizeof(at->control));
	c->cmsg_level = IPPROTO_IP;
	c->cmsg_type = local->sin_port ? IP_ORIGDSTADDR : IP_PKTINFO;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), local->sin_port ? (const void *)local : (const void *)&info, len);
	if (!segment)
		return CMSG_SPACE(len);
	c = CMSG_NXTHDR(&msg, c);
	c->cmsg_level = SOL_UDP;
	c->cmsg_type = UDP_GRO;
	c->cmsg_len = CMSG_LEN(sizeof(segment));
	memcpy(CMSG_DATA(c), &segment, sizeof(segment));
	return CMSG_SPACE(len) + CMSG_SPACE(sizeof(segment));
}

bool sim_datagram_in(struct sim *s, int fd, const struct sockaddr_in *client,
		     const struct in_addr *local, const void *data, size_t len, uint16_t segment)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = *local};

	return sim_datagram_to(s, fd, client, &to, data, len, segment);
}

bool sim_datagram_to(struct sim *s, int fd, const struct sockaddr_in *client,
		     const struct sockaddr_in *local, const void *data, size_t len,
		     uint16_t segment)
{
	int object = index_of_fd(s, fd);
	struct op *op = receiver_of(s, object);
	struct layout *at;
	uint16_t id = 0;

	static_assert(sizeof(struct layout) <= BUF_BYTES, "a buffer takes it");
	if (!op)
		return false;
	while (id < BUFS && s->buf_used[id])
		id++;
	if (id == BUFS) {
		emit(s, op->handle, -ENOBUFS, false);
		*op = s->ops[--s->n_ops];
		return false;
	}
	s->buf_used[id] = true;
	at = (struct layout *)s->bufs[id];
	at->name = *client;
	assert(len <= sizeof(at->payload));
	memcpy(at->payload, data, len);
	emit(s, op->handle, (int)len, true);
	s->ready[s->n_ready - 1].has_dgram = true;
	s->ready[s->n_ready - 1].dgram = (struct io_datagram){
		.name = (struct sockaddr *)&at->name,
		.name_len = sizeof(at->name),
		.control = at->control,
		.control_len = write_control(at, local, segment),
		.payload = at->payload,
		.len = len,
		.buf_id = id,
	};
	return true;
}

bool sim_datagram_out(struct sim *s, struct sim_datagram *out)
{
	if (s->sent_taken == s->n_sent) {
		s->sent_taken = s->n_sent = 0;
		return false;
	}
	*out = s->sent[s->sent_taken++];
	return true;
}

void sim_no_segments(struct sim *s, int err)
{
	s->no_segments = err;
}

int sim_segments_refused(const struct sim *s)
{
	return s->segments_refused;
}

void sim_local_ports(struct sim *s, unsigned n)
{
	s->local_ports = n;
}

void sim_unreachable_port(struct sim *s, uint16_t port)
{
	s->unreachable_port = port;
}

unsigned sim_ports_refused(const struct sim *s)
{
	return s->ports_refused;
}

void sim_fail_send(struct sim *s, int err)
{
	s->send_error = err;
}

void sim_fail_accept(struct sim *s, int err)
{
	s->accept_error = err;
}

void sim_hold_cancelled(struct sim *s, bool on)
{
	s->hold_cancelled = on;
}

void sim_inject(struct sim *s, uint64_t handle, int res)
{
	emit(s, handle, res, false);
}

void sim_far_silent(struct sim *s, int far, uint64_t since_ns)
{
	s->objects[far].silent_ns = since_ns;
}

void sim_far_flood(struct sim *s, int far)
{
	s->objects[far].flood = true;
}

bool sim_datagram_error(struct sim *s, int fd, int err)
{
	struct op *op = receiver_of(s, index_of_fd(s, fd));

	if (!op)
		return false;
	emit(s, op->handle, err, false);
	*op = s->ops[--s->n_ops];
	return true;
}

void sim_reject_port(struct sim *s, uint16_t port)
{
	s->rejected_port = port;
}

void sim_silent_port(struct sim *s, uint16_t port)
{
	s->silent_port = port;
}

void sim_client_to(struct sim *s, int far, const struct sockaddr_in *dest)
{
	s->objects[far].local = *dest;
}

int sim_outside(const struct sim *s, uint16_t port)
{
	for (int i = 0; i < OBJECTS; i++)
		if (s->objects[i].kind != KIND_FREE && s->objects[i].outside &&
		    s->objects[i].peer.sin_port == htons(port))
			return i;
	return -1;
}

void sim_queue_error(struct sim *s, int fd, const struct sockaddr_in *dest, int err)
{
	struct object *o = object_of(s, fd);

	o->queued = (struct io_error){.err = err};
	o->queued.dest.in4 = *dest;
}
