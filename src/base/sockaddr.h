/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_SOCKADDR_H
#define RINGKIT_BASE_SOCKADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

/* The kernel's sockaddr_in or sockaddr_in6. */
union dp_addr {
	struct sockaddr sa;
	struct sockaddr_in in4;
	struct sockaddr_in6 in6;
};

/* 127.0.0.0/8, also in the form of IPv6 (::ffff:127.0.0.1), and ::1. sa is as long as its family
 * says. */
bool sockaddr_is_loopback(const struct sockaddr *sa);

#endif
