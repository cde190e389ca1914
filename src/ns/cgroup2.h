/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_CGROUP2_H
#define RINGKIT_NS_CGROUP2_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "ns/mountinfo.h"

/*
 * Making room for cgroups of the command's own: cgroups(7), "no internal processes". A cgroup that
 * hands controllers to groups below it may hold no process itself. So before a daemon can make
 * limited groups beside its own, the processes of the cgroup that we were started in move to a
 * group below it. This is RootlessKit's --evacuate-cgroup2.
 */

/* Moves every process of our own cgroup, us and our child among them, to the group below it of this
 * name, which is made if it is not there, and then enables all controllers there are for the groups
 * below. To be called where these processes are seen, that is outside of a new PID namespace, and
 * when the child has its cgroup namespace, whose root stays what our cgroup was.
 * What cannot be moved or enabled gives a warning; so does a system without cgroup2 (cgroup v1
 * only), where nothing happens. 0 or -errno with *e when the group cannot be made. */
int cgroup2_evacuate(const char *group, struct err *e);

/* Whether a cgroup2 filesystem is mounted anywhere. */
bool cgroup2_mounted(void);

/* cgroup: a path as /proc/PID/cgroup has it. Whether this is a cgroup2 mount; if the cgroup is to
 * be seen in it, out gets the directory, else "". */
bool cgroup2_directory(const struct mountinfo *m, const char *cgroup, char *out, size_t size);

#endif
