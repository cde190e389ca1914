/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_TCP_TIMER_H
#define RINGKIT_DATAPLANE_WORKER_TCP_TIMER_H

#include "dataplane/worker/tcp.h"

/*
 * One point in time for a TCP flow that has to be looked at by then: a connect that may not take
 * longer, a server that is tried again, an answer on its way to a slow client, an output that stays
 * full. Flows that just move bytes have none. A binary heap of the flows' indexes, the earliest on
 * top.
 */

/* Sets the flow's time, or another one than before. */
void tcp_timer_set(struct worker *w, struct tcp_flow *f, uint64_t at_ns);

/* Takes the flow's time away, if it has one. */
void tcp_timer_clear(struct worker *w, struct tcp_flow *f);

/* The earliest time of all, or UINT64_MAX. */
uint64_t tcp_timer_next(const struct worker *w);

/* A flow whose time has come, which it then no longer has, or NULL. */
struct tcp_flow *tcp_timer_expired(struct worker *w);

#endif
