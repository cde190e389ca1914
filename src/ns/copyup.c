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

int copyup_link_entries(int top_fd, int sub_fd, const char *sub, struct err *e)
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

/* Moves the old content, as the mount tree it is, below the new tmpfs and links to it. */
static int fill(const char *dir, int tree, struct err *e)
{
	auto_fd int top = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC), sub_fd = -1;
	unsigned number;
	char sub[24];

	if (top < 0)
		return err_errno(e, -errno, "cannot open the new tmpfs");
	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return err_errno(e, -errno, "getrandom");
	snprintf(sub, sizeof(sub), ".ro%u", number);
	if (mkdirat(top, sub, 0755) < 0)
		return err_errno(e, -errno, "cannot make %s", sub);
	if (move_mount(tree, "", top, sub, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_errno(e, -errno, "cannot move the old content to %s", sub);
	sub_fd = openat(top, sub, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (sub_fd < 0)
		return err_errno(e, -errno, "cannot open %s", sub);
	return copyup_link_entries(top, sub_fd, sub, e);
}

int copyup_dir(const char *dir, struct err *e)
{
	auto_fd int tree = -1;
	struct stat st;
	char mode[24];
	int code;

	if (stat(dir, &st) < 0)
		return err_errno(e, -errno, "failed to create bind mount on %s", dir);
	if (!S_ISDIR(st.st_mode))
		return err_errno(e, -ENOTDIR, "failed to create bind mount on %s", dir);
	tree = open_tree(AT_FDCWD, dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (tree < 0)
		return err_errno(e, -errno, "failed to create bind mount on %s", dir);
	snprintf(mode, sizeof(mode), "mode=%o", (unsigned)st.st_mode & 07777);
	if (mount("none", dir, "tmpfs", 0, mode) < 0)
		return err_errno(e, -errno, "failed to mount tmpfs on %s", dir);
	code = fill(dir, tree, e);
	return code ? err_wrap(e, code, "failed to copy-up %s", dir) : 0;
}

static size_t length_without_slashes(const char *s)
{
	size_t n = strlen(s);

	while (n > 1 && s[n - 1] == '/')
		n--;
	return n;
}

bool copyup_covers(const char *const *dirs, size_t n, const char *path)
{
	size_t len = length_without_slashes(path);

	for (size_t i = 0; i < n; i++)
		if (length_without_slashes(dirs[i]) == len && !memcmp(dirs[i], path, len))
			return true;
	return false;
}
