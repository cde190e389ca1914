/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_TIMES_H
#define RINGKIT_DATAPLANE_WORKER_TIMES_H

#include <stdint.h>

struct worker;

/*
 * How long TCP connections of published ports wait, as histograms (dataplane/stats.h).
 */

/* The time in the backlog is asked for one in so many accepted connections. */
#define TIMES_BACKLOG_EVERY 16

/* A connection was accepted; fd is the client's. */
void times_accepted(struct worker *w, int fd);
/* The connection has reached its server, took_ns after it was accepted. */
void times_connected(struct worker *w, uint64_t took_ns);

#endif
