/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/linux_calls.h"
#include "dataplane/io/epoll_internal.h"

/*
 * The epoll back end, for kernels and policies without io_uring.
 *
 * Operations are kept per descriptor, in a table. A descriptor is registered once, for everything
 * and edge-triggered (epoll(7)), so starting an operation takes no system call. The table remembers
 * from the edges what is ready. It forgets that when a call in line says EAGAIN, or takes or gives
 * less than was asked: the kernel then makes another edge. Two things could go wrong:
 *
 * - The table says ready, and that is no longer true. So poll(2) is asked before a poll is answered
 *   from the table.
 * - The table says not ready, and that is not true. A short read means an empty queue only if
 *   neither
 *   the end of the stream nor an urgent mark is behind it. Both show as events. While the table
 *   remembers one of these, it forgets nothing; if they come later, they make an edge.
 *
 * An edge that tells nothing new mutes a descriptor that nobody waits for. Otherwise, while one
 * side of a flow takes no more, each segment from the other side would wake the worker. The next
 * operation on the descriptor ends the muting.
 *
 * Descriptors that other processes may hold too (listeners, channels) are registered anew for each
 * operation: a plain close(2) may have given their number to another file, and they are few.
 */

#define WATCHED (EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP)
#define ALWAYS	(EPOLLERR | EPOLLHUP)
#define STICKY	(EPOLLPRI | EPOLLRDHUP | EPOLLERR | EPOLLHUP)

/* Edges taken from the kernel at a time. */
#define EDGES 256

#define NO_FD (-1)

/* Completions */

static void done_compact(struct poller *p)
{
	memmove(p->done, p->done + p->done_head, (p->done_tail - p->done_head) * sizeof(*p->done));
	p->done_tail -= p->done_head;
	p->done_head = 0;
}

void poller_complete(struct poller *p, const struct io_event *ev)
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

	poller_complete(p, &ev);
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
	struct epoll_event ev = {.events = (s->muted ? 0 : WATCHED) | EPOLLET,
				 .data.u64 = (uint64_t)s->gen << 32 | (uint32_t)fd};

	return epoll_ctl(p->epoll_fd, how, fd, &ev) < 0 ? -errno : 0;
}

/* Registers the descriptor so that its edges come. Whatever is ready now makes an edge at once. 0
 * or -errno. */
static int ensure_registered(struct poller *p, int fd)
{
	struct slot *s = slot_of(p, fd);
	int code = -ENOENT;

	if (s->registered && s->private && !s->muted)
		return 0;
	if (s->muted)
		s->ready = 0; /* registering makes an edge of what is ready now */
	s->muted = false;
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

void poller_renew(struct poller *p, int fd)
{
	struct slot *s = slot_of(p, fd);

	for (unsigned i = 0; i < OPS_MAX; i++)
		assert(s->ops[i].kind == OP_NONE);
	s->registered = s->muted = false;
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

	poller_renew(p, fd);
	if (code == -EINPROGRESS) {
		code = ensure_registered(p, fd);
		if (code == 0) {
			op_add(slot_of(p, fd), OP_CONNECT, 0, handle);
			return;
		}
	}
	complete(p, handle, code);
}

/* Asks the kernel what is ready now, as the remembered state may be old. */
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

/* Edges */

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
		complete(p, op->handle, io_sys_error_of(&p->io, fd));
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

static void mute(struct poller *p, int fd, struct slot *s)
{
	for (unsigned i = 0; i < OPS_MAX; i++)
		if (s->ops[i].kind != OP_NONE && s->ops[i].events != ALWAYS)
			return;
	s->muted = true;
	if (epoll_change(p, EPOLL_CTL_MOD, fd, s) < 0)
		s->muted = false;
}

static void take_edge(struct poller *p, const struct epoll_event *ev)
{
	int fd = (int)(ev->data.u64 & UINT32_MAX);
	struct slot *s = slot_of(p, fd);
	uint32_t before = s->ready;

	if (!s->registered || s->gen != ev->data.u64 >> 32)
		return;
	s->ready |= ev->events & (WATCHED | ALWAYS);
	for (unsigned i = 0; i < OPS_MAX; i++)
		run_op(p, fd, s, &s->ops[i]);
	if (s->ready == before && s->private && !s->muted)
		mute(p, fd, s);
}

static int wait_ms(struct poller *p, struct epoll_event *evs, uint64_t left_ns)
{
	uint64_t ms = left_ns / 1000000 + (left_ns % 1000000 != 0);

	return epoll_wait(p->epoll_fd, evs, EDGES, ms > INT_MAX ? INT_MAX : (int)ms);
}

/* Waits as epoll_wait(2), but returns -errno. timeout_ns UINT64_MAX: for ever. */
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
		n = linux_epoll_pwait2(p->epoll_fd, evs, EDGES, &ts, NULL);
		if (n >= 0 || errno != ENOSYS)
			return n < 0 ? -errno : n;
		p->no_pwait2 = true;
	}
	n = wait_ms(p, evs, timeout_ns);
	return n < 0 ? -errno : n;
}

