/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/statedir.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/state_names.h"
#include "launch/dirwalk.h"
#include "launch/statedir_names.h"

#define LOCK_TRIES 100
/* How often a directory that looks like a stranger's is tried again: an instance may empty or fill
 * it while we list it. */
#define EMPTY_TRIES 10

int statedir_path(const struct statedir *dir, const char *name, char *buf, size_t size)
{
	int n = snprintf(buf, size, "%s/%s", dir->path, name);

	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

static bool same_file(int a_fd, int b_fd)
{
	struct stat a, b;

	return fstat(a_fd, &a) == 0 && fstat(b_fd, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

/* Whether path is the directory dir_fd or below it. */
static bool is_below(const char *path, int dir_fd)
{
	auto_fd int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	while (fd >= 0 && !same_file(fd, dir_fd)) {
		int up = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);

		if (up >= 0 && same_file(up, fd))
			close_fd(&up);
		close_fd(&fd);
		fd = up;
	}
	return fd >= 0;
}

/* Refuses a directory that is the home directory or contains it, which would be removed at the end
 * when empty. */
static int check_no_home(const struct statedir *d, struct err *e)
{
	const char *home = getenv("HOME");
	const struct passwd *user = getpwuid(geteuid());

	if (!is_below("/", d->dir_fd) && !(home && is_below(home, d->dir_fd)) &&
	    !(user && user->pw_dir && is_below(user->pw_dir, d->dir_fd)))
		return 0;
	return err_set(e, -EINVAL,
		       "state directory %s: the home directory is in it; give a directory of its "
		       "own",
		       d->path);
}

static bool is_tmp(const struct stat *st)
{
	return st->st_mode & S_ISVTX;
}

static int check_owner(const struct statedir *d, struct err *e)
{
	struct stat st;

	if (fstat(d->dir_fd, &st) < 0)
		return err_errno(e, -errno, "state directory %s", d->path);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return err_set(e, -EPERM,
			       "state directory %s: it belongs to another user (uid %u), who can "
			       "replace what is in it; give a directory of your own, such as "
			       "$XDG_RUNTIME_DIR/rootlesskit",
			       d->path, (unsigned)st.st_uid);
	/* With an access control list (acl(5)), the bits of the group are the upper bound of what
	 * it grants. */
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return err_set(e, -EPERM,
			       "state directory %s: others may write it (mode %04o); give a "
			       "directory of your own%s%s%s",
			       d->path, (unsigned)st.st_mode & 07777,
			       is_tmp(&st) ? ", such as one in it"
					   : ", or take that away (chmod go-w ",
			       is_tmp(&st) ? "" : d->path, is_tmp(&st) ? "" : ")");
	return 0;
}

/* bind(2) could do without the path; clients that connect cannot. */
static int check_length(const struct statedir *d, struct err *e)
{
	const size_t max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;
	size_t len = strlen(d->path) + sizeof("/" STATE_API_SOCKET) - 1;

	if (len <= max)
		return 0;
	return err_set(e, -ENAMETOOLONG,
		       "state directory %s: too long: the path of " STATE_API_SOCKET
		       " would have %zu bytes, and a socket's has at most %zu; choose a shorter "
		       "--state-dir",
		       d->path, len, max);
}

static int check_empty(const struct statedir *d, struct err *e)
{
	char name[NAME_MAX + 1];
	int code = statedir_names_other(d->dir_fd, name);

	if (code == -ENOENT)
		return 0;
	if (code)
		return err_errno(e, code, "state directory %s: cannot list it", d->path);
	return err_set(e, -ENOTEMPTY,
		       "state directory %s: it is in use for something else: %s is in it, and no "
		       "lock of rootlesskit's; give an empty directory, or one that does not exist "
		       "yet",
		       d->path, name);
}

static int refuse_lock(const struct statedir *d, struct err *e)
{
	return err_set(e, -EEXIST,
		       "state directory %s: it is in use for something else: the lock in it is not "
		       "rootlesskit's; give an empty directory, or one that does not exist yet",
		       d->path);
}

/* Our lock is an empty regular file of this user. RootlessKit's is the same. */
static int check_lock(const struct statedir *d, struct err *e)
{
	struct stat st;

	if (fstat(d->lock_fd, &st) < 0)
		return err_errno(e, -errno, "%s/" STATE_LOCK, d->path);
	if (S_ISREG(st.st_mode) && st.st_uid == geteuid() && st.st_size == 0)
		return 0;
	return refuse_lock(d, e);
}

/* Whether openat(2) has met a link, a directory, a socket, or a file of another user. */
static bool is_no_lock(int error)
{
	return error == ELOOP || error == EISDIR || error == ENXIO || error == EACCES;
}

static int open_lock(struct statedir *d, bool *made, struct err *e)
{
	const int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	int code;

	d->lock_fd = openat(d->dir_fd, STATE_LOCK, flags);
	if (d->lock_fd >= 0)
		return check_lock(d, e);
	if (is_no_lock(errno))
		return refuse_lock(d, e);
	code = errno == ENOENT ? check_empty(d, e)
			       : err_errno(e, -errno, "failed to lock %s/lock", d->path);
	if (code)
		return code;
	d->lock_fd = openat(d->dir_fd, STATE_LOCK, flags | O_CREAT | O_EXCL, 0600);
	*made = d->lock_fd >= 0;
	if (!*made)
		return err_errno(e, errno == EEXIST ? -ENOENT : -errno,
				 "failed to lock %s/lock: open %s/lock", d->path, d->path);
	return 0;
}

/* An instance that ended may have removed the lock's file after we opened it and before we locked
 * it. */
static bool lock_is_current(const struct statedir *d)
{
	struct stat held, named;

	return fstat(d->lock_fd, &held) == 0 &&
	       fstatat(d->dir_fd, STATE_LOCK, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	       held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

static int take_lock(struct statedir *d, struct err *e)
{
	d->locked = flock(d->lock_fd, LOCK_EX | LOCK_NB) == 0;
	if (d->locked)
		return lock_is_current(d)
			       ? 0
			       : err_errno(e, -ENOENT, "failed to lock %s/lock", d->path);
	if (errno != EWOULDBLOCK)
		return err_errno(e, -errno, "failed to lock %s/lock", d->path);
	return err_set(e, -EBUSY,
		       "failed to lock %s/lock, another RootlessKit is running with the same state "
		       "directory?",
		       d->path);
}

static int lock_dir(struct statedir *d, struct err *e)
{
	bool made = false;
	int code = open_lock(d, &made, e);

	code = code ? code : take_lock(d, e);
	/* -EBUSY: another instance has locked the file. -ENOENT: it is gone. */
	if (code && made && code != -EBUSY && code != -ENOENT)
		unlinkat(d->dir_fd, STATE_LOCK, 0);
	return code;
}

static void release(struct statedir *d)
{
	close_fd(&d->lock_fd);
	close_fd(&d->dir_fd);
	*d = STATEDIR_NONE;
}

/* Locks the directory fd (of O_PATH) and puts it into *d. */
static int take_dir(int fd, bool made, struct statedir *d, struct err *e)
{
	int code;

	d->made = made;
	d->dir_fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	code = d->dir_fd < 0 ? -errno : dirwalk_path(d->dir_fd, d->path, sizeof(d->path));
	if (code)
		return err_errno(e, code, "state directory");
	code = check_owner(d, e);
	code = code ? code : check_length(d, e);
	/* A directory that was just made is nobody's home. */
	if (!code && !made)
		code = check_no_home(d, e);
	if (!code && faccessat(d->dir_fd, ".", W_OK | X_OK, AT_EACCESS) < 0)
		code = err_errno(e, -errno, "state directory %s: cannot write to it", d->path);
	return code ? code : lock_dir(d, e);
}

/* Tries once to make the directory ours. */
static int claim(const char *path, struct statedir *d, struct err *e)
{
	struct dirwalk w;
	int code = dirwalk_open(path, &w, e);

	if (code)
		return err_wrap(e, code, "state directory %s", path);
	code = take_dir(w.fd, w.made > 0, d, e);
	if (code) {
		release(d);
		dirwalk_undo(&w);
		return code;
	}
	close_fd(&w.fd);
	if (w.exposed)
		log_warning("state directory %s: everybody may write to a directory that it is in, "
			    "and so replace it",
			    d->path);
	return 0;
}

/* Removes what a crash has left. */
static int clear(struct statedir *d, struct err *e)
{
	char name[NAME_MAX + 1];
	int code;

	d->crashed = statedir_names_remain(d->dir_fd);
	code = statedir_names_remove(d->dir_fd, d->path, e);
	if (code)
		release(d);
	else if (statedir_names_other(d->dir_fd, name) == 0)
		log_debug("state directory %s: %s is not ours and stays", d->path, name);
	return code;
}

static int open_named(const char *path, struct statedir *d, struct err *e)
{
	int code = -ENOENT;

	/* Tries again when an instance that is ending removes the directory or its lock at the same
	 * time. */
	for (int i = 0; code == -ENOENT ? i < LOCK_TRIES : code == -ENOTEMPTY && i < EMPTY_TRIES;
	     i++)
		code = claim(path, d, e);
	return code ? code : clear(d, e);
}

static int open_temporary(struct statedir *d, struct err *e)
{
	const char *tmp = getenv("TMPDIR");
	char path[PATH_MAX];
	int code;

	if (!tmp || !*tmp)
		tmp = "/tmp";
	if ((size_t)snprintf(path, sizeof(path), "%s/rootlesskitXXXXXX", tmp) >= sizeof(path))
		return err_errno(e, -ENAMETOOLONG, "TMPDIR");
	if (!mkdtemp(path))
		return err_errno(e, -errno, "creating a state directory in %s", tmp);
	code = claim(path, d, e);
	if (code) {
		rmdir(path);
		return err_wrap(e, code, "TMPDIR=%s", tmp);
	}
	d->made = true;
	if (flock(d->dir_fd, LOCK_SH) < 0)
		log_debug("flock %s: %s", d->path, strerror(errno));
	return 0;
}

int statedir_open(const char *path, struct statedir *out, struct err *e)
{
	*out = STATEDIR_NONE;
	return path ? open_named(path, out, e) : open_temporary(out, e);
}

static int write_pid(int fd, pid_t pid)
{
	char text[16];
	int code;

	snprintf(text, sizeof(text), "%d", (int)pid);
	code = fd_write_all(fd, text, strlen(text));
	if (!code && fchmod(fd, 0444) < 0)
		code = -errno;
	return code;
}

int statedir_write_child_pid(const struct statedir *dir, pid_t pid, struct err *e)
{
	auto_fd int fd = openat(dir->dir_fd, STATE_CHILD_PID_NEW,
				O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
	int code = fd < 0 ? -errno : write_pid(fd, pid);

	if (!code && renameat(dir->dir_fd, STATE_CHILD_PID_NEW, dir->dir_fd, STATE_CHILD_PID) < 0)
		code = -errno;
	return code ? err_errno(e, code, "failed to write the child PID to %s/child_pid", dir->path)
		    : 0;
}

/* Whether it is all right that the directory stays. One that was there before may be a mount, or in
 * a directory that we may not change. */
static bool may_stay(const struct statedir *d, int code)
{
	if (code == -ENOENT || code == -ENOTEMPTY) /* another instance has moved in */
		return true;
	return !d->made && (code == -EACCES || code == -EPERM || code == -EBUSY || code == -EROFS);
}

static int remove_dir(const struct statedir *d)
{
	int code;

	/* The lock goes last: while it is there and locked, no other instance takes the
	 * directory. */
	if (unlinkat(d->dir_fd, STATE_LOCK, 0) < 0 && errno != ENOENT)
		return -errno;
	code = dirwalk_rmdir(d->dir_fd, d->path);
	return code && !may_stay(d, code) ? code : 0;
}

void statedir_close(struct statedir *dir)
{
	char name[NAME_MAX + 1];
	struct err e = {0};
	int code;

	if (dir->dir_fd < 0)
		return;
	code = statedir_names_remove(dir->dir_fd, dir->path, &e);
	if (code) {
		log_warning("%s", e.msg);
	} else if (statedir_names_other(dir->dir_fd, name) == 0) {
		log_warning("the state directory %s is kept: %s in it is not rootlesskit's",
			    dir->path, name);
	} else {
		code = remove_dir(dir);
		if (code)
			log_warning("cannot remove the state directory %s: %s", dir->path,
				    strerror(-code));
	}
	release(dir);
}
