/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_CGROUP2_H
#define RINGKIT_NS_CGROUP2_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "ns/mountinfo.h"

/*
 * Makes room for cgroups of the command's own (--evacuate-cgroup2). A cgroup that hands controllers
 * to groups below it may hold no process itself (cgroups(7), "no internal processes"). So before a
 * daemon can make limited groups beside its own, the processes of the cgroup that we were started
 * in must move to a group below it.
 */

/* Moves every process of our own cgroup, us and our child among them, to the group of this name
 * below it, which is made if it is missing, and then enables all available controllers for the
 * groups below. Call it where these processes are visible, that is outside of a new PID namespace,
 * and when the child has its cgroup namespace: that one's root stays what our cgroup was. Warns of
 * what cannot be moved or enabled. On a system without cgroup2 (cgroup v1 only) it warns and does
 * nothing. 0, or -errno with *e when the group cannot be made. */
int cgroup2_evacuate(const char *group, struct err *e);

/* Whether a cgroup2 filesystem is mounted anywhere. */
bool cgroup2_mounted(void);

/* Whether m is a cgroup2 mount. If the cgroup (a path as in /proc/PID/cgroup) can be seen in it,
 * out gets its directory, else "". */
bool cgroup2_directory(const struct mountinfo *m, const char *cgroup, char *out, size_t size);

#endif
