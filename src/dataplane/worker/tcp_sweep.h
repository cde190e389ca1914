/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_TCP_SWEEP_H
#define RINGKIT_DATAPLANE_WORKER_TCP_SWEEP_H

#include <stdint.h>

/*
 * Ends flows whose client or server has vanished while data was on its way to it. The kernel would
 * try for about 15 minutes (tcp(7), tcp_retries2). TCP_USER_TIMEOUT would end them sooner, but also
 * downloads that are paused: their client says that it has no room, and says so again whenever it
 * is asked. So each open flow is looked at now and then. It ends when a side that owes an answer
 * has said nothing for LIMIT_TCP_UNANSWERED_MS.
 */

struct worker;

/* Looks at a few flows. */
void tcp_sweep_tick(struct worker *w);
/* When tcp_sweep_tick should be called next. */
uint64_t tcp_sweep_deadline(const struct worker *w);

#endif
