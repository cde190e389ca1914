/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_TCP_HANDOVER_H
#define RINGKIT_DATAPLANE_WORKER_TCP_HANDOVER_H

#include "dataplane/worker/handover_record.h"
#include "dataplane/worker/tcp.h"

/* TCP flows that one data plane hands to the next (handover.h). */

/* Cancels what is in flight of all flows. */
void tcp_handover_rest(struct worker *w);
bool tcp_handover_in_flight(const struct worker *w);
/* Fills in a flow's record and descriptors. Returns false when the slot has no flow to hand over.
 */
bool tcp_handover_get(struct worker *w, uint32_t index, struct handover_tcp *t, int *fds,
		      unsigned *n);
/* Makes a flow of the listener, at rest, of a record that handover_record_fds() has checked and its
 * descriptors, which this takes over. False: there is no room. */
bool tcp_handover_put(struct worker *w, struct listener *l, const struct handover_tcp *t,
		      const int *fds);
/* The flows that were taken over, or that came to rest, go on. */
void tcp_handover_go(struct worker *w);

#endif
