/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_SYSCTL_H
#define RINGKIT_NS_SYSCTL_H

#include <stdint.h>

#include "base/err.h"

/* Sets a sysctl of the network namespace that the caller is in. name: its path below /proc/sys/net.
 * The caller needs the rights of the namespace's root, and a /proc that is writable. 0 or -errno
 * with *e. */
int sysctl_set(const char *name, const char *value, struct err *e);

/* The first and the last port that the caller's network namespace gives to sockets that ask for
 * none (ip(7), ip_local_port_range); the kernel's default where that cannot be read. */
void sysctl_local_ports(uint16_t *first, uint16_t *last);

#endif
