/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/io.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * The epoll back end, for kernels and policies without io_uring.
 *
 * Operations are kept per descriptor, in a table. A descriptor is registered once, for everything
 * and edge-triggered (epoll(7)), so starting an operation takes no system call: what is ready is
 * remembered from the edges, and forgotten when a call in line says EAGAIN or takes or gives less
 * than was asked, which is what makes the next edge. The two ways in which this could go wrong:
 *
 * - Remembered but no longer true. Before a poll is answered from memory, poll(2) is asked.
 * - Forgotten but true. A short read means an empty queue only if neither the end of the stream
 *   nor an urgent mark is behind it. Both show as events, and while one of these is remembered
 *   nothing is forgotten; if they come later, they make an edge.
 *
 * Descriptors that other processes may hold too (listeners, channels) are registered anew each
 * time: their number may have come to mean something else by a plain close(2), and they are rare.
 */

#define OPS_MAX 4 /* of one descriptor: connect; or read, write and watch */

#define WATCHED (EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP)
#define ALWAYS	(EPOLLERR | EPOLLHUP)
#define STICKY	(EPOLLPRI | EPOLLRDHUP | EPOLLERR | EPOLLHUP)

/* Taken from the kernel at a time. */
#define EDGES 256

/* Connections or datagrams from one descriptor before the next has its turn. */
#define TURN 64

/* As io_uring.c has them. */
#define CONTROL_BYTES 128
#define NAME_BYTES    32

#define NO_FD (-1)

enum op_kind { OP_NONE = 0, OP_POLL, OP_CONNECT, OP_ACCEPT, OP_RECVMSG };

struct op {
	uint64_t handle;
	uint32_t events; /* OP_POLL: those that are waited for, with ALWAYS */
	enum op_kind kind;
};

struct slot {
	uint32_t ready; /* events that are there as far as we know */
	uint32_t gen;	/* of the registration; an edge of another one is late */
	bool registered;
	bool private; /* nobody else has this socket, and close_fd tells when it goes */
	bool active;  /* in the list of those with connections or datagrams to fetch */
	int next_active;
	struct op ops[OPS_MAX];
};

struct buffer_head {
	uint8_t name[NAME_BYTES];
	uint8_t control[CONTROL_BYTES];
};

struct poller {
	struct io io; /* first */
	int epoll_fd;
	bool no_pwait2; /* Linux before 5.11 */
	uint32_t gen;
	struct slot *slots; /* by descriptor */
	unsigned n_slots;
	int active_head, active_tail;

	struct io_event *done; /* completions that wait to be fetched; n_slots * OPS_MAX */
	size_t done_head, done_tail;

	uint8_t *bufs; /* each: struct buffer_head, payload */
	size_t buf_bytes, buf_size;
	unsigned n_bufs, n_free;
	uint16_t *free_bufs;

	/* Where wait puts what it finds. */
	struct io_event *out;
	unsigned n_out, max_out;
};

static struct poller *poller_of(struct io *io)
{
	return (struct poller *)io;
}

static struct slot *slot_of(struct poller *p, int fd)
{
	assert(fd >= 0 && (unsigned)fd < p->n_slots);
	return &p->slots[fd];
}

/* Completions */

static void done_compact(struct poller *p)
{
	memmove(p->done, p->done + p->done_head, (p->done_tail - p->done_head) * sizeof(*p->done));
	p->done_tail -= p->done_head;
	p->done_head = 0;
}

static void complete_event(struct poller *p, const struct io_event *ev)
{
	if (p->out && p->n_out < p->max_out && p->done_head == p->done_tail) {
		p->out[p->n_out++] = *ev;
		return;
	}
	if (p->done_tail == (size_t)p->n_slots * OPS_MAX)
		done_compact(p);
	assert(p->done_tail < (size_t)p->n_slots * OPS_MAX);
	p->done[p->done_tail++] = *ev;
}

static void complete(struct poller *p, uint64_t handle, int res)
{
	struct io_event ev = {.handle = handle, .res = res};

	complete_event(p, &ev);
}

static void fetch_done(struct poller *p)
{
	while (p->done_head < p->done_tail && p->n_out < p->max_out)
		p->out[p->n_out++] = p->done[p->done_head++];
	if (p->done_head == p->done_tail)
		p->done_head = p->done_tail = 0;
}

