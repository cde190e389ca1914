/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_IO_IO_H
#define RINGKIT_DATAPLANE_IO_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/sockaddr.h"

/*
 * What a worker asks of the kernel: completions for accept, connect, readiness and datagrams, and
 * the calls that move bytes in line. Three implementations: io_uring (io/uring.c), epoll
 * (io/epoll.c), and the simulation of the tests (tests/unit/io_sim.c).
 *
 * One struct io per worker, used by that worker's thread only. Every operation carries a 64-bit
 * handle that its completions repeat (handle.h). An operation that has been started completes at
 * least once; the worker closes a descriptor only after everything in flight on it has completed.
 */

struct io;

/* A received datagram, or with UDP_GRO a run of them, in the receive buffer buf_id. */
struct io_datagram {
	const struct sockaddr *name; /* the sender */
	socklen_t name_len;
	void *control; /* for CMSG_* by way of a msghdr */
	size_t control_len;
	uint8_t *payload;
	size_t len;
	bool truncated;
	uint16_t buf_id; /* stays the worker's until io_ops.buf_put */
};

struct io_event {
	uint64_t handle;
	int32_t res; /* as that of the io_uring operation: >= 0, or -errno */
	bool more;   /* a multishot operation goes on; false: it has ended */
	bool has_dgram;
	union {
		struct io_datagram dgram; /* recvmsg only */
		union sock_addr peer;	  /* accept only: who has connected */
	};
};

/* An entry of a datagram socket's error queue (ip(7), IP_RECVERR). */
struct io_error {
	union sock_addr dest; /* of the datagram */
	int err;	      /* an errno */
	uint32_t info;	      /* EMSGSIZE: what fits */
};

/* The kind of socket that was ordered. Such a socket must also be new: neither bound, connected
 * nor listening. */
struct io_sock {
	int family, type, protocol;
	uint64_t netns_cookie; /* SO_NETNS_COOKIE of its network namespace; 0: not looked at */
};

struct io_ops {
	void (*close)(struct io *io);

	/*
	 * Operations. Multishot ones complete many times, the last time with more = false.
	 * There is always room for another: a full queue is submitted first.
	 */

	/* Multishot. res: the new descriptor, close-on-exec and non-blocking, with its peer; or
	 * -errno and the end. A client that has reset its connection since has an address here, and
	 * nowhere else. */
	void (*accept)(struct io *io, int fd, uint64_t handle);
	/* addr must stay where it is until the next wait. res: 0 or -errno; 0 is true only if
	 * error_of has nothing to add. */
	void (*connect)(struct io *io, int fd, const struct sockaddr *addr, socklen_t len,
			uint64_t handle);
	/* One-shot. res: the poll(2) events that are there. events 0: errors and hang-up alone. */
	void (*poll)(struct io *io, int fd, uint32_t events, uint64_t handle);
	/* Multishot. Datagrams into the receive buffers; ends with -ENOBUFS when none is left, with
	 * the socket's error when one is pending. */
	void (*recvmsg)(struct io *io, int fd, uint64_t handle);
	/* The operation of this handle on fd ends with -ECANCELED, unless it had completed already.
	 */
	void (*cancel)(struct io *io, int fd, uint64_t handle);

	/* Submits what has been asked for and waits until something completes or the clock reaches
	 * deadline_ns (of now_ns; 0: do not wait, UINT64_MAX: no deadline). Fills in up to max
	 * events. Returns how many, or -errno. */
	int (*wait)(struct io *io, struct io_event *events, unsigned max, uint64_t deadline_ns);
	/* Gives a receive buffer back. */
	void (*buf_put)(struct io *io, uint16_t buf_id);

