/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_UDP_HASH_H
#define RINGKIT_DATAPLANE_WORKER_UDP_HASH_H

#include "dataplane/worker/udp.h"

/* The worker's live UDP flows by their keys. */

/* NULL: there is none. */
struct udp_flow *udp_hash_find(struct worker *w, const struct udp_key *key);
/* The flow has its key already. */
void udp_hash_add(struct worker *w, struct udp_flow *f);
void udp_hash_remove(struct worker *w, struct udp_flow *f);

#endif
