/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_NET_TAP_H
#define RINGKIT_DRIVERS_NET_TAP_H

#include "base/err.h"

/* Whether the device that taps are made with can be opened. path NULL: /dev/net/tun. 0 or -errno
 * with the remedy. */
int tap_check_device(const char *path, struct err *e);

/*
 * Makes a persistent tap device in a network namespace that the caller is not in: by a short-lived
 * process that joins both namespaces (setns(2)), which a process cannot undo for itself. The
 * descriptors are borrowed. The caller must have one thread. 0 or -errno.
 */
int tap_create_inside(int userns_fd, int netns_fd, const char *ifname, struct err *e);

#endif
