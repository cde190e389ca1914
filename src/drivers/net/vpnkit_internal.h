/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_NET_VPNKIT_INTERNAL_H
#define RINGKIT_DRIVERS_NET_VPNKIT_INTERNAL_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>

#include "drivers/net/inside.h"

/* What the relay gets, along with the connected socket, and what it answers. */
struct vpnkit_boot {
	char ifname[IFNAMSIZ];
	int timeout_ms; /* time limit for everything until it is ready */
	bool debug;
};

struct vpnkit_answer {
	struct inside_answer head;
	in_addr_t ip;
	unsigned mtu; /* the one that VPNKit names */
};

#endif
