/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_SOCKPOOL_H
#define RINGKIT_DATAPLANE_WORKER_SOCKPOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fdpass.h"
#include "dataplane/io/io.h"

/*
 * Sockets of one family and protocol that the broker made ahead of need, unconnected. A pool asks
 * for more when it runs low, for twice as many if it also did a moment ago, and closes those that
 * nobody wanted. At rest it holds SOCKPOOL_REST sockets while a port connects through it, otherwise
 * none.
 */
#define SOCKPOOL_MAX  (2 * FDPASS_MAX)
#define SOCKPOOL_REST 8

struct sockpool {
	struct io *io;
	int fds[SOCKPOOL_MAX];
	unsigned n;
	unsigned batch; /* number of sockets that the pool tries to hold */
	unsigned batch_max;
	unsigned low;	       /* smallest number of sockets since the last trim */
	unsigned users;	       /* ports that connect through the pool: it is kept filled for them */
	bool requested;	       /* an answer has not come yet */
	bool busy;	       /* the pool has asked since the last trim */
	bool top_up;	       /* the pool is at rest, and is filled for the next rush */
	unsigned waiting;      /* flows that found no socket and wait */
	uint64_t requested_ns; /* time of the last request */
	uint64_t retry_ns;     /* no request is sent before this time */
};

/* batch_max: SOCKPOOL_REST to FDPASS_MAX. */
void sockpool_init(struct sockpool *p, struct io *io, unsigned batch_max);
void sockpool_close(struct sockpool *p);

/* Takes a socket, which is then the caller's; -1: there is none. */
int sockpool_take(struct sockpool *p);

/* How many sockets the pool has, or tries to have. */
static inline unsigned sockpool_hold(const struct sockpool *p)
{
	return p->users && p->batch > p->n ? p->batch : p->n;
}

/* How many sockets to ask the broker for now; 0: none. */
unsigned sockpool_wanted(const struct sockpool *p, uint64_t now_ns);

/* A request has gone out. */
void sockpool_requested(struct sockpool *p, uint64_t now_ns);

/* The answer has come: n sockets, which the pool takes over. err: 0, or why there are fewer than
 * asked for. */
void sockpool_fill(struct sockpool *p, const int *fds, unsigned n, int err, uint64_t now_ns);

/* When one of these n pools, for which flows wait, asks again after a failure; UINT64_MAX: none
 * does. */
uint64_t sockpool_retry_at(const struct sockpool *pools, unsigned n, uint64_t now_ns);

/* A new broker has come: no answer of the earlier one will. */
void sockpool_reset(struct sockpool *p);

/* To be called at regular times. Closes sockets that were never needed since the last call. Returns
 * whether the pool is not at rest yet and wants another call. */
bool sockpool_trim(struct sockpool *p);

#endif
