/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_ROUTE_H
#define RINGKIT_NS_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* Where packets for an address go, by the routing tables of the namespace that the caller is in. */
struct route {
	unsigned char type; /* RTN_UNICAST, RTN_LOCAL, ...: rtnetlink(7) */
	unsigned ifindex;   /* of the device; 0: none was told */
	bool gateway;	    /* to another machine first */
};

/* Asks the kernel (RTM_GETROUTE, rtnetlink(7)). 0 or -errno with *e filled in: -ENETUNREACH,
 * -EHOSTUNREACH when there is no way, -EINVAL when ip is no address. */
int route_look_up(const char *ip, struct route *out, struct err *e);

/* Reads the kernel's answer to that: len bytes of netlink messages. 0, -EPROTO when there is no
 * route in it, or the -errno that the kernel tells. */
int route_read(const void *buf, size_t len, struct route *out);

/*
 * Whether ip is on a link that this namespace has for itself, as a container behind a bridge is:
 * packets for it need no gateway, and do not leave by the device that has uplink_ip, the address of
 * the namespace on its network (NULL or "": none). What is local, or goes by loopback, is not.
 * 0, or -errno with *e saying why it is not.
 */
int route_is_neighbour(const char *ip, const char *uplink_ip, struct err *e);

#endif
