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
 * calls that move bytes in line. Three implementations: io_uring (io/uring.c), epoll (io/epoll.c),
 * and the simulation of the tests (tests/unit/io_sim.c).
 *
 * Each worker has one struct io, which only its thread uses. Every operation carries a 64-bit
 * handle that its completions repeat (handle.h). An operation that was started completes at least
 * once. The worker closes a descriptor only after everything in flight on it has completed.
 */

struct io;

/* A received datagram, or with UDP_GRO a run of datagrams, in the receive buffer buf_id. */
struct io_datagram {
	const struct sockaddr *name; /* the sender */
	socklen_t name_len;
	void *control; /* for CMSG_* macros, in a msghdr */
	size_t control_len;
	uint8_t *payload;
	size_t len;
	bool truncated;
	uint16_t buf_id; /* the buffer is the worker's until io_ops.buf_put */
};

struct io_event {
	uint64_t handle;
	int32_t res; /* result, as of the io_uring operation: >= 0, or -errno */
	bool more;   /* true: the multishot operation goes on; false: it has ended */
	bool has_dgram;
	union {
		struct io_datagram dgram; /* recvmsg only */
		union sock_addr peer;	  /* accept only: the client's address */
	};
};

/* An entry of a datagram socket's error queue (ip(7), IP_RECVERR). */
struct io_error {
	union sock_addr dest; /* where the datagram was sent to */
	int err;	      /* an errno */
	uint32_t info;	      /* with EMSGSIZE: the size that fits */
};

/* The kind of socket that was ordered. Such a socket must also be new: not bound, connected or
 * listening. */
struct io_sock {
	int family, type, protocol;
	uint64_t netns_cookie; /* SO_NETNS_COOKIE of the network namespace that it must be of; 0:
				  not checked */
};

struct io_ops {
	void (*close)(struct io *io);

	/*
	 * Operations. A multishot operation completes many times, the last time with more = false.
	 * A full queue is submitted first, so that one more operation always finds room.
	 */

	/* Multishot. res: the new descriptor, close-on-exec and non-blocking, with peer; or -errno,
	 * which ends the operation. peer is the only place for the address of a client that has
	 * reset its connection since. */
	void (*accept)(struct io *io, int fd, uint64_t handle);
	/* addr must stay valid until the next wait. res: 0 or -errno. res 0 is certain only after
	 * error_of has returned 0, too. */
	void (*connect)(struct io *io, int fd, const struct sockaddr *addr, socklen_t len,
			uint64_t handle);
	/* One-shot. res: the poll(2) events that have come. events 0: errors and hang-up alone. */
	void (*poll)(struct io *io, int fd, uint32_t events, uint64_t handle);
	/* Multishot. Receives datagrams into the receive buffers. Ends with -ENOBUFS when no buffer
	 * is left, or with the socket's pending error. */
	void (*recvmsg)(struct io *io, int fd, uint64_t handle);
	/* Ends the operation that has this handle on fd, with -ECANCELED, unless it has completed
	 * already. */
	void (*cancel)(struct io *io, int fd, uint64_t handle);

	/* Submits the started operations and waits until something completes or the clock reaches
	 * deadline_ns (of now_ns; 0: do not wait, UINT64_MAX: no deadline). Fills in up to max
	 * events. Returns how many, or -errno. */
	int (*wait)(struct io *io, struct io_event *events, unsigned max, uint64_t deadline_ns);
	/* Gives a receive buffer back. */
	void (*buf_put)(struct io *io, uint16_t buf_id);

