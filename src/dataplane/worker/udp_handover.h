/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_UDP_HANDOVER_H
#define RINGKIT_DATAPLANE_WORKER_UDP_HANDOVER_H

#include "dataplane/worker/handover_record.h"
#include "dataplane/worker/udp.h"

/* UDP flows that one data plane hands to the next (handover.h). */

/* Fills in a flow's record. */
void udp_handover_get(const struct udp_flow *f, struct handover_udp *u);
/* Makes a flow of the listener, at rest, of a record that handover_record_fds() has checked. Takes
 * over fd, which may be -1. NULL: there is no room. */
struct udp_flow *udp_handover_put(struct worker *w, struct listener *l,
				  const struct handover_udp *u, int fd);

#endif
