/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_UDP_TARGET_H
#define RINGKIT_DATAPLANE_WORKER_UDP_TARGET_H

#include "dataplane/worker/udp.h"

/*
 * Choosing a UDP flow's server. A port may lead to two addresses, of which one has the server:
 * [::1] and 127.0.0.1. UDP has no connect that tells. So a flow begins at one of them, and keeps
 * small datagrams until the first answer. When an ICMP error comes instead, they are sent to the
 * other address. The port remembers for a while where an answer came from, and its next flows begin
 * there. A flow that was quiet for a moment begins anew: its server may have moved, or its client
 * may be another with the same port.
 *
 * With --net=builtin there is a third address, before these: the namespace's own, by way of the
 * router and with the client's address (client_address.c tells why).
 */

/* The address where the flow's server is, or may be. */
const union sock_addr *udp_target(const struct udp_flow *f, socklen_t *len);
int udp_target_family(const struct udp_flow *f);
/* The flow's client; IPv4 is not mapped. */
union sock_addr udp_target_client(const struct udp_flow *f);
/* Chooses the first address for a new flow. */
void udp_target_choose(struct worker *w, struct udp_flow *f);
/* The client has sent a datagram: if the flow was quiet, the server may have moved since. */
void udp_target_asked(const struct worker *w, struct udp_flow *f);
/* Another data plane's udp_second_ns of a port, within its bounds. */
uint64_t udp_target_at_most(const struct worker *w, uint64_t second_ns);
/* The server has answered from the flow's address. */
void udp_target_answered(struct worker *w, struct udp_flow *f);
/* An ICMP error has come. Returns true when the flow has changed to its other address, and has
 * datagrams to send there. */
bool udp_target_refused(struct worker *w, struct udp_flow *f);
/* The flow has begun in the place of one that was refused: it stays where it is for a while. */
void udp_target_anew(const struct worker *w, struct udp_flow *f);
/* The flow's address could not be connected to: changes to the other one. Returns whether that was
 * not tried yet. */
bool udp_target_unreachable(struct worker *w, struct udp_flow *f);

#endif
