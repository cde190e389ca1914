/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_MOUNTINFO_H
#define RINGKIT_NS_MOUNTINFO_H

#include <stdbool.h>

/* Reads the mounts of this process's mount namespace from /proc/self/mountinfo (proc(5)). */

/* One mount. The strings lie in the line that they were read from; escapes are undone. */
struct mountinfo {
	const char *root;  /* the part of the file system that is mounted */
	const char *point; /* where */
	const char *type;  /* "cgroup2" */
	bool shared;	   /* in a peer group: mount_namespaces(7) */
};

/* Parses a line, in place. False: it is no line of mountinfo. */
bool mountinfo_parse(char *line, struct mountinfo *m);

/* Calls fn for each mount, lower ones first. Stops when fn returns nonzero, and returns that. 0, or
 * -errno when the list cannot be read. */
int mountinfo_each(int (*fn)(void *arg, const struct mountinfo *m), void *arg);

#endif
