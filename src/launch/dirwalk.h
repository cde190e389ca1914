/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_LAUNCH_DIRWALK_H
#define RINGKIT_LAUNCH_DIRWALK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/*
 * Walks the path to a directory one component at a time, so that no other user decides where it
 * leads. The kernel's protected_symlinks has the same aim, but it may be off, and it covers only
 * directories like /tmp.
 */
struct dirwalk {
	int fd;	       /* O_PATH of the directory reached; the caller closes it */
	unsigned made; /* how many components at the end of the path are new */
	bool exposed;  /* everybody may write to a directory on the way, and it is not sticky */
};

#define DIRWALK_NONE ((struct dirwalk){.fd = -1})

/*
 * Goes to path, and makes what is missing, as mkdir -p does. Every directory and symbolic link on
 * the way must belong to this user or to root. 0; -EPERM with *e when something on the way belongs
 * to somebody else; or -errno. After a failure nothing that was made is left, and out->fd is -1.
 */
int dirwalk_open(const char *path, struct dirwalk *out, struct err *e);

/* Removes the last w->made components of the path, except directories that are not empty, and
 * closes w->fd. */
void dirwalk_undo(struct dirwalk *w);

/* Removes the directory fd, whose absolute path was `path`, if it is empty. 0 or -errno; -ENOENT
 * when it has been removed or moved, or another one is in its place. */
int dirwalk_rmdir(int fd, const char *path);

/* Puts the current absolute path of the directory fd into buf. 0 or -errno. */
int dirwalk_path(int fd, char *buf, size_t size);

#endif
