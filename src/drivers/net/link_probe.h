/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_NET_LINK_PROBE_H
#define RINGKIT_DRIVERS_NET_LINK_PROBE_H

#include <net/if.h>
#include <netinet/in.h>

#include "drivers/net/inside.h"

/*
 * Finds out whether frames go from an interface in the namespace to a gateway and back, for a
 * helper that does not say when it is ready. A process inside (the role "link-probe") brings the
 * interface up and asks for the gateway's address by ARP (RFC 826) until it gets an answer.
 */

/* The request to the process. Addresses in network byte order. */
struct link_probe_boot {
	char ifname[IFNAMSIZ];
	in_addr_t ip, gateway;
	int timeout_ms;
};

/* Starts the process. Its answer is a struct inside_answer: -EHOSTUNREACH when the gateway has not
 * answered in time. */
int link_probe_start(struct inside *in, const struct net_target *target,
		     const struct link_probe_boot *boot, struct err *e);

#endif
