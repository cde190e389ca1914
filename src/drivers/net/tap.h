/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_NET_TAP_H
#define RINGKIT_DRIVERS_NET_TAP_H

#include "base/err.h"

/* Checks that the device that makes taps can be opened. path NULL: /dev/net/tun. 0, or -errno with
 * the remedy. */
int tap_check_device(const char *path, struct err *e);

/*
 * Makes a persistent tap device in a network namespace that the caller is not in. A short-lived
 * process joins both namespaces for this (setns(2)), because a process cannot go back. The
 * descriptors are borrowed. The caller must have only one thread. 0 or -errno.
 */
int tap_create_inside(int userns_fd, int netns_fd, const char *ifname, struct err *e);

#endif
