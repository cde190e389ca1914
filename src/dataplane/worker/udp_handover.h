/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_UDP_HANDOVER_H
#define RINGKIT_DATAPLANE_WORKER_UDP_HANDOVER_H

#include "dataplane/worker/handover_record.h"
#include "dataplane/worker/udp.h"

/* UDP flows that pass from one data plane to the next (handover.h). */

/* What a flow is. */
void udp_handover_get(const struct udp_flow *f, struct handover_udp *u);
/* Becomes a flow of the listener, at rest. The record is handover_record_fds()'s; fd is taken over,
 * or -1. NULL: there is no room for it. */
struct udp_flow *udp_handover_put(struct worker *w, struct listener *l,
				  const struct handover_udp *u, int fd);

#endif