/* Operations of a descriptor */

static void op_add(struct slot *s, enum op_kind kind, uint32_t events, uint64_t handle)
{
	for (unsigned i = 0; i < OPS_MAX; i++) {
		if (s->ops[i].kind != OP_NONE)
			continue;
		s->ops[i] = (struct op){.kind = kind, .events = events, .handle = handle};
		return;
	}
	assert(false && "room for another operation");
}

/* The accept or recvmsg that runs on it. */
static struct op *multishot_of(struct slot *s)
{
	for (unsigned i = 0; i < OPS_MAX; i++)
		if (s->ops[i].kind == OP_ACCEPT || s->ops[i].kind == OP_RECVMSG)
			return &s->ops[i];
	return NULL;
}

static void activate(struct poller *p, int fd)
{
	struct slot *s = slot_of(p, fd);

	if (s->active)
		return;
	s->active = true;
	s->next_active = NO_FD;
	if (p->active_tail == NO_FD)
		p->active_head = fd;
	else
		slot_of(p, p->active_tail)->next_active = fd;
	p->active_tail = fd;
}

static int active_pop(struct poller *p)
{
	int fd = p->active_head;

	if (fd == NO_FD)
		return NO_FD;
	p->active_head = slot_of(p, fd)->next_active;
	if (p->active_head == NO_FD)
		p->active_tail = NO_FD;
	slot_of(p, fd)->active = false;
	return fd;
}

static int epoll_change(struct poller *p, int how, int fd, struct slot *s)
{
	struct epoll_event ev = {.events = WATCHED | EPOLLET,
				 .data.u64 = (uint64_t)s->gen << 32 | (uint32_t)fd};

	return epoll_ctl(p->epoll_fd, how, fd, &ev) < 0 ? -errno : 0;
}

/* Makes edges of the descriptor come. Whatever is ready makes one at once. 0 or -errno. */
static int ensure_registered(struct poller *p, int fd)
{
	struct slot *s = slot_of(p, fd);
	int code = -ENOENT;

	if (s->registered && s->private)
		return 0;
	if (s->registered)
		code = epoll_change(p, EPOLL_CTL_MOD, fd, s);
	if (code == -ENOENT) {
		s->gen = ++p->gen;
		s->ready = 0;
		code = epoll_change(p, EPOLL_CTL_ADD, fd, s);
	}
	s->registered = code == 0;
	return code;
}

/* A descriptor that has just come into being: what the table knows is about another. */
static void slot_renew(struct poller *p, int fd)
{
	struct slot *s = slot_of(p, fd);

	for (unsigned i = 0; i < OPS_MAX; i++)
		assert(s->ops[i].kind == OP_NONE);
	s->registered = false;
	s->ready = 0;
	s->private = true;
}

static void poller_accept(struct io *io, int fd, uint64_t handle)
{
	struct poller *p = poller_of(io);
	int code = ensure_registered(p, fd);

	if (code < 0)
		complete(p, handle, code);
	else
		op_add(slot_of(p, fd), OP_ACCEPT, 0, handle);
}

static void poller_recvmsg(struct io *io, int fd, uint64_t handle)
{
	struct poller *p = poller_of(io);
	int code = ensure_registered(p, fd);

	if (code < 0)
		complete(p, handle, code);
	else
		op_add(slot_of(p, fd), OP_RECVMSG, 0, handle);
}

static void poller_connect(struct io *io, int fd, const struct sockaddr *addr, socklen_t len,
			   uint64_t handle)
{
	struct poller *p = poller_of(io);
	int code = connect(fd, addr, len) < 0 ? -errno : 0;

	slot_renew(p, fd);
	if (code == -EINPROGRESS) {
		code = ensure_registered(p, fd);
		if (code == 0) {
			op_add(slot_of(p, fd), OP_CONNECT, 0, handle);
			return;
		}
	}
	complete(p, handle, code);
}

/* What is ready now, whatever has been remembered. */
static void refresh(struct slot *s, int fd)
{
	struct pollfd pfd = {.fd = fd, .events = (short)WATCHED};

	if (poll(&pfd, 1, 0) >= 0)
		s->ready = (uint32_t)(unsigned short)pfd.revents;
}

