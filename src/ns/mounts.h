/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_MOUNTS_H
#define RINGKIT_NS_MOUNTS_H

#include <stdbool.h>

#include "base/err.h"

/*
 * Mounts of the child, in its own mount namespace: mount_namespaces(7), mount(2).
 */

/* name: "rprivate", "rslave", "rshared". Applies to every mount there is. 0 or -errno. */
int mounts_set_propagation(const char *name, struct err *e);

/* A new /proc for the new pid namespace. Where the kernel refuses a writable one (something of the
 * outer /proc is masked), a read-only one, and failing that the outer one stays; both with a
 * warning. */
void mounts_proc(void);

/* A new /sys for the new network namespace, with the old /sys/fs/cgroup on it. cgroupns: a new
 * cgroup2 view instead, on hosts where /sys/fs/cgroup is cgroup2. Refusals as mounts_proc. */
void mounts_sys(bool cgroupns);

/* On --net=host a new cgroup2 view on /sys/fs/cgroup after all, with a cgroup namespace. */
void mounts_cgroup2(void);

#endif
