/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_IDMAP_H
#define RINGKIT_NS_IDMAP_H

#include <sys/types.h>

#include "base/err.h"
#include "ns/subid.h"

/*
 * Writes the id maps of the user namespace of process pid with newuidmap(1) and newgidmap(1): 0 is
 * the user (uid, gid), 1 and up are the sub-ids, range after range. Both run at once. Called by
 * the parent, in the host's namespaces. Given up with -ECANCELED when abort_fd is readable (-1:
 * never). 0 or -errno; *e has the command, what it said, and the remedy when it is missing or may
 * not.
 */
int idmap_write(pid_t pid, uid_t uid, gid_t gid, const struct subids *ids, int abort_fd,
		struct err *e);

/* The arguments for one of them, NULL at the end: tool, pid, then triples. Words are allocated,
 * free with idmap_args_free. NULL when out of memory. */
char **idmap_args(const char *tool, pid_t pid, unsigned own, const struct id_ranges *r);
void idmap_args_free(char **args);

#endif
