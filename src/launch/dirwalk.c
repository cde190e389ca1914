/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/dirwalk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/log.h"

/* The kernel shows this owner for an id that has no number in this user namespace. */
#define OVERFLOW_UID 65534

#define ADVICE "give a directory of your own, such as $XDG_RUNTIME_DIR/rootlesskit"

struct walk {
	struct dirwalk at;
	unsigned links;
	char rest[PATH_MAX]; /* the rest of the path, from at.fd on */
};

static bool in_user_namespace(void)
{
	char map[128], *end;
	unsigned long inside, outside, count;

	if (fd_read_file("/proc/self/uid_map", map, sizeof(map)) < 0)
		return false;
	inside = strtoul(map, &end, 10);
	outside = strtoul(end, &end, 10);
	count = strtoul(end, &end, 10);
	return inside != 0 || outside != 0 || count != 4294967295UL;
}

/* In a user namespace, / and the directories below it belong to an id from outside. As far as
 * anybody inside can tell, that is the administrator's. */
static bool owner_is_trusted(const struct stat *st)
{
	if (st->st_uid == geteuid() || st->st_uid == 0)
		return true;
	return st->st_uid == OVERFLOW_UID && in_user_namespace();
}

static bool is_shared(const struct stat *st)
{
	return (st->st_mode & (S_ISVTX | S_IWOTH)) == (S_ISVTX | S_IWOTH);
}

static int check_directory(struct walk *w, const char *name, struct err *e)
{
	struct stat st;

	if (fstat(w->at.fd, &st) < 0)
		return err_errno(e, -errno, "%s", name);
	if (!owner_is_trusted(&st))
		return err_set(e, -EPERM,
			       "the directory %s belongs to another user (uid %u), who can replace "
			       "what is in it; " ADVICE,
			       name, (unsigned)st.st_uid);
	w->at.exposed = (st.st_mode & (S_IWOTH | S_ISVTX)) == S_IWOTH || w->at.exposed;
	return 0;
}

/* Goes to the directory fd, and takes over the descriptor. */
static int move_to(struct walk *w, int fd, const char *name, struct err *e)
{
	close_fd(&w->at.fd);
	w->at.fd = fd;
	return check_directory(w, name, e);
}

static int start_at(struct walk *w, const char *dir, struct err *e)
{
	int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? err_errno(e, -errno, "%s", dir) : move_to(w, fd, dir, e);
}

/* Anybody can make a link in a directory like /tmp, and an id from outside the user namespace may
 * be anybody there. */
static int check_link(const struct walk *w, int link, const char *name, struct err *e)
{
	struct stat st, dir;

	if (fstat(link, &st) < 0 || fstat(w->at.fd, &dir) < 0)
		return err_errno(e, -errno, "%s", name);
	if (!S_ISLNK(st.st_mode))
		return err_errno(e, -ENOTDIR, "%s", name);
	if (!owner_is_trusted(&st) || (is_shared(&dir) && st.st_uid == OVERFLOW_UID))
		return err_set(e, -EPERM,
			       "%s is a symbolic link that another user (uid %u) has made: it is "
			       "not followed; " ADVICE,
			       name, (unsigned)st.st_uid);
	return 0;
}

