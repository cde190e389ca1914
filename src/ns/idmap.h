/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_IDMAP_H
#define RINGKIT_NS_IDMAP_H

#include <sys/types.h>

#include "base/err.h"
#include "ns/subid.h"

/*
 * Writes the id maps of the user namespace of process pid with newuidmap(1) and newgidmap(1), both
 * at once: 0 is the user (uid, gid), 1 and up are the sub-ids, range after range. The parent calls
 * it, in the host's namespaces. -ECANCELED when abort_fd becomes readable (-1: never). 0 or -errno;
 * *e has the command, its output, and the remedy when the program is missing or lacks its rights.
 */
int idmap_write(pid_t pid, uid_t uid, gid_t gid, const struct subids *ids, int abort_fd,
		struct err *e);

/* The arguments for one of the two tools, NULL at the end: tool, pid, then triples. The words are
 * allocated; free them with idmap_args_free. NULL when out of memory. */
char **idmap_args(const char *tool, pid_t pid, unsigned own, const struct id_ranges *r);
void idmap_args_free(char **args);

#endif