/* Looks for edges as long as io.look_ns says. Returns how many there are. */
static int look(struct poller *p, struct epoll_event *evs, uint64_t deadline_ns)
{
	struct io_look l = {0};
	int n;

	do
		n = wait_edges(p, evs, 0);
	while (n == 0 && io_look_on(&p->io, &l, deadline_ns));
	return n;
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

/* Runs multishot operations. A descriptor that has more queues behind all others. */
static void run_active(struct poller *p)
{
	int last = p->active_tail, fd;

	do {
		fd = active_pop(p);
		if (fd != NO_FD && multishot_run(p, fd))
			activate(p, fd);
	} while (fd != NO_FD && fd != last && p->n_out < p->max_out);
}

static int poller_wait(struct io *io, struct io_event *events, unsigned max, uint64_t deadline_ns)
{
	struct poller *p = poller_of(io);
	/* The kernel fills these 3 KiB: -ftrivial-auto-var-init must not clear them in each turn.
	 */
	__attribute__((uninitialized)) struct epoll_event evs[EDGES];
	uint64_t timeout_ns;
	int n = 0;

	p->out = events;
	p->n_out = 0;
	p->max_out = max;
	fetch_done(p);
	timeout_ns = timeout_until(p, deadline_ns);
	if (timeout_ns && io->look_ns)
		n = look(p, evs, deadline_ns);
	if (n == 0)
		n = wait_edges(p, evs, timeout_ns);
	for (int i = 0; i < n; i++)
		take_edge(p, &evs[i]);
	run_active(p);
	p->out = NULL;
	return n < 0 && n != -EINTR ? n : (int)p->n_out;
}

/* Calls in line, and what they tell about readiness */

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

/* The worker splices into empty pipes only. So EAGAIN always means the socket, in both directions.
 */
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
	/* epoll(7): a registration ends when the last descriptor of the file is closed, and another
	 * process may hold one of a socket that is not private: unregister it. A private socket may
	 * still be in the broker for a moment; the generation tells its late edges. */
	if (s->registered && !s->private)
		epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	s->registered = s->private = s->muted = false;
	s->ready = 0;
}

static void poller_adopt(struct io *io, int fd)
{
	poller_renew(poller_of(io), fd);
}

static int poller_socket_open(struct io *io, int family, int type, int proto)
{
	int fd = io_sys_socket_open(io, family, type, proto);

	if (fd >= 0)
		poller_renew(poller_of(io), fd);
	return fd;
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

static void poller_close(struct io *io)
{
	struct poller *p = poller_of(io);

	if (p->epoll_fd >= 0)
		close(p->epoll_fd);
	io_sys_unmap(p->slots, p->n_slots * sizeof(*p->slots));
	io_sys_unmap(p->done, (size_t)p->n_slots * OPS_MAX * sizeof(*p->done));
	bufs_free(p);
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
	.recv = poller_recv,
	.send = poller_send,
	.splice = poller_splice,
	.socket_open = poller_socket_open,
	.adopt = poller_adopt,
	.close_fd = poller_close_fd,
	.reset_fd = poller_reset_fd,
	IO_SYS_OPS,
};

static int take_memory(struct poller *p, const struct io_config *config)
{
	p->n_slots = fd_limit();
	p->slots = io_sys_map(p->n_slots * sizeof(*p->slots));
	p->done = io_sys_map((size_t)p->n_slots * OPS_MAX * sizeof(*p->done));
	return p->slots && p->done ? bufs_open(p, config) : -ENOMEM;
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
