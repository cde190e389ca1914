/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_UDP_SEND_H
#define RINGKIT_DATAPLANE_WORKER_UDP_SEND_H

#include "dataplane/worker/udp.h"

/* Sends a datagram before the turn ends, and then returns its receive buffer. */
void udp_send(struct worker *w, struct udp_flow *f, bool to_client, const struct udp_payload *p);
/* Sends a datagram to the server that was counted before. */
void udp_send_again(struct worker *w, struct udp_flow *f, const struct udp_payload *p);
void udp_flush(struct worker *w);
/* Counts datagrams that were not sent. l: the port's listener; NULL: it is gone. */
void udp_send_dropped(struct worker *w, struct listener *l, unsigned datagrams);

#endif
