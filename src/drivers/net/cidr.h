/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_NET_CIDR_H
#define RINGKIT_DRIVERS_NET_CIDR_H

#include <stdint.h>

#include "base/err.h"

/* An IPv4 network; the address is in host byte order. Plain data. */
struct cidr {
	uint32_t base;
	int prefix_len;
};

/* Of the drivers that choose the namespace's addresses, unless --cidr says otherwise. */
#define CIDR_DEFAULT "10.0.2.0/24"

/* Offsets of the addresses of namespace, gateway and name server in the network: slirp4netns's, so
 * that a network by another driver has the same. */
#define CIDR_INSIDE  100
#define CIDR_GATEWAY 2
#define CIDR_DNS     3

/* slirp4netns's bounds: the namespace gets the hundredth address of the network, which a /26 does
 * not have. */
#define CIDR_PREFIX_MIN 1
#define CIDR_PREFIX_MAX 25

/* Parses a network address such as 10.0.2.0/24. 0 or -EINVAL: it is not IPv4, its prefix length is
 * out of bounds, or it is a host's address. */
int cidr_parse(const char *s, struct cidr *out, struct err *e);

/* Puts the address base + offset in text into buf of INET_ADDRSTRLEN bytes; returns buf. */
const char *cidr_address(const struct cidr *cidr, uint32_t offset, char *buf);

#endif
