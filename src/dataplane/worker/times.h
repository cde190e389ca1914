/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_TIMES_H
#define RINGKIT_DATAPLANE_WORKER_TIMES_H

#include <stdint.h>

struct worker;

/*
 * How long TCP connections of published ports wait, as histograms (dataplane/stats.h).
 */

/* Of every so many accepted connections, the time in the backlog of one is asked for. */
#define TIMES_BACKLOG_EVERY 16

/* A connection has been accepted: fd is its client's. */
void times_accepted(struct worker *w, int fd);
/* The connection has its server, so long after it was accepted. */
void times_connected(struct worker *w, uint64_t took_ns);

#endif
