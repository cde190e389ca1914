/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_LAUNCH_STATEDIR_H
#define RINGKIT_LAUNCH_STATEDIR_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * The state directory of the parent: lock, child_pid, api.sock. One instance at a time owns it, by
 * flock(2) on its lock file.
 */
struct statedir {
	char path[PATH_MAX]; /* absolute; "" when there is none */
	int dir_fd, lock_fd;
	bool locked;  /* lock_fd holds the lock */
	bool made;    /* by us: goes even when the set-up failed early */
	bool crashed; /* an instance was killed and has left its files */
};

#define STATEDIR_NONE ((struct statedir){.dir_fd = -1, .lock_fd = -1})

/*
 * path NULL: makes a temporary one below $TMPDIR or /tmp, with a shared flock on the directory
 * itself, which keeps systemd-tmpfiles(8) away. Otherwise makes path and its parents, takes the
 * lock and empties it: a crash may have left things. Refuses a directory that another instance
 * uses, and one that holds the home directory (it would be emptied too). 0 or -errno, then nothing
 * is held.
 */
int statedir_open(const char *path, struct statedir *out, struct err *e);

/* Writes child_pid, mode 0444; readers never see it half written. 0 or -errno. */
int statedir_write_child_pid(const struct statedir *dir, pid_t pid, struct err *e);

/* Removes the directory and all in it, and lets go of the lock. */
void statedir_close(struct statedir *dir);

/* NAME in the directory, into buf; -ENAMETOOLONG when it does not fit, else 0. */
int statedir_path(const struct statedir *dir, const char *name, char *buf, size_t size);

#endif