	/*
	 * System calls in line, none of which blocks. Result as the call's, but -errno.
	 */
	uint64_t (*now_ns)(struct io *io); /* CLOCK_MONOTONIC */
	ssize_t (*recv)(struct io *io, int fd, void *buf, size_t len, int flags);
	ssize_t (*send)(struct io *io, int fd, const void *buf, size_t len, int flags);
	ssize_t (*sendmsg)(struct io *io, int fd, const struct msghdr *msg, int flags);
	/* Between a socket and a pipe, SPLICE_F_NONBLOCK. */
	ssize_t (*splice)(struct io *io, int fd_in, int fd_out, size_t len);
	ssize_t (*pipe_write)(struct io *io, int fd, const void *buf, size_t len);
	/* A pipe of size bytes or what can be had. Returns its size in bytes. */
	ssize_t (*pipe_open)(struct io *io, int fds[2], size_t size);
	/* connect(2): of a datagram socket it is immediate, of others -EINPROGRESS. */
	int (*connect_now)(struct io *io, int fd, const struct sockaddr *addr, socklen_t len);
	int (*shutdown_write)(struct io *io, int fd);
	void (*close_fd)(struct io *io, int fd);
	/* Closes a TCP socket with a reset instead of a FIN: SO_LINGER with a time of 0, socket(7).
	 */
	void (*reset_fd)(struct io *io, int fd);
	/* Whether a connection is over: its far end has reset it. */
	bool (*is_reset)(struct io *io, int fd);
	/* This end's address. 0 or -errno. */
	int (*local_of)(struct io *io, int fd, struct sockaddr *addr, socklen_t *len);
	/* SO_ERROR, socket(7): 0 or -errno. Reading it clears it. */
	int (*error_of)(struct io *io, int fd);
	/* The oldest error of a datagram socket of socket_open. 0 or -errno: -EAGAIN, there is
	 * none. */
	int (*recv_error)(struct io *io, int fd, struct io_error *out);
	/* A socket of the host's side, close-on-exec and non-blocking, with the options of its kind
	 * set. The descriptor or -errno. */
	int (*socket_open)(struct io *io, int family, int type, int proto);
	/* Gives it an address of the host's to send from; the port is found later. 0 or -errno. */
	int (*bind_from)(struct io *io, int fd, const struct sockaddr *addr, socklen_t len);
	/* Bytes of memory that hold what the far end has not acknowledged; 0: it has all. */
	size_t (*unsent)(struct io *io, int fd);
	/* How long the far end of a connection has said nothing, if it owes an answer to what was
	 * sent again or asked; 0: it owes none. */
	uint32_t (*unanswered_ms)(struct io *io, int fd);
	/* How long an accepted connection, to which nothing was sent yet, has been there: in the
	 * backlog, that is. Negative: it is not known. */
	int64_t (*backlog_ms)(struct io *io, int fd);
	/* The address that datagrams of this socket would have on the way to another. It is
	 * unconnected before and after. 0 or -errno: there is no way. */
	int (*source_for)(struct io *io, int fd, const struct sockaddr *to, socklen_t to_len,
			  struct sockaddr *source, socklen_t *len);
	/* Gives a TCP socket an address that need not be the namespace's, with IP_TRANSPARENT, and
	 * mark, unless that is 0. Port 0: one is found when it connects. 0 or -errno, and then the
	 * socket is good for nothing. */
	int (*bind_as)(struct io *io, int fd, const struct sockaddr *addr, socklen_t len,
		       uint32_t mark);
	/* Takes congestion control off an accepted connection whose peer is on this host, if the
	 * host's default paces (BBR); otherwise nothing. */
	void (*tune_accepted)(struct io *io, int fd);
	/* Whether connections accepted from this socket come with a congestion control that paces.
	 */
	bool (*paces)(struct io *io, int fd);

	/*
	 * The channels to parent and broker: messages with descriptors (base/fdpass.h). As
	 * fdpass_send and fdpass_recv, and never blocking.
	 */
	int (*msg_send)(struct io *io, int fd, const void *buf, size_t len);
	int (*msg_send_fds)(struct io *io, int fd, const void *buf, size_t len, const int *fds,
			    size_t n_fds);
	/* A socket that came in a message is this worker's from now on, whoever had it before. */
	void (*adopt)(struct io *io, int fd);
	ssize_t (*msg_recv)(struct io *io, int fd, void *buf, size_t size, int *fds, size_t *n_fds);
	bool (*sock_check)(struct io *io, int fd, const struct io_sock *want);
	/* A number that nobody can guess. */
	uint64_t (*random)(struct io *io);
};

/* The kinds of listeners: the side of an accept's handle. */
enum io_accepts { IO_ACCEPTS_PUBLISHED, IO_ACCEPTS_OUTWARD, IO_ACCEPTS };

struct io {
	const struct io_ops *ops;
	/* How many connections may be taken until the next wait, over all listeners of a kind; the
	 * worker sets it. When there are more, the operation that would take them ends with
	 * -EMFILE, and they stay in the backlog. */
	unsigned accepts_left[IO_ACCEPTS];
};

