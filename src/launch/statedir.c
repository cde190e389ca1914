/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/statedir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

#define LOCK_FILE  "lock"
#define LOCK_TRIES 100

int statedir_path(const struct statedir *dir, const char *name, char *buf, size_t size)
{
	int n = snprintf(buf, size, "%s/%s", dir->path, name);

	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

/* Calls itself as deep as directories go in the state directory, which we made. */
static int remove_entry(int dir_fd, const char *name);

/* Removes all in the directory dir_fd but the entry called keep (NULL: nothing). Stays on the
 * filesystem and follows no links. Goes on after a failure; returns the first one. */
static int empty_dir(int dir_fd, const char *keep)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct dirent *d;
	int first = 0;
	DIR *dir;

	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	while ((errno = 0, d = readdir(dir))) {
		int code;

		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, "..") ||
		    (keep && !strcmp(d->d_name, keep)))
			continue;
		code = remove_entry(dir_fd, d->d_name);
		first = first ? first : code;
	}
	first = first ? first : -errno;
	closedir(dir);
	return first;
}

static int remove_subdir(int dir_fd, const char *name)
{
	auto_fd int sub = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat outer, inner;
	int code = 0;

	if (sub < 0)
		return -errno;
	if (fstat(dir_fd, &outer) < 0 || fstat(sub, &inner) < 0)
		return -errno;
	if (outer.st_dev != inner.st_dev)
		return -EXDEV;
	code = empty_dir(sub, NULL);
	if (code)
		return code;
	return unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

static int remove_entry(int dir_fd, const char *name)
{
	if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	return errno == EISDIR || errno == EPERM ? remove_subdir(dir_fd, name) : -errno;
}

/* mkdir -p; *made tells whether the last part is new. */
static int make_dirs(const char *path, bool *made, struct err *e)
{
	char part[PATH_MAX];
	size_t len = strlen(path);

	if (len >= sizeof(part))
		return err_errno(e, -ENAMETOOLONG, "state directory %.80s...", path);
	for (size_t i = 1; i <= len; i++) {
		if (i < len && path[i] != '/')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		*made = mkdir(part, 0755) == 0;
		if (!*made && errno != EEXIST)
			return err_errno(e, -errno, "state directory: mkdir %s", part);
	}
	return 0;
}

/* Whether dir is the root or holds the home directory: --state-dir=$HOME must not cost it. */
static bool holds_home(const char *dir)
{
	const char *home = getenv("HOME");
	char real[PATH_MAX];
	size_t len = strlen(dir);

	if (!strcmp(dir, "/"))
		return true;
	if (!home || !realpath(home, real))
		return false;
	return !strncmp(real, dir, len) && (real[len] == '\0' || real[len] == '/');
}

static int lock_dir(struct statedir *d, struct err *e)
{
	d->dir_fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->dir_fd < 0)
		return err_errno(e, -errno, "state directory %s", d->path);
	d->lock_fd = openat(d->dir_fd, LOCK_FILE, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (d->lock_fd < 0)
		return err_errno(e, -errno, "failed to lock %s/lock: open %s/lock", d->path,
				 d->path);
	d->locked = flock(d->lock_fd, LOCK_EX | LOCK_NB) == 0;
	if (d->locked)
		return 0;
	if (errno != EWOULDBLOCK)
		return err_errno(e, -errno, "failed to lock %s/lock", d->path);
	return err_set(e, -EBUSY,
		       "failed to lock %s/lock, another RootlessKit is running with the same state "
		       "directory?",
		       d->path);
}

/* The lock's file may have been removed, by an instance that ended, after we opened and before we
 * locked it. */
static bool lock_is_current(const struct statedir *d)
{
	struct stat held, named;

	return fstat(d->lock_fd, &held) == 0 &&
	       fstatat(d->dir_fd, LOCK_FILE, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	       held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

static void release(struct statedir *d)
{
	d->locked = false;
	close_fd(&d->lock_fd);
	close_fd(&d->dir_fd);
}

static int open_temporary(struct statedir *d, struct err *e)
{
	const char *tmp = getenv("TMPDIR");
	char real[PATH_MAX];
	int code;

	if (!tmp || !*tmp)
		tmp = "/tmp";
	if ((size_t)snprintf(d->path, sizeof(d->path), "%s/rootlesskitXXXXXX", tmp) >=
	    sizeof(d->path)) {
		d->path[0] = '\0';
		return err_errno(e, -ENAMETOOLONG, "TMPDIR");
	}
	if (!mkdtemp(d->path)) {
		code = err_errno(e, -errno, "creating a state directory in %s", tmp);
		d->path[0] = '\0';
		return code;
	}
	d->made = true;
	memcpy(real, d->path, sizeof(real));
	if (real[0] != '/' && !realpath(real, d->path))
		return err_errno(e, -errno, "state directory %s", real);
	code = lock_dir(d, e);
	if (!code && flock(d->dir_fd, LOCK_SH) < 0)
		log_debug("flock %s: %s", d->path, strerror(errno));
	return code;
}

/* Makes it if need be and takes the lock: one try. */
static int claim(const char *path, struct statedir *d, struct err *e)
{
	int code;

	release(d);
	code = make_dirs(path, &d->made, e);
	if (code)
		return code;
	if (!realpath(path, d->path)) {
		code = err_errno(e, -errno, "state directory %s", path);
		d->path[0] = '\0';
		if (d->made)
			rmdir(path);
		return code;
	}
	if (holds_home(d->path))
		return err_set(
			e, -EINVAL,
			"state directory %s: it would be emptied, and the home directory is in it; "
			"give a directory of its own",
			d->path);
	code = lock_dir(d, e);
	if (code)
		return code;
	return lock_is_current(d) ? 0 : err_errno(e, -ENOENT, "failed to lock %s/lock", d->path);
}

/* An instance that had come as far as having ports. */
static bool has_remains(int dir_fd)
{
	static const char *const names[] = {"api.sock", "hosts", "child_pid"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (faccessat(dir_fd, names[i], F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			return true;
	return false;
}

static int open_named(const char *path, struct statedir *d, struct err *e)
{
	int code = -ENOENT;

	/* An instance that ends just now removes the directory or its lock under our hands: again.
	 */
	for (int i = 0; code == -ENOENT && i < LOCK_TRIES; i++)
		code = claim(path, d, e);
	if (code)
		return code;
	d->crashed = has_remains(d->dir_fd);
	code = empty_dir(d->dir_fd, LOCK_FILE);
	return code ? err_errno(e, code, "state directory %s: cannot empty it", d->path) : 0;
}

int statedir_open(const char *path, struct statedir *out, struct err *e)
{
	int code;

	*out = STATEDIR_NONE;
	code = path ? open_named(path, out, e) : open_temporary(out, e);
	if (!code)
		return 0;
	/* -EBUSY: it has become another instance's, and so has the file. */
	if (out->made && out->lock_fd >= 0 && code != -EBUSY)
		unlinkat(out->dir_fd, LOCK_FILE, 0);
	release(out);
	/* Fails where somebody else has moved in. */
	if (out->made && out->path[0])
		rmdir(out->path);
	return code;
}

int statedir_write_child_pid(const struct statedir *dir, pid_t pid, struct err *e)
{
	char text[16];
	auto_fd int fd = openat(dir->dir_fd, ".child_pid",
				O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
	int code;

	if (fd < 0)
		return err_errno(e, -errno, "failed to write the child PID to %s/child_pid",
				 dir->path);
	snprintf(text, sizeof(text), "%d", (int)pid);
	code = fd_write_all(fd, text, strlen(text));
	if (!code && (fchmod(fd, 0444) < 0 ||
		      renameat(dir->dir_fd, ".child_pid", dir->dir_fd, "child_pid") < 0))
		code = -errno;
	return code ? err_errno(e, code, "failed to write the child PID to %s/child_pid", dir->path)
		    : 0;
}

void statedir_close(struct statedir *dir)
{
	int code;

	if (dir->dir_fd < 0)
		return;
	/* The lock's name goes last: while it is there and locked, nobody else moves in. */
	code = empty_dir(dir->dir_fd, LOCK_FILE);
	if (unlinkat(dir->dir_fd, LOCK_FILE, 0) < 0 && errno != ENOENT)
		code = code ? code : -errno;
	/* Not empty any more: another instance has moved in. */
	if (rmdir(dir->path) < 0 && errno != ENOENT && errno != ENOTEMPTY)
		code = code ? code : -errno;
	if (code)
		log_warning("cannot remove the state directory %s: %s", dir->path, strerror(-code));
	release(dir);
}
