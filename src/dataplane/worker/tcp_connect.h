/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_TCP_CONNECT_H
#define RINGKIT_DATAPLANE_WORKER_TCP_CONNECT_H

#include "dataplane/worker/tcp.h"

/*
 * From an accepted connection to one with the server.
 *
 * A server that refuses may not listen yet: it is asked again for a fifth of a second, as
 * RootlessKit does, while the client's data waits in the kernel. So is one that no port of the
 * namespace is free for. A flow that takes long to connect watches its client, and ends with it; in
 * the end it has half a minute.
 */

/* The outcome of the connect that was in flight. Whether the flow is OPEN now. */
bool tcp_connect_done(struct worker *w, struct tcp_flow *f, int res);

/* When a flow that is not connected is looked at next. */
void tcp_connect_set_timer(struct worker *w, struct tcp_flow *f);

/* The flow's time has come, and it is not connected. */
void tcp_connect_timer(struct worker *w, struct tcp_flow *f);

#endif
