/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_MOUNTINFO_H
#define RINGKIT_NS_MOUNTINFO_H

#include <stdbool.h>

/* The mounts of this process's mount namespace, from /proc/self/mountinfo (proc(5)). */

/* One of them. The strings lie in the line that they were read from; escapes are undone. */
struct mountinfo {
	const char *root;  /* of the file system: what of it is mounted */
	const char *point; /* where */
	const char *type;  /* "cgroup2" */
	bool shared;	   /* in a peer group: mount_namespaces(7) */
};

/* Takes a line apart, in place. False: no line of mountinfo. */
bool mountinfo_parse(char *line, struct mountinfo *m);

/* Calls fn for each mount, those below first; stops when it returns nonzero and returns that.
 * 0, or -errno when the list cannot be read. */
int mountinfo_each(int (*fn)(void *arg, const struct mountinfo *m), void *arg);

#endif
