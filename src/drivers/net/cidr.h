/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_NET_CIDR_H
#define RINGKIT_DRIVERS_NET_CIDR_H

#include <netinet/in.h>
#include <stdint.h>

#include "base/err.h"

/* An IPv4 network; the address is in host byte order. Plain data. */
struct cidr {
	uint32_t base;
	int prefix_len;
};

/* The bounds are slirp4netns's: the address that the namespace gets is the hundredth of the
 * network, and that of a /26 would lie outside. */
#define CIDR_PREFIX_MIN 1
#define CIDR_PREFIX_MAX 25

/* Parses a network address such as 10.0.2.0/24. 0 or -EINVAL: not IPv4, a prefix length out of
 * bounds, or a host's address instead of a network's. */
int cidr_parse(const char *s, struct cidr *out, struct err *e);

/* The address base + offset in text, into buf of INET_ADDRSTRLEN bytes; returns buf. */
const char *cidr_address(const struct cidr *cidr, uint32_t offset, char *buf);

#endif
