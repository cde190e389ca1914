/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_SYSCTL_H
#define RINGKIT_NS_SYSCTL_H

#include "base/err.h"

/* Sets a sysctl of the network namespace that the caller is in. name: its path below /proc/sys/net.
 * The caller needs the rights of the namespace's root, and a /proc that is writable. 0 or -errno
 * with *e. */
int sysctl_set(const char *name, const char *value, struct err *e);

#endif
