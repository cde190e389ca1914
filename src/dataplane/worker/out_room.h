/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_OUT_ROOM_H
#define RINGKIT_DATAPLANE_WORKER_OUT_ROOM_H

#include <stdbool.h>

#include "base/sockaddr.h"

/* What the way out may still take: descriptors, slots and ports of the host. */

struct worker;

/* Whether n more descriptors are left. */
bool out_has_fds(const struct worker *w, unsigned n);
/* Whether the router's listeners may accept. */
bool out_tcp_has_room(const struct worker *w);
/* A flow has ended, with its two descriptors. */
void out_tcp_flow_closed(struct worker *w);
/* Takes one of the host's ports for a connection. Returns false when there are no more. */
bool out_port_get(struct worker *w);
/* Gives a port back. */
void out_port_put(struct worker *w);
/* Logs, for debugging, that something may not go out or is not served. */
void out_log_refused(const struct worker *w, const char *what, const union sock_addr *client,
		     const union sock_addr *dest);

#endif
