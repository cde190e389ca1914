/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_SOCKADDR_H
#define RINGKIT_BASE_SOCKADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

/* Holds the kernel's sockaddr_in or sockaddr_in6. */
union sock_addr {
	struct sockaddr sa;
	struct sockaddr_in in4;
	struct sockaddr_in6 in6;
};

/* Whether the address is in 127.0.0.0/8, also in the form of IPv6 (::ffff:127.0.0.1), or is ::1. sa
 * must be as long as its family says. */
bool sockaddr_is_loopback(const struct sockaddr *sa);

/* The length of an address of this family; 0 for a family that we do not use. */
socklen_t sockaddr_len(const struct sockaddr *sa);

/* Whether both have the same IP address, whatever their ports. Flow labels and scopes are ignored.
 */
static inline bool sockaddr_same_host(const union sock_addr *a, const union sock_addr *b)
{
	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	if (a->sa.sa_family == AF_INET6)
		return IN6_ARE_ADDR_EQUAL(&a->in6.sin6_addr, &b->in6.sin6_addr);
	return a->in4.sin_addr.s_addr == b->in4.sin_addr.s_addr;
}

/* The same, and the same port. */
static inline bool sockaddr_same(const union sock_addr *a, const union sock_addr *b)
{
	/* An IPv6 port is at the same place. */
	return a->in4.sin_port == b->in4.sin_port && sockaddr_same_host(a, b);
}

/* Turns an IPv4 address in the form of IPv6 (::ffff:127.0.0.1) into a plain one; leaves others
 * alone. */
void sockaddr_unmap(union sock_addr *a);

/* The address in text, in buf: "127.0.0.1:80", "[::1]:80", or "nobody" for another family. */
#define SOCKADDR_TEXT_BYTES 64
const char *sockaddr_format(const struct sockaddr *sa, char buf[SOCKADDR_TEXT_BYTES]);

#endif
