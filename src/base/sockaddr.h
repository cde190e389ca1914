/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_SOCKADDR_H
#define RINGKIT_BASE_SOCKADDR_H

#include <stdbool.h>
#include <sys/socket.h>

/* 127.0.0.0/8, also in the form of IPv6 (::ffff:127.0.0.1), and ::1. sa is as long as its family
 * says. */
bool sockaddr_is_loopback(const struct sockaddr *sa);

#endif