	/*
	 * System calls in line, none of which blocks. They return what the call returns, but
	 * -errno.
	 */
	uint64_t (*now_ns)(struct io *io); /* CLOCK_MONOTONIC */
	ssize_t (*recv)(struct io *io, int fd, void *buf, size_t len, int flags);
	ssize_t (*send)(struct io *io, int fd, const void *buf, size_t len, int flags);
	ssize_t (*sendmsg)(struct io *io, int fd, const struct msghdr *msg, int flags);
	/* Moves bytes between a socket and a pipe, with SPLICE_F_NONBLOCK. */
	ssize_t (*splice)(struct io *io, int fd_in, int fd_out, size_t len);
	ssize_t (*pipe_write)(struct io *io, int fd, const void *buf, size_t len);
	/* Opens a pipe of size bytes, or smaller if that cannot be had. Returns its size in bytes.
	 */
	ssize_t (*pipe_open)(struct io *io, int fds[2], size_t size);
	/* connect(2). A datagram socket connects at once, others return -EINPROGRESS. */
	int (*connect_now)(struct io *io, int fd, const struct sockaddr *addr, socklen_t len);
	int (*shutdown_write)(struct io *io, int fd);
	void (*close_fd)(struct io *io, int fd);
	/* Closes a TCP socket with a reset instead of a FIN: SO_LINGER with a time of 0, socket(7).
	 */
	void (*reset_fd)(struct io *io, int fd);
	/* Whether the connection's peer has reset it. */
	bool (*is_reset)(struct io *io, int fd);
	/* The socket's own address. 0 or -errno. */
	int (*local_of)(struct io *io, int fd, struct sockaddr *addr, socklen_t *len);
	/* SO_ERROR, socket(7): 0 or -errno. Reading it clears it. */
	int (*error_of)(struct io *io, int fd);
	/* The oldest entry of the error queue of a datagram socket that socket_open made. 0 or
	 * -errno; -EAGAIN: there is none. */
	int (*recv_error)(struct io *io, int fd, struct io_error *out);
	/* Opens a socket in the host's namespace, close-on-exec and non-blocking, with the options
	 * of its kind set. Returns the descriptor or -errno. */
	int (*socket_open)(struct io *io, int family, int type, int proto);
	/* Binds a socket to an address of the host; the kernel chooses the port later. 0 or -errno.
	 */
	int (*bind_from)(struct io *io, int fd, const struct sockaddr *addr, socklen_t len);
	/* Bytes of kernel memory that hold what the peer has not acknowledged; 0: it has
	 * acknowledged all. */
	size_t (*unsent)(struct io *io, int fd);
	/* How long the peer of a connection has been silent, if it owes an answer to a
	 * retransmission or a probe; 0: it owes none. */
	uint32_t (*unanswered_ms)(struct io *io, int fd);
	/* How long ago the handshake of an accepted connection ended, if nothing was sent to it
	 * yet: the time in the backlog. Negative: unknown. */
	int64_t (*backlog_ms)(struct io *io, int fd);
	/* The source address that datagrams of this socket would have on the way to another
	 * address. The socket is unconnected before and after. 0 or -errno: there is no route. */
	int (*source_for)(struct io *io, int fd, const struct sockaddr *to, socklen_t to_len,
			  struct sockaddr *source, socklen_t *len);
	/* Binds a TCP or UDP socket to an address that need not be the namespace's, with
	 * IP_TRANSPARENT, and sets mark unless it is 0. Port 0: the kernel chooses one when the
	 * socket connects. 0 or -errno; after an error the socket must not be used. */
	int (*bind_as)(struct io *io, int fd, const struct sockaddr *addr, socklen_t len,
		       uint32_t mark);
	/* If the host's default congestion control paces (BBR) and the peer is on this host, gives
	 * an accepted connection one that does not. Otherwise does nothing. */
	void (*tune_accepted)(struct io *io, int fd);
	/* Whether connections accepted from this socket get a congestion control that paces. */
	bool (*paces)(struct io *io, int fd);

	/*
	 * The channels to parent and broker: messages with descriptors (base/fdpass.h), as
	 * fdpass_send and fdpass_recv_most, but never blocking.
	 */
	int (*msg_send)(struct io *io, int fd, const void *buf, size_t len);
	int (*msg_send_fds)(struct io *io, int fd, const void *buf, size_t len, const int *fds,
			    size_t n_fds);
	/* Tells the back end that a socket from a message belongs to this worker alone from now on.
	 */
	void (*adopt)(struct io *io, int fd);
	ssize_t (*msg_recv)(struct io *io, int fd, void *buf, size_t size, int *fds, size_t *n_fds,
			    bool *lost);
	bool (*sock_check)(struct io *io, int fd, const struct io_sock *want);
	/* A number that others cannot guess. */
	uint64_t (*random)(struct io *io);
};

/* The kinds of listeners: the side in an accept's handle. */
enum io_accepts { IO_ACCEPTS_PUBLISHED, IO_ACCEPTS_OUTWARD, IO_ACCEPTS };

