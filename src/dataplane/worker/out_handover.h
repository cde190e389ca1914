/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_OUT_HANDOVER_H
#define RINGKIT_DATAPLANE_WORKER_OUT_HANDOVER_H

#include "dataplane/worker/handover_record.h"
#include "dataplane/worker/out_udp.h"

/* UDP mappings that pass from one data plane to the next (handover.h). */

/* What a mapping is. False: the slot has none that would be handed over. */
bool out_handover_get(const struct worker *w, uint32_t index, struct handover_map *m);
/* Becomes a mapping, at rest. The record is handover_record_fds()'s; fd is taken over. NULL: there
 * is no room for it, or one like it. */
struct out_map *out_handover_put(struct worker *w, const struct handover_map *m, int fd);

#endif