static void poller_poll(struct io *io, int fd, uint32_t events, uint64_t handle)
{
	struct poller *p = poller_of(io);
	struct slot *s = slot_of(p, fd);
	uint32_t mask = events | ALWAYS;
	int code = ensure_registered(p, fd);

	if (code < 0) {
		complete(p, handle, code);
		return;
	}
	if (s->ready & mask)
		refresh(s, fd);
	if (s->ready & mask)
		complete(p, handle, (int)(s->ready & mask));
	else
		op_add(s, OP_POLL, mask, handle);
}

static void poller_cancel(struct io *io, int fd, uint64_t handle)
{
	struct poller *p = poller_of(io);
	struct slot *s = slot_of(p, fd);

	for (unsigned i = 0; i < OPS_MAX; i++) {
		if (s->ops[i].kind == OP_NONE || s->ops[i].handle != handle)
			continue;
		s->ops[i].kind = OP_NONE;
		complete(p, handle, -ECANCELED);
		return;
	}
}

/* Datagrams and connections */

static struct buffer_head *buffer_at(struct poller *p, unsigned id)
{
	return (struct buffer_head *)(p->bufs + (size_t)id * p->buf_bytes);
}

static void poller_buf_put(struct io *io, uint16_t buf_id)
{
	struct poller *p = poller_of(io);

	assert(buf_id < p->n_bufs && p->n_free < p->n_bufs);
	p->free_bufs[p->n_free++] = buf_id;
}

/* One datagram. Its length, or -errno; -ENOBUFS when there is nowhere to put it. */
static int receive_one(struct poller *p, int fd, struct io_event *ev)
{
	struct buffer_head *head;
	struct iovec iov;
	struct msghdr msg;
	uint16_t id;
	ssize_t n;

	if (p->n_free == 0)
		return -ENOBUFS;
	id = p->free_bufs[p->n_free - 1];
	head = buffer_at(p, id);
	iov = (struct iovec){.iov_base = head + 1, .iov_len = p->buf_size};
	msg = (struct msghdr){.msg_name = head->name,
			      .msg_namelen = sizeof(head->name),
			      .msg_control = head->control,
			      .msg_controllen = sizeof(head->control),
			      .msg_iov = &iov,
			      .msg_iovlen = 1};
	n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return -errno;
	p->n_free--;
	ev->has_dgram = true;
	ev->dgram = (struct io_datagram){.name = msg.msg_name,
					 .name_len = msg.msg_namelen,
					 .control = head->control,
					 .control_len = msg.msg_controllen,
					 .payload = iov.iov_base,
					 .len = (size_t)n,
					 .truncated = msg.msg_flags & MSG_TRUNC,
					 .buf_id = id};
	return (int)n;
}

static int accept_one(struct poller *p, int fd)
{
	int conn = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (conn < 0)
		return -errno;
	slot_renew(p, conn);
	return conn;
}

/* Fetches what there is. Whether there may be more. */
static bool run_multishot(struct poller *p, int fd)
{
	struct slot *s = slot_of(p, fd);
	struct op *op = multishot_of(s);

	for (unsigned i = 0; op && i < TURN; i++) {
		struct io_event ev = {.handle = op->handle, .more = true};

		if (p->n_out == p->max_out)
			return true;
		ev.res = op->kind == OP_ACCEPT ? accept_one(p, fd) : receive_one(p, fd, &ev);
		if (ev.res == -EAGAIN) {
			s->ready &= ~(uint32_t)EPOLLIN;
			return false;
		}
		if (ev.res < 0) {
			ev.more = false;
			op->kind = OP_NONE;
			op = NULL;
		}
		complete_event(p, &ev);
	}
	return op != NULL;
}

/* Edges */

static int connect_result(int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);

	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0 ? -errno : -err;
}

static void run_op(struct poller *p, int fd, struct slot *s, struct op *op)
{
	uint32_t found = s->ready & op->events;

	switch (op->kind) {
	case OP_POLL:
		if (!found)
			return;
		op->kind = OP_NONE;
		complete(p, op->handle, (int)found);
		return;
	case OP_CONNECT:
		if (!(s->ready & (EPOLLOUT | ALWAYS)))
			return;
		op->kind = OP_NONE;
		complete(p, op->handle, connect_result(fd));
		return;
	case OP_ACCEPT:
	case OP_RECVMSG:
		if (s->ready & (EPOLLIN | ALWAYS))
			activate(p, fd);
		return;
	case OP_NONE:
		return;
	}
}