struct io {
	const struct io_ops *ops;
	/* How many connections may be accepted until the next wait, over all listeners of a kind.
	 * The worker sets it. The operation that would accept one more ends with -EMFILE, and the
	 * connections stay in the backlog. */
	unsigned accepts_left[IO_ACCEPTS];
	/* How many connections each published port holds, by the index in its accept's handle. The
	 * worker sets the counts; until the next wait the io adds what it accepts. The operation
	 * of a port that has its share (LIMIT_TCP_TIMES_LEFT) ends with -EDQUOT. */
	uint32_t *accepts_held;
	/* How long the next wait looks for completions, without sleeping, before it sleeps. The
	 * worker sets it. */
	uint32_t look_ns;
	/* The last wait lost the processor to somebody else while it looked. */
	bool look_cut;
};

/* For a loop that looks for completions. Begin with *l = {0}. Returns false when the time of
 * io->look_ns is over, or the deadline has come. */
struct io_look {
	uint64_t last_ns, end_ns;
};
bool io_look_on(struct io *io, struct io_look *l, uint64_t deadline_ns);

/* Whether a published port that holds held connections may have one of those that are left. */
bool io_has_share(uint32_t held, unsigned left);
/* Whether the accept operation with this handle may take another connection: 0, -EMFILE, -EDQUOT.
 */
int io_may_accept(const struct io *io, uint64_t handle);
/* Counts a connection that the operation has taken. */
void io_accepted(struct io *io, uint64_t handle);

/* The system calls behind io_ops, shared by the back ends that run on a kernel (io/sys.c). */
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
ssize_t io_sys_msg_recv(struct io *io, int fd, void *buf, size_t size, int *fds, size_t *n_fds,
			bool *lost);
bool io_sys_sock_check(struct io *io, int fd, const struct io_sock *want);
uint64_t io_sys_random(struct io *io);

/* accept4(2): returns the new descriptor, close-on-exec and non-blocking, and the client's address
 * in *peer; or -errno. -EMFILE or -EDQUOT, with nothing accepted, when io_may_accept says so. */
int io_sys_accept(struct io *io, int fd, uint64_t handle, union sock_addr *peer);

/* Maps zeroed memory, whose pages cost nothing until they are touched. NULL: there is none. */
void *io_sys_map(size_t bytes);
void io_sys_unmap(void *p, size_t bytes); /* NULL is allowed */

/* What a receive buffer has before the payload: room for a sockaddr_in6, rounded up to align the
 * control messages that follow, and for cmsghdrs with in6_pktinfo (40 bytes) and UDP_GRO (24), and
 * as much again. */
#define IO_NAME_BYTES	 32
#define IO_CONTROL_BYTES 128

/* The calls that both back ends answer from here. */
/* clang-format off */
#define IO_SYS_OPS                                                                                 \
	.now_ns = io_sys_now_ns, .sendmsg = io_sys_sendmsg, .pipe_write = io_sys_pipe_write,       \
	.pipe_open = io_sys_pipe_open, .connect_now = io_sys_connect_now,                          \
	.shutdown_write = io_sys_shutdown_write, .tune_accepted = io_sys_tune_accepted,            \
	.is_reset = io_sys_is_reset, .unsent = io_sys_unsent,                                      \
	.unanswered_ms = io_sys_unanswered_ms, .backlog_ms = io_sys_backlog_ms,                    \
	.local_of = io_sys_local_of, .error_of = io_sys_error_of,                                  \
	.recv_error = io_sys_recv_error, .bind_from = io_sys_bind_from,                            \
	.source_for = io_sys_source_for, .bind_as = io_sys_bind_as, .paces = io_sys_paces,         \
	.msg_send = io_sys_msg_send, .msg_send_fds = io_sys_msg_send_fds,                          \
	.msg_recv = io_sys_msg_recv, .sock_check = io_sys_sock_check, .random = io_sys_random
/* clang-format on */

struct io_config {
	unsigned entries; /* about how many operations are started between two waits */
	unsigned n_bufs;  /* receive buffers, a power of two */
	size_t buf_size;  /* bytes of payload that a buffer has room for */
	bool locked;	  /* refuse every ring operation except those used here (io_uring(7),
			     restrictions) */
};

/* Open a back end. 0 or -errno; from io_uring_open -ENOSYS, -EPERM and the like mean that the
 * kernel or its policy has no io_uring. */
int io_uring_open(const struct io_config *config, struct io **out);
int io_epoll_open(const struct io_config *config, struct io **out);

#endif
