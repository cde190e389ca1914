/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_NET_BUILTIN_INTERNAL_H
#define RINGKIT_DRIVERS_NET_BUILTIN_INTERNAL_H

#include "dataplane/wire.h"
#include "drivers/net/inside.h"
#include "ns/listening.h"

/* What the parent and the role "router" say to each other. */

struct router_boot {
	uint32_t workers, debug;
	uint32_t listening; /* what listens inside is to be followed */
	int32_t mtu;
	char ifname[IFNAMSIZ];
	struct dp_outward config; /* the addresses */
};

/* Unless it failed, with the descriptors of the router's namespace, of router_count (ns/router.h),
 * and, if it was wanted, of listening. outward_send follows. */
struct router_answer {
	struct inside_answer head;
	uint32_t queue;			   /* enum router_queue */
	struct listening_source listening; /* of the command's namespace */
};

/* builtin_resolvers.c: the name servers of the host's resolv.conf(5), with port 53; where it names
 * none, 127.0.0.1, as the C library does. Returns how many. */
unsigned builtin_resolvers(const char *text, union sock_addr *out);

#endif
