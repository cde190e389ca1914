/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_UDP_SEND_H
#define RINGKIT_DATAPLANE_WORKER_UDP_SEND_H

#include "dataplane/worker/udp.h"

/* Sends a datagram before the turn ends, and gives its buffer back then. */
void udp_send(struct worker *w, struct udp_flow *f, bool to_client, const struct udp_payload *p);
/* To the server, and it has been counted before. */
void udp_send_again(struct worker *w, struct udp_flow *f, const struct udp_payload *p);
void udp_flush(struct worker *w);
/* Counts what was not sent. l: of the port it was for; NULL: that has gone. */
void udp_send_dropped(struct worker *w, struct listener *l, unsigned datagrams);

#endif
