/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_TCP_CONNECT_H
#define RINGKIT_DATAPLANE_WORKER_TCP_CONNECT_H

#include "dataplane/worker/tcp.h"

/*
 * From an accepted connection to one with the server.
 *
 * A server that refuses may not listen yet. It is tried again for a fifth of a second, as
 * RootlessKit does, while the client's data waits in the kernel. The same is done when the
 * namespace has no free port. A flow that takes long to connect watches its client, and ends when
 * that goes. After half a minute it ends in any case.
 */

/* The connect has ended with res. Returns whether the flow is OPEN now. */
bool tcp_connect_done(struct worker *w, struct tcp_flow *f, int res);

/* Sets the timer of a flow that is not connected. */
void tcp_connect_set_timer(struct worker *w, struct tcp_flow *f);

/* The timer of a flow that is not connected has expired. */
void tcp_connect_timer(struct worker *w, struct tcp_flow *f);

#endif
