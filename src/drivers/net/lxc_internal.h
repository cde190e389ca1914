/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_NET_LXC_INTERNAL_H
#define RINGKIT_DRIVERS_NET_LXC_INTERNAL_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>

#include "drivers/net/dhcp.h"
#include "drivers/net/inside.h"

/*
 * The messages between the parent and the DHCP client:
 *
 *   parent                                   DHCP client
 *   struct lxc_boot -----------------------> joins the namespaces
 *           <------------------------------- struct inside_answer
 *   lxc-user-nic, with the client's pid
 *   struct lxc_go -------------------------> DHCP
 *           <------------------------------- struct lxc_answer
 *           <------------------------------- another one whenever something in it has changed
 */
struct lxc_boot {
	char ifname[IFNAMSIZ];
	int timeout_ms; /* time limit for the first address */
	bool debug;
};

struct lxc_go {
	char go;
};

struct lxc_answer {
	struct inside_answer head;
	in_addr_t ip, router, dns[DHCP_DNS_MAX]; /* 0: none */
	int prefix_len;
};

#endif
