/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_LAUNCH_STATEDIR_H
#define RINGKIT_LAUNCH_STATEDIR_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * The parent's state directory: lock, child_pid, api.sock. One instance at a time owns it, by
 * flock(2) on its lock file.
 *
 * Users name a wrong directory by mistake, and other users put things where they expect it. So the
 * path is walked without following another user's link (dirwalk.h), the directory must be ours with
 * nobody else allowed to write, and everything in it is reached by descriptor. Only names of
 * base/state_names.h are ever removed, and only while we hold the lock: whatever else is in there
 * stays.
 */
struct statedir {
	char path[PATH_MAX]; /* absolute; "" when there is none */
	int dir_fd, lock_fd;
	bool locked;  /* lock_fd holds the lock */
	bool made;    /* we made it */
	bool crashed; /* the last instance was killed and has left its files */
};

#define STATEDIR_NONE ((struct statedir){.dir_fd = -1, .lock_fd = -1})

/*
 * Opens and locks a state directory. With path NULL it makes a temporary one below $TMPDIR or /tmp,
 * and holds a shared flock on the directory itself, which keeps systemd-tmpfiles(8) away. Otherwise
 * it makes path and its parents, takes the lock and removes what a crash has left. It refuses, and
 * changes nothing in: a directory that another instance uses, that others own or may write, that
 * contains the home directory, or that has something in it but no lock of ours; and a path that is
 * too long for api.sock. 0 or -errno; after an error nothing is held, and nothing that was made is
 * left.
 */
int statedir_open(const char *path, struct statedir *out, struct err *e);

/* Writes child_pid, mode 0444; readers never see it half written. 0 or -errno. */
int statedir_write_child_pid(const struct statedir *dir, pid_t pid, struct err *e);

/* Removes our files, and the directory if nothing else is in it. Otherwise the lock file stays as
 * well: by it the next start recognises the directory. */
void statedir_close(struct statedir *dir);

/* Puts the path of NAME in the directory into buf. 0, or -ENAMETOOLONG when it does not fit. */
int statedir_path(const struct statedir *dir, const char *name, char *buf, size_t size);

#endif
