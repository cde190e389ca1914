/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_SYSCTL_H
#define RINGKIT_NS_SYSCTL_H

#include "base/err.h"

/* Sets a sysctl of the network namespace that the caller is in, by its path below /proc/sys/net.
 * Needs the rights of its root there, and a /proc that can be written to. 0 or -errno with *e. */
int sysctl_set(const char *name, const char *value, struct err *e);

#endif
