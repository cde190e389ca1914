/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_IO_H
#define RINGKIT_DATAPLANE_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

/*
 * What a worker asks of the kernel: completions for accept, connect, readiness and datagrams, and
 * the calls that move bytes in line. Three implementations: io_uring (io_uring.c), epoll
 * (io_epoll.c), and the simulation of the tests (tests/unit/io_sim.c).
 *
 * One struct io per worker, used by that worker's thread only. Every operation carries a 64-bit
 * handle that its completions repeat (handle.h packs operation, side, generation, index).
 */

struct io;

struct io_event {
	uint64_t handle;
	int32_t res;	/* as the io_uring operation: >= 0, or -errno */
	bool more;	/* a multishot operation goes on; false: it has ended and must be armed anew */
	/* io_recvmsg only: the datagram, valid until io_buf_put. NULL when res < 0. */
	uint16_t buf_id;
	struct io_datagram *dgram;
};

/* A received datagram, or with GRO a run of them. Lives in the buffer. */
struct io_datagram {
	const struct sockaddr *name;
	socklen_t name_len;
	const void *control; /* for CMSG_* through a msghdr */
	size_t control_len;
	uint8_t *payload;
	size_t len;
	bool truncated;
};

struct io_ops {
	/* Room for about entries operations in flight; n_bufs receive buffers of buf_size bytes. */
	void (*close)(struct io *io);

	/* Each connection is a completion with the new descriptor (close-on-exec, non-blocking).
	 * Multishot. */
	int (*accept)(struct io *io, int fd, uint64_t handle);
	/* addr is copied. res 0 or -errno. */
	int (*connect)(struct io *io, int fd, const struct sockaddr *addr, socklen_t len,
		       uint64_t handle);
	/* One-shot: res is the poll(2) events that are there. */
	int (*poll)(struct io *io, int fd, uint32_t events, uint64_t handle);
	/* Datagrams into the receive buffers. Multishot; ends with -ENOBUFS when they run out. */
	int (*recvmsg)(struct io *io, int fd, uint64_t handle);
	/* Gives a receive buffer back. */
	void (*buf_put)(struct io *io, uint16_t buf_id);
	/* The operation with this handle on fd completes with -ECANCELED if it had not completed yet. */
	int (*cancel)(struct io *io, int fd, uint64_t handle);
	/* Submits what is pending and waits until something completes or the clock (CLOCK_MONOTONIC,
	 * ns) reaches deadline_ns (0: do not wait; UINT64_MAX: no deadline). Fills in up to max events; returns how many, or -errno. */
	int (*wait)(struct io *io, struct io_event *events, unsigned max, uint64_t deadline_ns);

	/* In line, never blocking; result as the system call, but -errno. */
	uint64_t (*now_ns)(struct io *io);
	ssize_t (*recv)(struct io *io, int fd, void *buf, size_t len, int flags);
	ssize_t (*send)(struct io *io, int fd, const void *buf, size_t len, int flags);
	ssize_t (*splice)(struct io *io, int fd_in, int fd_out, size_t len, unsigned flags);
	int (*sendmsg)(struct io *io, int fd, const struct msghdr *msg, int flags);
	int (*shutdown)(struct io *io, int fd, int how);
	int (*close_fd)(struct io *io, int fd);
};

struct io {
	const struct io_ops *ops;
};

#endif