/* Puts the link's target before the rest of the path. */
static int follow(struct walk *w, const char *name, struct err *e)
{
	auto_fd int link = openat(w->at.fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	char target[PATH_MAX], rest[PATH_MAX];
	ssize_t n;
	int code;

	if (link < 0)
		return err_errno(e, -errno, "%s", name);
	code = check_link(w, link, name, e);
	if (code)
		return code;
	if (++w->links > LIMIT_STATE_DIR_LINKS)
		return err_errno(e, -ELOOP, "%s", name);
	n = readlinkat(link, "", target, sizeof(target) - 1);
	if (n < 0)
		return err_errno(e, -errno, "%s", name);
	target[n] = '\0';
	memcpy(rest, w->rest, strlen(w->rest) + 1);
	if ((size_t)snprintf(w->rest, sizeof(w->rest), "%s/%s", target, rest) >= sizeof(w->rest))
		return err_errno(e, -ENAMETOOLONG, "%s", name);
	return target[0] == '/' ? start_at(w, "/", e) : 0;
}

static int make(struct walk *w, const char *name, struct err *e)
{
	if (mkdirat(w->at.fd, name, 0755) == 0)
		w->at.made++;
	else if (errno != EEXIST)
		return err_errno(e, -errno, "mkdir %s", name);
	return 0;
}

static int enter(struct walk *w, const char *name, struct err *e)
{
	/* O_DIRECTORY makes an automounter mount what belongs there. */
	const int flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(w->at.fd, name, flags), code;

	if (fd < 0 && errno == ENOENT) {
		code = make(w, name, e);
		if (code)
			return code;
		fd = openat(w->at.fd, name, flags);
	} else {
		w->at.made = 0; /* only new components at the end of the path count */
	}
	if (fd < 0 && errno == ENOTDIR)
		return follow(w, name, e);
	return fd < 0 ? err_errno(e, -errno, "%s", name) : move_to(w, fd, name, e);
}

/* Takes the first component off the rest of the path; "" when there is none. */
static int next_name(struct walk *w, char *name, size_t size)
{
	const char *from = w->rest + strspn(w->rest, "/");
	size_t len = strcspn(from, "/");

	if (len >= size)
		return -ENAMETOOLONG;
	memcpy(name, from, len);
	name[len] = '\0';
	memmove(w->rest, from + len, strlen(from + len) + 1);
	return 0;
}

static int walk_rest(struct walk *w, struct err *e)
{
	char name[NAME_MAX + 1];
	int code;

	do {
		code = next_name(w, name, sizeof(name));
		if (code)
			return err_errno(e, code, "%.80s...", w->rest);
		if (name[0] && strcmp(name, ".") != 0)
			code = enter(w, name, e);
	} while (!code && name[0]);
	return code;
}

int dirwalk_open(const char *path, struct dirwalk *out, struct err *e)
{
	struct walk w = {.at = DIRWALK_NONE};
	int code;

	*out = DIRWALK_NONE;
	if ((size_t)snprintf(w.rest, sizeof(w.rest), "%s", path) >= sizeof(w.rest))
		return err_errno(e, -ENAMETOOLONG, "%.80s...", path);
	if (!path[0])
		return err_errno(e, -ENOENT, "\"\"");
	code = start_at(&w, path[0] == '/' ? "/" : ".", e);
	code = code ? code : walk_rest(&w, e);
	if (code)
		dirwalk_undo(&w.at);
	*out = w.at;
	return code;
}

int dirwalk_path(int fd, char *buf, size_t size)
{
	char link[32];
	struct stat here, there;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, buf, size - 1);
	if (n < 0)
		return -errno;
	if ((size_t)n == size - 1)
		return -ENAMETOOLONG;
	buf[n] = '\0';
	/* A directory that was removed has a path, too, with a word added. */
	if (fstat(fd, &here) < 0 || fstatat(AT_FDCWD, buf, &there, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return here.st_dev == there.st_dev && here.st_ino == there.st_ino ? 0 : -ENOENT;
}

static int remove_from(int parent, int fd, const char *name)
{
	struct stat here, named;

	if (fstat(fd, &here) < 0 || fstatat(parent, name, &named, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (here.st_dev != named.st_dev || here.st_ino != named.st_ino)
		return -ENOENT;
	return unlinkat(parent, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

int dirwalk_rmdir(int fd, const char *path)
{
	auto_fd int parent = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return parent < 0 ? -errno : remove_from(parent, fd, strrchr(path, '/') + 1);
}

static int rmdir_anywhere(int fd)
{
	char path[PATH_MAX];
	int code = dirwalk_path(fd, path, sizeof(path));

	return code ? code : dirwalk_rmdir(fd, path);
}

void dirwalk_undo(struct dirwalk *w)
{
	int code = 0;

	for (; w->fd >= 0 && w->made && !code; w->made--) {
		int parent = openat(w->fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);

		code = parent < 0 ? -errno : rmdir_anywhere(w->fd);
		close_fd(&w->fd);
		w->fd = parent;
	}
	if (code)
		log_debug("state directory: cannot undo mkdir: %s", strerror(-code));
	close_fd(&w->fd);
	w->made = 0;
}
