/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_UDP_PORTS_H
#define RINGKIT_DATAPLANE_WORKER_UDP_PORTS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Each connected UDP socket takes a port of the namespace (ip(7), ip_local_port_range). Whoever
 * forges source addresses would take them all: then no program of the namespace finds one for a
 * name server's answer, and the kernel looks through the whole range for each socket. So all
 * workers together have a limit, half of the range. When the kernel finds no port all the same,
 * because the range is smaller now or others use it, the limit is lowered, and comes back slowly.
 */

/* Whatever the range is. */
#define UDP_PORTS_MIN 64
#define UDP_PORTS_MAX 32768

struct worker;

/* Shared by the workers; atomic but for max and workers. */
struct udp_ports {
	unsigned max, workers;
	unsigned limit; /* for now, at most max */
	unsigned taken;
	uint64_t raise_ns; /* when the limit may be raised */
};

void udp_ports_init(struct udp_ports *p, unsigned max, unsigned workers);
/* Whether a flow of this worker may take another one. Below its share of the limit it may, whatever
 * the others have. */
bool udp_ports_left(struct worker *w);
void udp_ports_took(struct worker *w);
void udp_ports_gave(struct worker *w);
/* The kernel has found none: the limit is lowered, and nobody tries for a while. */
void udp_ports_none(struct worker *w);
/* Whether one may be tried for. */
bool udp_ports_may_try(const struct worker *w);

#endif
