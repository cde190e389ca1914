/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_UDP_PENDING_H
#define RINGKIT_DATAPLANE_WORKER_UDP_PENDING_H

#include "dataplane/worker/udp.h"

/* Keeps a copy of the datagram until the flow has a socket, or drops the datagram. */
void udp_pending_add(struct worker *w, struct udp_flow *f, const struct udp_payload *p);
void udp_pending_send(struct worker *w, struct udp_flow *f);
/* Keeps a copy of a datagram that is being sent, in case the server is at the other address. */
void udp_pending_keep(struct worker *w, struct udp_flow *f, const struct udp_payload *p);
/* The same for a datagram that an earlier data plane has kept, or had waiting. sent: by how many
 * ways it was sent. The payload is copied. */
void udp_pending_take_over(struct worker *w, struct udp_flow *f, const struct udp_payload *p,
			   unsigned sent);
/* Sends the kept datagrams again. */
void udp_pending_again(struct worker *w, struct udp_flow *f);
/* Frees the flow's copies, which are not needed any more. */
void udp_pending_forget(struct worker *w, struct udp_flow *f);
/* Frees copies that were kept for long enough. */
void udp_pending_tick(struct worker *w);
uint64_t udp_pending_deadline(const struct worker *w);
void udp_pending_drop(struct worker *w, struct udp_flow *f);

#endif
