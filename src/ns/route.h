/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_ROUTE_H
#define RINGKIT_NS_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* Where the namespace that the caller is in routes packets for an address. */
struct route {
	unsigned char type; /* RTN_UNICAST, RTN_LOCAL, ...: rtnetlink(7) */
	unsigned ifindex;   /* of the device; 0: the kernel named none */
	bool gateway;	    /* through another machine */
};

/* Asks the kernel (RTM_GETROUTE, rtnetlink(7)). 0 or -errno with *e filled in: -ENETUNREACH,
 * -EHOSTUNREACH when there is no way, -EINVAL when ip is no address. */
int route_look_up(const char *ip, struct route *out, struct err *e);

/* Reads the kernel's answer to route_look_up's question: len bytes of netlink messages. 0, -EPROTO
 * when there is no route in it, or the -errno that the kernel reports. */
int route_read(const void *buf, size_t len, struct route *out);

/*
 * Whether ip is on a link that this namespace has for itself, as a container behind a bridge is.
 * Packets for such an address need no gateway, and do not leave by the device that has uplink_ip,
 * the namespace's address on its own network (NULL or "": none). A local address, or one reached by
 * loopback, is no neighbour. 0, or -errno with *e saying why ip is none.
 */
int route_is_neighbour(const char *ip, const char *uplink_ip, struct err *e);

#endif
