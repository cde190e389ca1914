/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_SOCKPOOL_H
#define RINGKIT_DATAPLANE_WORKER_SOCKPOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fdpass.h"
#include "dataplane/io/io.h"

/*
 * Sockets of one family and protocol that the broker made ahead of need, unconnected. A pool asks
 * for more when it runs low, for twice as many when it did so a moment ago, and lets go of what
 * nobody wanted: at rest it holds SOCKPOOL_REST while a port connects through it, else none.
 */
#define SOCKPOOL_MAX  (2 * FDPASS_MAX)
#define SOCKPOOL_REST 8

struct sockpool {
	struct io *io;
	int fds[SOCKPOOL_MAX];
	unsigned n;
	unsigned batch; /* how many to hold */
	unsigned batch_max;
	unsigned low;	       /* least since the last trim */
	unsigned users;	       /* ports that connect through it: keep it filled */
	bool requested;	       /* an answer is on its way */
	bool busy;	       /* it asked since the last trim */
	bool top_up;	       /* at rest, and to be filled for the next rush */
	unsigned waiting;      /* takers that were turned away and wait */
	uint64_t requested_ns; /* the last request */
	uint64_t retry_ns;     /* no request before */
};

/* batch_max: SOCKPOOL_REST to FDPASS_MAX. */
void sockpool_init(struct sockpool *p, struct io *io, unsigned batch_max);
void sockpool_close(struct sockpool *p);

/* A socket, now the caller's, or -1. */
int sockpool_take(struct sockpool *p);

/* How many it has, or wants to have. */
static inline unsigned sockpool_hold(const struct sockpool *p)
{
	return p->users && p->batch > p->n ? p->batch : p->n;
}

/* How many sockets to ask the broker for now; 0: none. */
unsigned sockpool_wanted(const struct sockpool *p, uint64_t now_ns);

/* A request has gone out. */
void sockpool_requested(struct sockpool *p, uint64_t now_ns);

/* The answer: n sockets, which become the pool's; err: 0, or why there were fewer. */
void sockpool_fill(struct sockpool *p, const int *fds, unsigned n, int err, uint64_t now_ns);

/* The broker is another one: no answer will come. */
void sockpool_reset(struct sockpool *p);

/* To be called at regular times. Closes what was never needed since the last call. Returns whether
 * it is not at rest yet and wants another call. */
bool sockpool_trim(struct sockpool *p);

#endif
