/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_UDP_PENDING_H
#define RINGKIT_DATAPLANE_WORKER_UDP_PENDING_H

#include "dataplane/worker/udp.h"

/* Keeps the datagram until the flow has a socket, or drops it. */
void udp_pending_add(struct worker *w, struct udp_flow *f, const struct udp_payload *p);
void udp_pending_send(struct worker *w, struct udp_flow *f);
void udp_pending_drop(struct worker *w, struct udp_flow *f);

#endif
