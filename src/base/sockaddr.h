/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_SOCKADDR_H
#define RINGKIT_BASE_SOCKADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

/* The kernel's sockaddr_in or sockaddr_in6. */
union sock_addr {
	struct sockaddr sa;
	struct sockaddr_in in4;
	struct sockaddr_in6 in6;
};

/* 127.0.0.0/8, also in the form of IPv6 (::ffff:127.0.0.1), and ::1. sa is as long as its family
 * says. */
bool sockaddr_is_loopback(const struct sockaddr *sa);

/* How long an address of this family is; 0: it is of no family that we have. */
socklen_t sockaddr_len(const struct sockaddr *sa);

/* Whether both have the same IP address, whatever their ports. */
bool sockaddr_same_host(const union sock_addr *a, const union sock_addr *b);

/* An IPv4 address in the form of IPv6 (::ffff:127.0.0.1) becomes what it is; others stay. */
void sockaddr_unmap(union sock_addr *a);

/* "127.0.0.1:80", "[::1]:80", or "nobody" for another family. */
#define SOCKADDR_TEXT_BYTES 64
const char *sockaddr_format(const struct sockaddr *sa, char buf[SOCKADDR_TEXT_BYTES]);

#endif
