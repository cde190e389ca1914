/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_NET_BUILTIN_INTERNAL_H
#define RINGKIT_DRIVERS_NET_BUILTIN_INTERNAL_H

#include "dataplane/wire.h"
#include "drivers/net/inside.h"
#include "ns/listening.h"

/* The messages between the parent and the role "router". */

struct router_boot {
	uint32_t workers, debug;
	uint32_t listening; /* whether listening sockets inside must be followed */
	int32_t mtu;
	char ifname[IFNAMSIZ];
	struct dp_outward config; /* the addresses */
};

/* The router's answer. Unless it failed, it comes with the descriptors of the router's namespace,
 * of router_count (ns/router.h), and of listening if that was wanted. outward_send follows. */
struct router_answer {
	struct inside_answer head;
	uint32_t queue;			   /* enum router_queue */
	struct listening_source listening; /* of the command's namespace */
};

/* builtin_resolvers.c: reads the name servers of the host's resolv.conf(5), with port 53. Where it
 * names none, that is 127.0.0.1, as for the C library. Returns how many there are. */
unsigned builtin_resolvers(const char *text, union sock_addr *out);

#endif
