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

/* Whether the mount that / is is shared with others, so that mounts can come in and go out at all:
 * mount_namespaces(7). True also when that cannot be found out. */
bool mounts_root_is_shared(void);

/* A new /proc for the new pid namespace. Where the kernel refuses a writable one (something of the
 * outer /proc is masked), a read-only one, and failing that the outer one stays; both with a
 * warning. */
void mounts_proc(void);

/* Whether /sys/fs/cgroup is cgroup2, and not a directory of those of cgroup v1. */
bool mounts_has_cgroup2(void);

/* A new /sys for the new network namespace, with the old /sys/fs/cgroup on it. cgroup2: the view of
 * our cgroup namespace there instead. Refusals as mounts_proc. */
void mounts_sys(bool cgroup2);

/* That view on /sys/fs/cgroup where /sys stays the host's. */
void mounts_cgroup2(void);

#endif
