/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_UDP_PORTS_H
#define RINGKIT_DATAPLANE_WORKER_UDP_PORTS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A limit on the namespace's ports that UDP flows take. Each connected UDP socket takes one (ip(7),
 * ip_local_port_range). Somebody who forges source addresses could take them all: then a program of
 * the namespace finds none to ask a name server from, and the kernel looks through the whole range
 * for each socket. So all workers together may take half of the range. When the kernel finds no
 * port all the same, because the range has become smaller or others use it, the limit is lowered,
 * and rises slowly.
 */

/* Bounds of the limit, whatever the range is. */
#define UDP_PORTS_MIN 64
#define UDP_PORTS_MAX 32768

struct worker;

/* Shared by the workers. All fields except max and workers are atomic. */
struct udp_ports {
	unsigned max, workers;
	unsigned limit; /* the present limit, at most max */
	unsigned taken;
	uint64_t raise_ns; /* when the limit may rise */
};

void udp_ports_init(struct udp_ports *p, unsigned max, unsigned workers);
/* Whether a flow of this worker may take another port. A worker below its share of the limit may,
 * whatever the others have. */
bool udp_ports_left(struct worker *w);
void udp_ports_took(struct worker *w);
void udp_ports_gave(struct worker *w);
/* The kernel has found no port: lowers the limit, and stops trying for a while. */
void udp_ports_none(struct worker *w);
/* Whether the kernel may be asked for a port. */
bool udp_ports_may_try(const struct worker *w);

#endif
