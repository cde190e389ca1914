/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_HANDOVER_COUNTERS_H
#define RINGKIT_DATAPLANE_WORKER_HANDOVER_COUNTERS_H

#include "dataplane/worker/flow.h"
#include "dataplane/worker/handover_record.h"

/* A worker's counters, and what a port has learned about its servers, go on in the next data plane
 * (handover.h). */
void handover_get_stats(const struct worker *w, struct handover_stats *out);
void handover_put_stats(struct worker *w, const struct handover_stats *in);
void handover_get_port(const struct listener *l, struct handover_port *p);
void handover_put_port(struct worker *w, const struct handover_port *p);

#endif
