/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/io/io.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/array.h"
#include "base/limits.h"
#include "base/log.h"
#include "dataplane/io/handle.h"

/*
 * The io_uring back end: connect, readiness, datagrams and waiting go through a ring; payload is
 * moved in line (io/sys.c).
 *
 * Connections are accepted by accept4(2) when a poll says that there are some. IORING_OP_ACCEPT
 * would save that call, but it waits exclusively: the kernel wakes one of those who wait for a
 * listening socket. The ring of a data plane that was killed goes on waiting until the kernel has
 * cleared it away, seconds later on a busy machine. Until then the kernel may tell that ring of a
 * connection, and nobody else.
 *
 * The ring belongs to the worker's thread (SINGLE_ISSUER) and runs its task work only when that
 * thread waits (DEFER_TASKRUN, Linux 6.1), so completions come in batches and no inter-processor
 * interrupt disturbs a worker at work. A flag in the ring shows that there is task work
 * (TASKRUN_FLAG), so a worker that looks for completions needs no system call for it. A kernel
 * without these flags gets the epoll back end.
 */

/* The ring's one group of receive buffers. */
#define BUF_GROUP 0

/* Connections accepted from one listener before the next has its turn. */
#define ACCEPT_TURN 64

/* How often a full submission queue is offered to the kernel again: first spinning, for some
 * microseconds, then yielding to others, for about a second. */
#define SUBMIT_SPINS 16
#define SUBMIT_TRIES 100000

/* The completion queue has this many times the submission queue's entries: multishot operations
 * complete many times while the worker is busy. */
#define CQ_FACTOR 4

/* An accept operation: a poll that is armed again until it is cancelled. */
struct accept_op {
	int fd;
	bool cancelled;
};

struct uring {
	struct io io;		   /* must be the first member */
	struct accept_op *accepts; /* indexed by the handle's index; LIMIT_PORTS entries */
	struct io_uring ring;
	struct io_uring_buf_ring *buf_ring;
	size_t buf_ring_bytes;
	uint8_t *bufs;
	size_t buf_bytes; /* size of one: io_uring_recvmsg_out, name, control, payload */
	unsigned n_bufs;
	struct msghdr msg; /* the sizes that every receive uses */
};

static struct uring *uring_of(struct io *io)
{
	return (struct uring *)io;
}

static struct io_uring_sqe *get_sqe(struct uring *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	/* When the queue is full, the kernel takes all of it. -EBUSY and -EAGAIN are temporary. A
	 * ring where they stay is broken: the data plane aborts, and the next one has a new ring.
	 */
	for (unsigned tries = 0; !sqe; tries++) {
		int code = io_uring_submit_and_get_events(&u->ring);

		sqe = io_uring_get_sqe(&u->ring);
		if (!sqe && tries == SUBMIT_TRIES) {
			log_error("io_uring takes no more operations: %s",
				  code < 0 ? strerror(-code) : "the queue stays full");
			abort();
		}
		if (!sqe && tries > SUBMIT_SPINS)
			sched_yield();
	}
	return sqe;
}

static void uring_connect(struct io *io, int fd, const struct sockaddr *addr, socklen_t len,
			  uint64_t handle)
{
	struct io_uring_sqe *sqe = get_sqe(uring_of(io));

	io_uring_prep_connect(sqe, fd, addr, len);
	io_uring_sqe_set_data64(sqe, handle);
}

static void uring_poll(struct io *io, int fd, uint32_t events, uint64_t handle)
{
	struct io_uring_sqe *sqe = get_sqe(uring_of(io));

	io_uring_prep_poll_add(sqe, fd, events);
	io_uring_sqe_set_data64(sqe, handle);
}

static struct accept_op *accept_of(struct uring *u, uint64_t handle)
{
	assert(handle_index(handle) < LIMIT_PORTS);
	return &u->accepts[handle_index(handle)];
}

