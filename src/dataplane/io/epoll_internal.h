/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_IO_EPOLL_INTERNAL_H
#define RINGKIT_DATAPLANE_IO_EPOLL_INTERNAL_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "dataplane/io/io.h"

/* The epoll back end's own declarations: io/epoll.c has operations, edges and waiting;
 * io/epoll_fetch.c takes connections and datagrams from descriptors that are ready. */

#define OPS_MAX 4 /* operations of one descriptor: connect; or read, write and watch */

enum op_kind { OP_NONE = 0, OP_POLL, OP_CONNECT, OP_ACCEPT, OP_RECVMSG };

struct op {
	uint64_t handle;
	uint32_t events; /* OP_POLL: the events that are waited for, with ALWAYS */
	enum op_kind kind;
};

struct slot {
	uint32_t ready; /* events that are ready as far as we know */
	uint32_t gen;	/* generation of the registration; an edge with another one is late */
	bool registered;
	bool muted;   /* registered for ALWAYS alone */
	bool private; /* no other process has this socket, and close_fd tells when it is closed */
	bool active;  /* in the list of descriptors with connections or datagrams to take */
	int next_active;
	struct op ops[OPS_MAX];
};

struct poller {
	struct io io; /* must be the first member */
	int epoll_fd;
	bool no_pwait2; /* the kernel has no epoll_pwait2: before Linux 5.11 */
	uint32_t gen;
	struct slot *slots; /* by descriptor */
	unsigned n_slots;
	int active_head, active_tail;

	struct io_event *done; /* completions that wait to be handed out; n_slots * OPS_MAX */
	size_t done_head, done_tail;

	uint8_t *bufs; /* receive buffers: what comes with a datagram, then its payload */
	size_t buf_bytes, buf_size;
	unsigned n_bufs, n_free;
	uint16_t *free_bufs;

	/* The caller's events that poller_wait fills in. */
	struct io_event *out;
	unsigned n_out, max_out;
};

static inline struct poller *poller_of(struct io *io)
{
	return (struct poller *)io;
}

static inline struct slot *slot_of(struct poller *p, int fd)
{
	assert(fd >= 0 && (unsigned)fd < p->n_slots);
	return &p->slots[fd];
}

/* io/epoll.c */

/* Hands a completion to the worker, in this wait or the next. */
void poller_complete(struct poller *p, const struct io_event *ev);
/* fd has just been opened: the table's entry is about an earlier file with this number. */
void poller_renew(struct poller *p, int fd);

/* io/epoll_fetch.c */

/* Takes connections or datagrams from fd. Returns whether there may be more. */
bool multishot_run(struct poller *p, int fd);
/* Receive buffers. bufs_open returns 0 or -ENOMEM; bufs_free frees what was had in either case. */
int bufs_open(struct poller *p, const struct io_config *config);
void bufs_free(struct poller *p);
void poller_buf_put(struct io *io, uint16_t buf_id);

#endif
