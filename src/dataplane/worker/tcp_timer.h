/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_TCP_TIMER_H
#define RINGKIT_DATAPLANE_WORKER_TCP_TIMER_H

#include "dataplane/worker/tcp.h"

/*
 * Timers of TCP flows. A flow has at most one: for a connect with a time limit, a server that is
 * tried again, an answer on its way to a slow client, or an output that stays full. Flows that just
 * move bytes have none. The timers are a binary heap of the flows' indexes, the earliest on top.
 */

/* Sets the flow's timer, or changes it. */
void tcp_timer_set(struct worker *w, struct tcp_flow *f, uint64_t at_ns);

/* Removes the flow's timer, if it has one. */
void tcp_timer_clear(struct worker *w, struct tcp_flow *f);

/* The earliest timer; UINT64_MAX: there is none. */
uint64_t tcp_timer_next(const struct worker *w);

/* Takes a flow whose timer has expired, and removes that timer; NULL: there is none. */
struct tcp_flow *tcp_timer_expired(struct worker *w);

#endif
