/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_TRANSPARENT_H
#define RINGKIT_NS_TRANSPARENT_H

#include <stdint.h>

#include "base/err.h"

/*
 * Routing in a network namespace for connections that bear the address of a client from outside:
 * a socket with IP_TRANSPARENT (ip(7)) may have any source address, and what the server answers
 * must come back to it rather than leave for the client.
 */

/* Where the server may be. For each, IPv4 and IPv6 by themselves. */
enum transparent_place {
	TRANSPARENT_LOOPBACK, /* at a loopback address */
	TRANSPARENT_OWN,      /* at another address of the namespace; the socket has the mark */
	TRANSPARENT_BEHIND,   /* in another namespace, reached through a bridge or the like */
};

/* In the mask of what works. */
#define TRANSPARENT_BIT(place, ipv6) (1u << (2 * (unsigned)(place) + (unsigned)(ipv6)))

/* Mark of packets that go to a local socket whatever their destination is. */
#define TRANSPARENT_MARK 0x524b5450u

/* Sets up the namespace that the caller is in and has CAP_NET_ADMIN over, and tries it with
 * connections of its own. Returns the mask of what works; *why says what the first failure was, its
 * code is 0 when there was none. */
uint32_t transparent_set_up(struct err *why);

/* transparent_nft.c: what comes in from another interface and belongs to a transparent socket gets
 * the mark. 0 or -errno. */
int transparent_mark_answers(struct err *e);

#endif
