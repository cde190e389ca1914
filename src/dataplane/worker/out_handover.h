/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_OUT_HANDOVER_H
#define RINGKIT_DATAPLANE_WORKER_OUT_HANDOVER_H

#include "dataplane/worker/handover_record.h"
#include "dataplane/worker/out_udp.h"

/* UDP mappings that one data plane hands to the next (handover.h). */

/* Fills in the record of a mapping. Returns false when the slot has none to hand over. */
bool out_handover_get(const struct worker *w, uint32_t index, struct handover_map *m);
/* Makes a mapping of a record that handover_record_fds() has checked; the mapping is at rest. Takes
 * over fd. NULL: there is no room, or such a mapping exists. */
struct out_map *out_handover_put(struct worker *w, const struct handover_map *m, int fd);

#endif
