/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_UDP_COPY_H
#define RINGKIT_DATAPLANE_WORKER_UDP_COPY_H

#include "dataplane/worker/udp.h"

void udp_copy_init(struct worker *w);
/* Copies a datagram, or a run, behind those that the flow has; it has been sent by so many ways
 * already. False: there is no room, or the flow has had its share. */
bool udp_copy_append(struct worker *w, struct udp_flow *f, const struct udp_payload *p,
		     unsigned sent);
/* The copy. It holds no receive buffer, and is there until the next call or until it is freed.
 * Returns the flow's next one, or UDP_NO_COPY. */
uint16_t udp_copy_read(struct worker *w, uint16_t copy, struct udp_payload *p);
/* Frees the flow's first. */
void udp_copy_pop(struct worker *w, struct udp_flow *f);

#endif
