/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_NETIF_H
#define RINGKIT_NS_NETIF_H

#include <stdint.h>

#include "base/err.h"

/*
 * Changes interfaces, addresses and routes of the network namespace that the calling thread is in,
 * by rtnetlink(7). Every function waits for the kernel's acknowledgement.
 */

/* An interface to configure. Strings are borrowed. */
struct netif_config {
	const char *ifname;
	int mtu;	/* 0: stays as it is */
	const char *ip; /* IPv4 or IPv6, NULL or "": no address */
	int prefix_len;
	const char *gateway; /* default route through this address; NULL or "": none */
};

/* Brings the interface up. 0 or -errno. */
int netif_up(const char *ifname, struct err *e);

/* Brings lo up. 0 or -errno. */
int netif_loopback_up(struct err *e);

/* Sets the MTU and the address, brings the interface up, and adds the default route, in this order.
 * 0 or -errno; *e names the step. */
int netif_configure(const struct netif_config *config, struct err *e);

/* Waits until both ends of a veth pair can send, a second for each at most (netif_ready.c). Both
 * have been brought up. The other end's namespace must be of a user namespace in which the caller
 * has CAP_NET_ADMIN. 0 or -errno. */
int netif_wait_pair(const char *ifname, struct err *e);

/* Takes the address from the interface, if it is there. 0 or -errno. */
int netif_delete_address(const struct netif_config *config, struct err *e);

/* Replaces the address and default route of `from` by those of `to`. Both have the same ifname;
 * MTUs do not count. It is no error if the old ones are gone already. 0 or -errno; *e names the
 * step. */
int netif_readdress(const struct netif_config *from, const struct netif_config *to, struct err *e);

/* Makes a persistent tap device in the current namespace (TUNSETPERSIST); -errno with a message
 * that names /dev/net/tun and the remedy when it cannot be opened. */
int netif_tap_create(const char *ifname, struct err *e);

/* Makes a tap device with this MAC address, unless mac is NULL, and opens it for frames: *out,
 * which the caller closes. */
int netif_tap_open(const char *ifname, const uint8_t *mac, int *out, struct err *e);

#endif
