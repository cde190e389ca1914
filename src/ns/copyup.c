/* SPDX-License-Identifier: Apache-2.0 */
#include "ns/copyup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/linux_calls.h"
#include "ns/copyup_around.h"

static int link_entry(int top_fd, int sub_fd, const char *sub, const struct dirent *d)
{
	char target[PATH_MAX];
	ssize_t n = -1;

	if (d->d_type == DT_LNK || d->d_type == DT_UNKNOWN) {
		n = readlinkat(sub_fd, d->d_name, target, sizeof(target) - 1);
		if (n >= 0)
			target[n] = '\0';
		else if (d->d_type == DT_LNK)
			return -errno;
	}
	if (n < 0)
		snprintf(target, sizeof(target), "%s/%s", sub, d->d_name);
	return symlinkat(target, top_fd, d->d_name) < 0 ? -errno : 0;
}

/* Fills the directory at top_fd with links to the entries of its subdirectory sub, open as sub_fd.
 * 0 or -errno. */
static int copyup_link_entries(int top_fd, int sub_fd, const char *sub, struct err *e)
{
	int fd = openat(sub_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct dirent *d;
	DIR *dir;
	int code = 0;

	if (fd < 0)
		return err_errno(e, -errno, "cannot list the directory");
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return err_errno(e, -ENOMEM, "cannot list the directory");
	}
	while (!code && (errno = 0, d = readdir(dir))) {
		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
			continue;
		code = link_entry(top_fd, sub_fd, sub, d);
		if (code)
			err_errno(e, code, "cannot make a link for %.200s", d->d_name);
	}
	if (!d && errno)
		code = err_errno(e, -errno, "cannot list the directory");
	closedir(dir);
	return code;
}

/* Moves the old content, a mount tree, below the new tmpfs, to where the link sub leads. */
static int move_below(int top, const char *sub, int tree, const char *path, struct err *e)
{
	char around[32], target[PATH_MAX + sizeof(around)];
	auto_fd int at = -1;

	snprintf(around, sizeof(around), "%s.up", sub);
	snprintf(target, sizeof(target), "%s%s", around, path);
	at = copyup_make_around(top, around, path);
	if (at < 0)
		return err_errno(e, at, "cannot make %s", around);
	if (linux_move_mount(tree, "", at, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) <
	    0)
		return err_errno(e, -errno, "cannot move the old content to %s", target);
	if (symlinkat(target, top, sub) < 0)
		return err_errno(e, -errno, "cannot make %s", sub);
	return 0;
}

/* Fills the new tmpfs top. path: of the old directory, without symbolic links. */
static int fill(int top, int tree, const char *path, struct err *e)
{
	auto_fd int sub_fd = -1;
	unsigned number;
	char sub[24];
	int code;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return err_errno(e, -errno, "getrandom");
	snprintf(sub, sizeof(sub), ".ro%u", number);
	code = move_below(top, sub, tree, path, e);
	if (code)
		return code;
	sub_fd = openat(top, sub, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (sub_fd < 0)
		return err_errno(e, -errno, "cannot open %s", sub);
	return copyup_link_entries(top, sub_fd, sub, e);
}

/* Makes a tmpfs that is not mounted anywhere yet. Its descriptor, of O_PATH, or -errno. */
static int make_tmpfs(mode_t mode)
{
	auto_fd int fs = linux_fsopen("tmpfs", FSOPEN_CLOEXEC);
	char octal[16];
	int fd;

	snprintf(octal, sizeof(octal), "%o", (unsigned)mode & 07777);
	if (fs < 0 || linux_fsconfig(fs, FSCONFIG_SET_STRING, "source", "none", 0) < 0 ||
	    linux_fsconfig(fs, FSCONFIG_SET_STRING, "mode", octal, 0) < 0 ||
	    linux_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	fd = linux_fsmount(fs, FSMOUNT_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static int mount_tmpfs(int dir_fd, mode_t mode, int *out)
{
	auto_fd int top = make_tmpfs(mode);

	if (top < 0)
		return top;
	if (linux_move_mount(top, "", dir_fd, "",
			     MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return -errno;
	*out = steal_fd(&top);
	return 0;
}

static int path_of(int fd, char out[PATH_MAX], struct err *e)
{
	char name[32];
	ssize_t n;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	n = readlink(name, out, PATH_MAX - 1);
	if (n < 0)
		return err_errno(e, -errno, "cannot read %s", name);
	out[n] = '\0';
	return 0;
}

/* Whether st is the root directory, on which nobody would see a mount. */
static bool is_root(const struct stat *st)
{
	struct stat root;

	return stat("/", &root) == 0 && st->st_dev == root.st_dev && st->st_ino == root.st_ino;
}

/* The path is looked up only once. Otherwise somebody who can change a part of it could make us
 * copy one directory and cover another one. */
int copyup_dir(const char *dir, struct err *e)
{
	auto_fd int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC), tree = -1, top = -1;
	char path[PATH_MAX];
	struct stat st;
	int code;

	if (fd >= 0)
		tree = linux_open_tree(
			fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_EMPTY_PATH);
	if (tree < 0 || fstat(fd, &st) < 0)
		return err_errno(e, -errno, "failed to create bind mount on %s", dir);
	if (is_root(&st))
		return err_set(e, -EINVAL, "failed to copy-up %s: name directories in it instead",
			       dir);
	code = path_of(fd, path, e);
	if (code)
		return err_wrap(e, code, "failed to copy-up %s", dir);
	code = mount_tmpfs(fd, st.st_mode, &top);
	if (code)
		return err_errno(e, code, "failed to mount tmpfs on %s", dir);
	code = fill(top, tree, path, e);
	return code ? err_wrap(e, code, "failed to copy-up %s", dir) : 0;
}

static size_t length_without_slashes(const char *s)
{
	size_t n = strlen(s);

	while (n > 1 && s[n - 1] == '/')
		n--;
	return n;
}

bool copyup_covers(char *const *dirs, size_t n, const char *path)
{
	size_t len = length_without_slashes(path);

	for (size_t i = 0; i < n; i++)
		if (length_without_slashes(dirs[i]) == len && !memcmp(dirs[i], path, len))
			return true;
	return false;
}
