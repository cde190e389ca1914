/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TESTS_UDP_WORLD_H
#define RINGKIT_TESTS_UDP_WORLD_H

#include "ports/route.h"
#include "worker_world.h"

/* A world (worker_world.h) with a UDP port, its clients and servers. */

/* The address that the clients write to. */
union sock_addr udp_local(const struct world *x);

union sock_addr udp_client(const struct world *x, unsigned n);
bool udp_client_sends(struct world *x, unsigned n, const char *text, uint16_t segment);
/* Expects that the next datagram that the worker has sent says text. Returns the descriptor that it
 * left on. */
int udp_expect_sent(struct world *x, const char *text);
void udp_expect_nothing_sent(struct world *x);
void udp_world_open(struct world *x);
/* Opens the flow of client n. Returns its socket. */
int udp_flow_open(struct world *x, unsigned n);
bool udp_server_sends(struct world *x, int fd, const char *text);

#endif
