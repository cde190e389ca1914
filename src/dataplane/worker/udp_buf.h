/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_UDP_BUF_H
#define RINGKIT_DATAPLANE_WORKER_UDP_BUF_H

#include "dataplane/worker/udp.h"

/* Gives back what a datagram lies in: a receive buffer, or a copy. */
void udp_buf_put(struct worker *w, uint16_t buf_id);
/* Moves a small datagram out of its receive buffer, which is free then. False: it stays. */
bool udp_buf_copy(struct worker *w, struct udp_payload *p);
/* A second one of a small datagram. False: there is no room for it. */
bool udp_buf_duplicate(struct worker *w, struct udp_payload *p);
/* Whether a datagram lies in a copy. */
bool udp_buf_is_copy(const struct udp_payload *p);

#endif
