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
 *
 * Users name a directory by mistake, and neighbours put things where it is expected. So it is
 * reached without following anybody else's link (dirwalk.h), it must be ours with nobody else
 * allowed to write, and all that happens in it goes by descriptor. Only names of
 * base/state_names.h are ever removed, and only under our lock: whatever else is in there stays.
 */
struct statedir {
	char path[PATH_MAX]; /* absolute; "" when there is none */
	int dir_fd, lock_fd;
	bool locked;  /* lock_fd holds the lock */
	bool made;    /* by us */
	bool crashed; /* an instance was killed and has left its files */
};

#define STATEDIR_NONE ((struct statedir){.dir_fd = -1, .lock_fd = -1})

/*
 * path NULL: makes a temporary one below $TMPDIR or /tmp, with a shared flock on the directory
 * itself, which keeps systemd-tmpfiles(8) away. Otherwise makes path and its parents, takes the
 * lock and removes what a crash has left. Refused, with nothing changed: a directory that another
 * instance uses, that others own or may write, that holds the home directory, or that has
 * something in it but no lock of ours; and a path that is too long for api.sock. 0 or -errno, then
 * nothing is held, and nothing that was made is left.
 */
int statedir_open(const char *path, struct statedir *out, struct err *e);

/* Writes child_pid, mode 0444; readers never see it half written. 0 or -errno. */
int statedir_write_child_pid(const struct statedir *dir, pid_t pid, struct err *e);

/* Removes what is ours, and the directory if nothing else is in it. With something else in it, the
 * lock file stays as well: that is how the next start knows the directory. */
void statedir_close(struct statedir *dir);

/* NAME in the directory, into buf; -ENAMETOOLONG when it does not fit, else 0. */
int statedir_path(const struct statedir *dir, const char *name, char *buf, size_t size);

#endif
