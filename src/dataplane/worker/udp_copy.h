/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_UDP_COPY_H
#define RINGKIT_DATAPLANE_WORKER_UDP_COPY_H

#include "dataplane/worker/udp.h"

void udp_copy_init(struct worker *w);
/* Appends a copy of a datagram, or of a run, to the flow's copies. sent: by how many ways it was
 * sent already. False: there is no room, or the flow has had its share. */
bool udp_copy_append(struct worker *w, struct udp_flow *f, const struct udp_payload *p,
		     unsigned sent);
/* Reads a copy. *p holds no receive buffer, and is valid until the next call or until the copy is
 * freed. Returns the flow's next copy, or UDP_NO_COPY. */
uint16_t udp_copy_read(struct worker *w, uint16_t copy, struct udp_payload *p);
/* Frees the flow's first copy. */
void udp_copy_pop(struct worker *w, struct udp_flow *f);

#endif
