/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_COPYUP_H
#define RINGKIT_NS_COPYUP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/*
 * Copies up a directory in the mode tmpfs+symlink, in the child's mount namespace. dir becomes a
 * tmpfs in which each old entry is a symbolic link to the old content, so that it can be removed
 * and made anew. An old entry that is a symbolic link itself is made again with its own target.
 * dir/.roNUMBER is a link to where the old content is mounted: see copyup_around.h. The tmpfs has
 * the mode of the old directory and belongs to root of the namespace. 0 or -errno; *e names dir and
 * the step.
 */
int copyup_dir(const char *dir, struct err *e);

/* Whether path is one of the n dirs. Trailing slashes do not count. */
bool copyup_covers(char *const *dirs, size_t n, const char *path);

#endif