/* The system calls above as they are, shared by the back ends that run on a kernel (io/sys.c). */
uint64_t io_sys_now_ns(struct io *io);
ssize_t io_sys_recv(struct io *io, int fd, void *buf, size_t len, int flags);
ssize_t io_sys_send(struct io *io, int fd, const void *buf, size_t len, int flags);
ssize_t io_sys_sendmsg(struct io *io, int fd, const struct msghdr *msg, int flags);
ssize_t io_sys_splice(struct io *io, int fd_in, int fd_out, size_t len);
ssize_t io_sys_pipe_write(struct io *io, int fd, const void *buf, size_t len);
ssize_t io_sys_pipe_open(struct io *io, int fds[2], size_t size);
int io_sys_connect_now(struct io *io, int fd, const struct sockaddr *addr, socklen_t len);
int io_sys_shutdown_write(struct io *io, int fd);
void io_sys_close_fd(struct io *io, int fd);
void io_sys_reset_fd(struct io *io, int fd);
void io_sys_tune_accepted(struct io *io, int fd);
bool io_sys_is_reset(struct io *io, int fd);
int io_sys_local_of(struct io *io, int fd, struct sockaddr *addr, socklen_t *len);
int io_sys_error_of(struct io *io, int fd);
int io_sys_recv_error(struct io *io, int fd, struct io_error *out);
int io_sys_socket_open(struct io *io, int family, int type, int proto);
int io_sys_bind_from(struct io *io, int fd, const struct sockaddr *addr, socklen_t len);
size_t io_sys_unsent(struct io *io, int fd);
uint32_t io_sys_unanswered_ms(struct io *io, int fd);
int64_t io_sys_backlog_ms(struct io *io, int fd);
int io_sys_source_for(struct io *io, int fd, const struct sockaddr *to, socklen_t to_len,
		      struct sockaddr *source, socklen_t *len);
int io_sys_bind_as(struct io *io, int fd, const struct sockaddr *addr, socklen_t len,
		   uint32_t mark);
bool io_sys_paces(struct io *io, int fd);
int io_sys_msg_send(struct io *io, int fd, const void *buf, size_t len);
int io_sys_msg_send_fds(struct io *io, int fd, const void *buf, size_t len, const int *fds,
			size_t n_fds);
void io_sys_adopt(struct io *io, int fd);
ssize_t io_sys_msg_recv(struct io *io, int fd, void *buf, size_t size, int *fds, size_t *n_fds);
bool io_sys_sock_check(struct io *io, int fd, const struct io_sock *want);
uint64_t io_sys_random(struct io *io);

/* accept4(2): the new descriptor, close-on-exec and non-blocking, and who has connected; or -errno.
 * -EMFILE, and nothing is taken, when no connection of this kind is left. */
int io_sys_accept(struct io *io, int fd, uint64_t handle, union sock_addr *peer);

/* Memory of this size, zeroed, that costs only where it is touched; NULL: there is none. */
void *io_sys_map(size_t bytes);
void io_sys_unmap(void *p, size_t bytes); /* NULL is allowed */

/* clang-format off */
#define IO_SYS_OPS                                                                                 \
	.now_ns = io_sys_now_ns, .recv = io_sys_recv, .send = io_sys_send,                         \
	.sendmsg = io_sys_sendmsg, .splice = io_sys_splice, .pipe_write = io_sys_pipe_write,       \
	.pipe_open = io_sys_pipe_open, .connect_now = io_sys_connect_now,                          \
	.shutdown_write = io_sys_shutdown_write, .close_fd = io_sys_close_fd,                      \
	.reset_fd = io_sys_reset_fd, .tune_accepted = io_sys_tune_accepted,                        \
	.is_reset = io_sys_is_reset, .unsent = io_sys_unsent, .unanswered_ms = io_sys_unanswered_ms, .backlog_ms = io_sys_backlog_ms, .local_of = io_sys_local_of, .error_of = io_sys_error_of,                                      \
	.recv_error = io_sys_recv_error,                                  \
	.socket_open = io_sys_socket_open, .bind_from = io_sys_bind_from,                          \
	.source_for = io_sys_source_for, .bind_as = io_sys_bind_as,     \
	.paces = io_sys_paces, .msg_send = io_sys_msg_send, .msg_send_fds = io_sys_msg_send_fds, .adopt = io_sys_adopt, .msg_recv = io_sys_msg_recv,           \
	.sock_check = io_sys_sock_check, .random = io_sys_random
/* clang-format on */

struct io_config {
	unsigned entries; /* operations that are started between two waits, about */
	unsigned n_bufs;  /* receive buffers, a power of two */
	size_t buf_size;  /* bytes of payload a buffer takes */
	bool locked; /* refuse every ring operation but those used here (io_uring(7), restrictions)
		      */
};

/* 0 or -errno: -ENOSYS, -EPERM and the like mean that this kernel or its policy has no io_uring. */
int io_uring_open(const struct io_config *config, struct io **out);
int io_epoll_open(const struct io_config *config, struct io **out);

#endif