static void take_edge(struct poller *p, const struct epoll_event *ev)
{
	int fd = (int)(ev->data.u64 & UINT32_MAX);
	struct slot *s = slot_of(p, fd);

	if (!s->registered || s->gen != ev->data.u64 >> 32)
		return;
	s->ready |= ev->events & (WATCHED | ALWAYS);
	for (unsigned i = 0; i < OPS_MAX; i++)
		run_op(p, fd, s, &s->ops[i]);
}

static int wait_ms(struct poller *p, struct epoll_event *evs, uint64_t left_ns)
{
	uint64_t ms = left_ns / 1000000 + (left_ns % 1000000 != 0);

	return epoll_wait(p->epoll_fd, evs, EDGES, ms > INT_MAX ? INT_MAX : (int)ms);
}

/* timeout_ns: UINT64_MAX: for ever. As epoll_wait(2), but -errno. */
static int wait_edges(struct poller *p, struct epoll_event *evs, uint64_t timeout_ns)
{
	struct timespec ts = {.tv_sec = (time_t)(timeout_ns / 1000000000),
			      .tv_nsec = (long)(timeout_ns % 1000000000)};
	int n;

	if (timeout_ns == 0 || timeout_ns == UINT64_MAX) {
		n = epoll_wait(p->epoll_fd, evs, EDGES, timeout_ns ? -1 : 0);
		return n < 0 ? -errno : n;
	}
	if (!p->no_pwait2) {
		n = epoll_pwait2(p->epoll_fd, evs, EDGES, &ts, NULL);
		if (n >= 0 || errno != ENOSYS)
			return n < 0 ? -errno : n;
		p->no_pwait2 = true;
	}
	n = wait_ms(p, evs, timeout_ns);
	return n < 0 ? -errno : n;
}

static uint64_t timeout_until(struct poller *p, uint64_t deadline_ns)
{
	uint64_t now;

	if (deadline_ns == 0 || p->n_out > 0 || p->active_head != NO_FD)
		return 0;
	if (deadline_ns == UINT64_MAX)
		return UINT64_MAX;
	now = io_sys_now_ns(&p->io);
	return deadline_ns > now ? deadline_ns - now : 0;
}

/* Those that have more come again after all others. */
static void run_active(struct poller *p)
{
	int last = p->active_tail, fd;

	do {
		fd = active_pop(p);
		if (fd != NO_FD && run_multishot(p, fd))
			activate(p, fd);
	} while (fd != NO_FD && fd != last && p->n_out < p->max_out);
}

static int poller_wait(struct io *io, struct io_event *events, unsigned max, uint64_t deadline_ns)
{
	struct poller *p = poller_of(io);
	struct epoll_event evs[EDGES];
	int n;

	p->out = events;
	p->n_out = 0;
	p->max_out = max;
	fetch_done(p);
	n = wait_edges(p, evs, timeout_until(p, deadline_ns));
	for (int i = 0; i < n; i++)
		take_edge(p, &evs[i]);
	run_active(p);
	p->out = NULL;
	return n < 0 && n != -EINTR ? n : (int)p->n_out;
}

/* Calls in line: what they tell about readiness */

static void forget(struct poller *p, int fd, uint32_t event)
{
	struct slot *s = slot_of(p, fd);

	if (!(s->ready & STICKY))
		s->ready &= ~event;
}

static ssize_t poller_recv(struct io *io, int fd, void *buf, size_t len, int flags)
{
	ssize_t n = io_sys_recv(io, fd, buf, len, flags);

	if (n == -EAGAIN || (n > 0 && (size_t)n < len && !(flags & MSG_PEEK)))
		forget(poller_of(io), fd, EPOLLIN);
	return n;
}

static ssize_t poller_send(struct io *io, int fd, const void *buf, size_t len, int flags)
{
	ssize_t n = io_sys_send(io, fd, buf, len, flags);

	if (n == -EAGAIN || (n >= 0 && (size_t)n < len))
		forget(poller_of(io), fd, EPOLLOUT);
	return n;
}