static void uring_accept(struct io *io, int fd, uint64_t handle)
{
	*accept_of(uring_of(io), handle) = (struct accept_op){.fd = fd};
	uring_poll(io, fd, POLLIN, handle);
}

static void uring_recvmsg(struct io *io, int fd, uint64_t handle)
{
	struct uring *u = uring_of(io);
	struct io_uring_sqe *sqe = get_sqe(u);

	io_uring_prep_recvmsg_multishot(sqe, fd, &u->msg, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = BUF_GROUP;
	io_uring_sqe_set_data64(sqe, handle);
}

static void uring_cancel(struct io *io, int fd, uint64_t handle)
{
	struct io_uring_sqe *sqe = get_sqe(uring_of(io));

	(void)fd;
	if (handle_op(handle) == HANDLE_ACCEPT)
		accept_of(uring_of(io), handle)->cancelled = true;
	io_uring_prep_cancel64(sqe, handle, 0);
	io_uring_sqe_set_data64(sqe, handle_pack(HANDLE_NONE, 0, 0, 0));
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

static uint8_t *buf_at(struct uring *u, unsigned id)
{
	return u->bufs + (size_t)id * u->buf_bytes;
}

static void uring_buf_put(struct io *io, uint16_t buf_id)
{
	struct uring *u = uring_of(io);

	assert(buf_id < u->n_bufs);
	io_uring_buf_ring_add(u->buf_ring, buf_at(u, buf_id), (unsigned)u->buf_bytes, buf_id,
			      io_uring_buf_ring_mask(u->n_bufs), 0);
	io_uring_buf_ring_advance(u->buf_ring, 1);
}

static void fill_dgram(struct uring *u, const struct io_uring_cqe *cqe, struct io_event *ev)
{
	uint16_t id = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
	struct io_uring_recvmsg_out *out;

	assert(id < u->n_bufs);
	out = io_uring_recvmsg_validate(buf_at(u, id), cqe->res, &u->msg);
	if (!out) {
		uring_buf_put(&u->io, id);
		ev->res = -EMSGSIZE;
		return;
	}
	ev->has_dgram = true;
	ev->dgram = (struct io_datagram){
		.name = io_uring_recvmsg_name(out),
		.name_len = out->namelen,
		.control = (uint8_t *)io_uring_recvmsg_name(out) + u->msg.msg_namelen,
		.control_len = out->controllen,
		.payload = io_uring_recvmsg_payload(out, &u->msg),
		.len = io_uring_recvmsg_payload_length(out, cqe->res, &u->msg),
		.truncated = out->flags & MSG_TRUNC,
		.buf_id = id,
	};
	ev->res = (int32_t)ev->dgram.len;
}

static void fill_event(struct uring *u, const struct io_uring_cqe *cqe, struct io_event *ev)
{
	ev->handle = cqe->user_data;
	ev->res = cqe->res;
	ev->more = cqe->flags & IORING_CQE_F_MORE;
	ev->has_dgram = false;
	if (cqe->flags & IORING_CQE_F_BUFFER)
		fill_dgram(u, cqe, ev);
}

/* The poll of an accept operation has completed: accepts connections. Fills in up to max events
 * (max > 0) and returns how many. */
static unsigned take_connections(struct uring *u, const struct io_uring_cqe *cqe,
				 struct io_event *events, unsigned max)
{
	struct accept_op *op = accept_of(u, cqe->user_data);
	int fd = cqe->res < 0 ? cqe->res : op->cancelled ? -ECANCELED : 0;
	unsigned n = 0;

	while (fd >= 0 && n < max && n < ACCEPT_TURN) {
		struct io_event ev = {.handle = cqe->user_data, .more = true};

		fd = ev.res = io_sys_accept(&u->io, op->fd, ev.handle, &ev.peer);
		if (fd >= 0)
			events[n++] = ev;
	}
	/* When events is full, an error waits: the next accept meets it again. */
	if (fd >= 0 || fd == -EAGAIN || n == max)
		uring_poll(&u->io, op->fd, POLLIN, cqe->user_data);
	else
		events[n++] = (struct io_event){.handle = cqe->user_data, .res = fd};
	return n;
}

/* How often the rings are looked at between two looks at the clock. */
#define LOOKS 16

static bool has_news(struct uring *u)
{
	for (unsigned i = 0; i < LOOKS; i++)
		if (io_uring_cq_ready(&u->ring) > 0 ||
		    __atomic_load_n(u->ring.sq.kflags, __ATOMIC_RELAXED) & IORING_SQ_TASKRUN)
			return true;
	return false;
}

/* Looks for completions as long as io.look_ns says. Returns whether there are some. */
static bool look(struct uring *u, uint64_t deadline_ns)
{
	struct io_look l = {0};

	/* An error shows again when the worker sleeps. */
	(void)io_uring_submit_and_get_events(&u->ring);
	do
		if (has_news(u))
			return true;
	while (io_look_on(&u->io, &l, deadline_ns));
	return false;
}

static int enter(struct uring *u, uint64_t deadline_ns)
{
	struct __kernel_timespec ts, *tsp = NULL;
	struct io_uring_cqe *cqe;

	if (deadline_ns == 0 || io_uring_cq_ready(&u->ring) > 0 ||
	    (u->io.look_ns && look(u, deadline_ns)))
		return io_uring_submit_and_get_events(&u->ring);
	if (deadline_ns != UINT64_MAX) {
		uint64_t now = io_sys_now_ns(&u->io);
		uint64_t left = deadline_ns > now ? deadline_ns - now : 0;

		ts.tv_sec = (long long)(left / 1000000000);
		ts.tv_nsec = (long long)(left % 1000000000);
		tsp = &ts;
	}
	return io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, tsp, NULL);
}

static int uring_wait(struct io *io, struct io_event *events, unsigned max, uint64_t deadline_ns)
{
	struct uring *u = uring_of(io);
	struct io_uring_cqe *cqe;
	unsigned head, seen = 0, n = 0;
	int code = enter(u, deadline_ns);

	if (code < 0 && code != -ETIME && code != -EINTR && code != -EAGAIN && code != -EBUSY)
		return code;
	io_uring_for_each_cqe(&u->ring, head, cqe)
	{
		if (n == max)
			break;
		seen++;
		if (handle_op(cqe->user_data) == HANDLE_ACCEPT)
			n += take_connections(u, cqe, &events[n], max - n);
		else
			fill_event(u, cqe, &events[n++]);
	}
	io_uring_cq_advance(&u->ring, seen);
	return (int)n;
}

static void uring_close(struct io *io)
{
	struct uring *u = uring_of(io);

	if (u->ring.ring_fd >= 0)
		io_uring_queue_exit(&u->ring);
	io_sys_unmap(u->accepts, LIMIT_PORTS * sizeof(*u->accepts));
	io_sys_unmap(u->buf_ring, u->buf_ring_bytes);
	io_sys_unmap(u->bufs, u->n_bufs * u->buf_bytes);
	free(u);
}

static const struct io_ops uring_ops = {
	.close = uring_close,
	.accept = uring_accept,
	.connect = uring_connect,
	.poll = uring_poll,
	.recvmsg = uring_recvmsg,
	.cancel = uring_cancel,
	.wait = uring_wait,
	.buf_put = uring_buf_put,
	.recv = io_sys_recv,
	.send = io_sys_send,
	.splice = io_sys_splice,
	.socket_open = io_sys_socket_open,
	.adopt = io_sys_adopt,
	.close_fd = io_sys_close_fd,
	.reset_fd = io_sys_reset_fd,
	IO_SYS_OPS,
};

/* The buffers are mapped, not touched: pages cost memory once datagrams come. */
static int open_bufs(struct uring *u, const struct io_config *config)
{
	struct io_uring_buf_reg reg = {.ring_entries = config->n_bufs, .bgid = BUF_GROUP};

	u->msg = (struct msghdr){.msg_namelen = IO_NAME_BYTES, .msg_controllen = IO_CONTROL_BYTES};
	u->n_bufs = config->n_bufs;
	u->buf_bytes = sizeof(struct io_uring_recvmsg_out) + u->msg.msg_namelen + IO_CONTROL_BYTES +
		       config->buf_size;
	u->buf_bytes = (u->buf_bytes + 63) & ~(size_t)63;
	u->buf_ring_bytes = config->n_bufs * sizeof(struct io_uring_buf);
	u->buf_ring = io_sys_map(u->buf_ring_bytes);
	u->bufs = io_sys_map(u->n_bufs * u->buf_bytes);
	u->accepts = io_sys_map(LIMIT_PORTS * sizeof(*u->accepts));
	if (!u->buf_ring || !u->bufs || !u->accepts)
		return -ENOMEM;
	reg.ring_addr = (unsigned long)u->buf_ring;
	io_uring_buf_ring_init(u->buf_ring);
	for (unsigned i = 0; i < u->n_bufs; i++)
		io_uring_buf_ring_add(u->buf_ring, buf_at(u, i), (unsigned)u->buf_bytes,
				      (unsigned short)i, io_uring_buf_ring_mask(u->n_bufs), (int)i);
	io_uring_buf_ring_advance(u->buf_ring, (int)u->n_bufs);
	return io_uring_register_buf_ring(&u->ring, &reg, 0);
}

/* Debian 12's liburing declares io_uring_register_restrictions and io_uring_enable_rings in its
 * header but does not export them (liburing 2.3, liburing.map). */
static int ring_register(struct uring *u, unsigned op, const void *arg, unsigned n)
{
	return syscall(SYS_io_uring_register, u->ring.ring_fd, op, arg, n) < 0 ? -errno : 0;
}

/* Allows only the operations used here. They do not pass through seccomp, so the ring needs a list
 * of its own (io_uring_register(2), IORING_REGISTER_RESTRICTIONS). Linux 7 restricts register
 * operations only if the list names one. The one named here is that which makes the list. It fails
 * with -EBADFD once the ring is enabled, so that no register operation is left on any kernel. */
static int lock_ring(struct uring *u)
{
	static const struct io_uring_restriction allowed[] = {
		{.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_CONNECT},
		{.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_POLL_ADD},
		{.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_RECVMSG},
		{.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_ASYNC_CANCEL},
		{.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
		 .sqe_flags = IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS},
		{.opcode = IORING_RESTRICTION_REGISTER_OP,
		 .register_op = IORING_REGISTER_RESTRICTIONS},
	};

	return ring_register(u, IORING_REGISTER_RESTRICTIONS, allowed, ARRAY_SIZE(allowed));
}

static int open_ring(struct uring *u, const struct io_config *config)
{
	struct io_uring_params p = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE |
			 IORING_SETUP_CLAMP,
		.cq_entries = config->entries * CQ_FACTOR,
	};
	int code = io_uring_queue_init_params(config->entries, &u->ring, &p);

	if (code < 0) {
		u->ring.ring_fd = -1;
		return code;
	}
	code = open_bufs(u, config);
	if (!code && config->locked)
		code = lock_ring(u);
	if (!code)
		code = ring_register(u, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
	return code;
}

int io_uring_open(const struct io_config *config, struct io **out)
{
	struct uring *u = calloc(1, sizeof(*u));
	int code;

	if (!u)
		return -ENOMEM;
	u->io.ops = &uring_ops;
	u->ring.ring_fd = -1;
	code = open_ring(u, config);
	if (code < 0) {
		uring_close(&u->io);
		return code;
	}
	*out = &u->io;
	return 0;
}
