/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_UDP_PENDING_H
#define RINGKIT_DATAPLANE_WORKER_UDP_PENDING_H

#include "dataplane/worker/udp.h"

/* Keeps the datagram until the flow has a socket, or drops it. */
void udp_pending_add(struct worker *w, struct udp_flow *f, const struct udp_payload *p);
void udp_pending_send(struct worker *w, struct udp_flow *f);
/* Keeps a copy of what is being sent, for the case that the server is at the other address. */
void udp_pending_keep(struct worker *w, struct udp_flow *f, const struct udp_payload *p);
/* The same for what another data plane has kept, or had waiting, and has sent so often. It is
 * copied. */
void udp_pending_take_over(struct worker *w, struct udp_flow *f, const struct udp_payload *p,
			   unsigned sent);
/* What has been kept is to be sent once more. */
void udp_pending_again(struct worker *w, struct udp_flow *f);
/* The flow's copies are not needed any more. */
void udp_pending_forget(struct worker *w, struct udp_flow *f);
/* Forgets what was kept for long enough. */
void udp_pending_tick(struct worker *w);
uint64_t udp_pending_deadline(const struct worker *w);
void udp_pending_drop(struct worker *w, struct udp_flow *f);

#endif
