/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_UDP_TARGET_H
#define RINGKIT_DATAPLANE_WORKER_UDP_TARGET_H

#include "dataplane/worker/udp.h"

/*
 * A port may lead to two addresses, of which one has the server: [::1] and 127.0.0.1. UDP has no
 * connect that tells, so a flow begins at one of them, and small datagrams are kept until the first
 * answer. When an ICMP error comes instead, they go to the other address. The port remembers for a
 * while where an answer came from, and its next flows begin there. A flow that was quiet for a
 * moment begins anew: its server may have moved, and its client may be another with the same port.
 *
 * With --net=builtin there is a third, before these: the namespace's own address, by way of the
 * router and with the client's address (client_address.c tells why).
 */

/* Where the flow's server is, or may be. */
const union sock_addr *udp_target(const struct udp_flow *f, socklen_t *len);
int udp_target_family(const struct udp_flow *f);
/* Its client; IPv4 as such, not mapped. */
union sock_addr udp_target_client(const struct udp_flow *f);
/* A new flow. */
void udp_target_choose(struct worker *w, struct udp_flow *f);
/* A datagram of its client has come: if the flow was quiet, the server may have moved since. */
void udp_target_asked(const struct worker *w, struct udp_flow *f);
/* The server has answered: it is here. */
void udp_target_answered(struct worker *w, struct udp_flow *f);
/* An ICMP error has come. Whether datagrams are there for the other address, which is the flow's
 * now. */
bool udp_target_refused(struct worker *w, struct udp_flow *f);
/* Its address could not be connected to. Whether the other one, which is the flow's now, has not
 * been tried. */
bool udp_target_unreachable(struct worker *w, struct udp_flow *f);

#endif
