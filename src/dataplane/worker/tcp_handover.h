/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_TCP_HANDOVER_H
#define RINGKIT_DATAPLANE_WORKER_TCP_HANDOVER_H

#include "dataplane/worker/handover_record.h"
#include "dataplane/worker/tcp.h"

/* TCP flows that pass from one data plane to the next (handover.h). */

/* Takes back what is in flight of all of them. */
void tcp_handover_rest(struct worker *w);
bool tcp_handover_in_flight(const struct worker *w);
/* What a flow is, and its descriptors. False: the slot has none that would be handed over. */
bool tcp_handover_get(struct worker *w, uint32_t index, struct handover_tcp *t, int *fds,
		      unsigned *n);
/* Becomes a flow of the listener, at rest. The record is handover_record_fds()'s, with as many
 * descriptors, which are taken over. False: there is no room for it. */
bool tcp_handover_put(struct worker *w, struct listener *l, const struct handover_tcp *t,
		      const int *fds);
/* They go on. */
void tcp_handover_go(struct worker *w);

#endif
