/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_LAUNCH_STATEDIR_NAMES_H
#define RINGKIT_LAUNCH_STATEDIR_NAMES_H

#include <limits.h>
#include <stdbool.h>

#include "base/err.h"

/*
 * Looks for our names in a state directory, and removes them. The lock is not among them.
 */

/* Whether the files show that an instance came as far as having ports. */
bool statedir_names_remain(int dir_fd);

/* Removes all our names. A directory of such a name stays, and is an error: -EEXIST. Goes on after
 * a failure and returns the first one. path: that of the directory, for *e. */
int statedir_names_remove(int dir_fd, const char *path, struct err *e);

/* Puts the name of any entry of the directory other than the lock into name. 0, -ENOENT when there
 * is none, or -errno. */
int statedir_names_other(int dir_fd, char name[NAME_MAX + 1]);

#endif