/* The worker reads into empty pipes only, so that EAGAIN is the socket's in both directions. */
static ssize_t poller_splice(struct io *io, int fd_in, int fd_out, size_t len)
{
	ssize_t n = io_sys_splice(io, fd_in, fd_out, len);

	if (n == -EAGAIN) {
		forget(poller_of(io), fd_in, EPOLLIN);
		forget(poller_of(io), fd_out, EPOLLOUT);
	}
	return n;
}

static void forget_fd(struct poller *p, int fd)
{
	struct slot *s = slot_of(p, fd);

	for (unsigned i = 0; i < OPS_MAX; i++)
		assert(s->ops[i].kind == OP_NONE);
	/* epoll(7): a registration goes when the last descriptor of the file goes, and another
	 * process may have one. A private socket may still be in the broker for a moment; edges of
	 * that are told by their generation. */
	if (s->registered && !s->private)
		epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	s->registered = s->private = false;
	s->ready = 0;
}

static void poller_close_fd(struct io *io, int fd)
{
	forget_fd(poller_of(io), fd);
	io_sys_close_fd(io, fd);
}

static void poller_reset_fd(struct io *io, int fd)
{
	forget_fd(poller_of(io), fd);
	io_sys_reset_fd(io, fd);
}

/* Opening */

static void unmap(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes);
}

static void poller_close(struct io *io)
{
	struct poller *p = poller_of(io);

	if (p->epoll_fd >= 0)
		close(p->epoll_fd);
	unmap(p->slots, p->n_slots * sizeof(*p->slots));
	unmap(p->done, (size_t)p->n_slots * OPS_MAX * sizeof(*p->done));
	unmap(p->bufs, p->n_bufs * p->buf_bytes);
	free(p->free_bufs);
	free(p);
}

static const struct io_ops poller_ops = {
	.close = poller_close,
	.accept = poller_accept,
	.connect = poller_connect,
	.poll = poller_poll,
	.recvmsg = poller_recvmsg,
	.cancel = poller_cancel,
	.wait = poller_wait,
	.buf_put = poller_buf_put,
	.now_ns = io_sys_now_ns,
	.recv = poller_recv,
	.send = poller_send,
	.sendmsg = io_sys_sendmsg,
	.splice = poller_splice,
	.pipe_write = io_sys_pipe_write,
	.pipe_open = io_sys_pipe_open,
	.connect_now = io_sys_connect_now,
	.shutdown_write = io_sys_shutdown_write,
	.close_fd = poller_close_fd,
	.reset_fd = poller_reset_fd,
	.tune_accepted = io_sys_tune_accepted,
};

/* Zeroed, and costs memory only where it is touched. */
static void *map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static unsigned fds_max(void)
{
	struct rlimit rl = {.rlim_cur = 1024};

	getrlimit(RLIMIT_NOFILE, &rl);
	return rl.rlim_cur < 1u << 20 ? (unsigned)rl.rlim_cur : 1u << 20;
}

static int take_memory(struct poller *p, const struct io_config *config)
{
	p->n_slots = fds_max();
	p->buf_size = config->buf_size;
	p->buf_bytes = (sizeof(struct buffer_head) + config->buf_size + 63) & ~(size_t)63;
	p->n_bufs = p->n_free = config->n_bufs;
	p->slots = map(p->n_slots * sizeof(*p->slots));
	p->done = map((size_t)p->n_slots * OPS_MAX * sizeof(*p->done));
	p->bufs = map(p->n_bufs * p->buf_bytes);
	p->free_bufs = calloc(p->n_bufs, sizeof(*p->free_bufs));
	if (!p->slots || !p->done || !p->bufs || !p->free_bufs)
		return -ENOMEM;
	for (unsigned i = 0; i < p->n_bufs; i++)
		p->free_bufs[i] = (uint16_t)i;
	return 0;
}

int io_epoll_open(const struct io_config *config, struct io **out)
{
	struct poller *p = calloc(1, sizeof(*p));
	int code;

	assert(config->n_bufs <= UINT16_MAX + 1);
	if (!p)
		return -ENOMEM;
	p->io.ops = &poller_ops;
	p->active_head = p->active_tail = NO_FD;
	p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	code = p->epoll_fd < 0 ? -errno : take_memory(p, config);
	if (code < 0) {
		poller_close(&p->io);
		return code;
	}
	*out = &p->io;
	return 0;
}
