/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_MOUNTS_H
#define RINGKIT_NS_MOUNTS_H

#include <stdbool.h>

#include "base/err.h"

/*
 * The child's mounts, in its own mount namespace: mount_namespaces(7), mount(2).
 */

/* Sets the propagation of all mounts. name: "rprivate", "rslave", "rshared". 0 or -errno. */
int mounts_set_propagation(const char *name, struct err *e);

/* Whether the mount of / is shared with others: only then can mounts propagate in or out at all
 * (mount_namespaces(7)). True also when that cannot be found out. */
bool mounts_root_is_shared(void);

/* Mounts a new /proc for the new pid namespace. Where the kernel refuses a writable one (because a
 * part of the outer /proc is masked) it mounts a read-only one, and where that fails, too, the
 * outer one stays. It warns in both cases. */
void mounts_proc(void);

/* Whether /sys/fs/cgroup is cgroup2 itself, and not a directory with the hierarchies of cgroup
 * v1. */
bool mounts_has_cgroup2(void);

/* Mounts a new /sys for the new network namespace, with the old /sys/fs/cgroup on it. cgroup2: with
 * the view of our cgroup namespace there instead. Refusals are handled as in mounts_proc. */
void mounts_sys(bool cgroup2);

/* Mounts the view of our cgroup namespace on /sys/fs/cgroup, where /sys stays the host's. */
void mounts_cgroup2(void);

#endif
