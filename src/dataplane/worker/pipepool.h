/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_PIPEPOOL_H
#define RINGKIT_DATAPLANE_WORKER_PIPEPOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/io/io.h"
#include "dataplane/stats.h"

/*
 * A worker's pipes. Pipe memory is a limit of the user, not of the process
 * (fs.pipe-user-pages-soft, pipe(7)). So a flow has a pipe only while bytes are in it, and pipes
 * that nobody used for a while are closed.
 */
#define PIPEPOOL_MAX  256
#define PIPEPOOL_NONE (-1)

struct pipepool_pipe {
	int fds[2]; /* read end, write end; -1: not open */
	uint32_t size;
};

struct pipepool {
	struct io *io;
	struct stats *stats;
	struct pipepool_pipe pipes[PIPEPOOL_MAX];
	int16_t free[PIPEPOOL_MAX]; /* open and empty pipes; the last used on top */
	unsigned n_free, n_open, max;
	unsigned low;	   /* smallest number of free pipes since the last trim */
	unsigned stalled;  /* pipes of directions whose output has been full for long */
	uint64_t retry_ns; /* no new pipe is opened before this time, as the last one failed */
};

/* max: pipes at a time, at most PIPEPOOL_MAX. */
void pipepool_init(struct pipepool *p, struct io *io, struct stats *stats, unsigned max);
void pipepool_close(struct pipepool *p);

/* Whether a pipe is free; opens one if need be. */
bool pipepool_ready(struct pipepool *p, uint64_t now_ns);

/* Takes an empty pipe; PIPEPOOL_NONE: there is none. */
int pipepool_get(struct pipepool *p, uint64_t now_ns);

/* Takes over a pipe of size bytes that has bytes in it. PIPEPOOL_NONE: there is no room, and fds
 * stay the caller's. */
int pipepool_adopt(struct pipepool *p, const int fds[2], uint32_t size);

/* Returns an empty pipe. */
void pipepool_put(struct pipepool *p, int pipe);

/* Closes a pipe that still has bytes in it. */
void pipepool_discard(struct pipepool *p, int pipe);

/* Closes pipes that were free all the time since the last call. Returns whether any free one is
 * left. */
bool pipepool_trim(struct pipepool *p);

static inline struct pipepool_pipe *pipepool_at(struct pipepool *p, int pipe)
{
	return &p->pipes[pipe];
}

#endif
