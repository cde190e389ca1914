/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/statedir_names.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/state_names.h"

/* The first three show that an instance came as far as having ports. */
static const char *const names[] = {
	STATE_CHILD_PID,
	STATE_API_SOCKET,
	STATE_HOSTS,
	STATE_CHILD_PID_NEW,
	STATE_NETNS,
	STATE_RESOLV_CONF,
	STATE_SLIRP4NETNS_SOCKET,
	STATE_VPNKIT_SOCKET,
	STATE_VDEPLUG_SOCKET,
	STATE_VDEPLUG_SOCKET_2,
	STATE_PASTA_SOCKET,
	STATE_ROOTLESSKIT_PORT_SOCKET,
	STATE_ROOTLESSKIT_PORT_PIPE,
	STATE_ROOTLESSKIT_GVISOR,
	STATE_USERNETES_READY,
};

#define N_NAMES	  (ARRAY_SIZE(names))
#define N_REMAINS 3

bool statedir_names_remain(int dir_fd)
{
	struct stat st;

	for (size_t i = 0; i < N_REMAINS; i++)
		if (fstatat(dir_fd, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
			return true;
	return false;
}

/* RootlessKit makes this directory, with a socket in it. */
static int remove_gvisor(int dir_fd)
{
	auto_fd int sub = openat(dir_fd, STATE_ROOTLESSKIT_GVISOR,
				 O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (sub < 0)
		return -errno;
	if (fstatat(sub, STATE_ROOTLESSKIT_GVISOR_TAP, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISSOCK(st.st_mode))
		unlinkat(sub, STATE_ROOTLESSKIT_GVISOR_TAP, 0);
	return unlinkat(dir_fd, STATE_ROOTLESSKIT_GVISOR, AT_REMOVEDIR) < 0 ? -errno : 0;
}

static int remove_directory(int dir_fd, const char *name, const char *path, struct err *e)
{
	struct stat st = {0};

	if (!strcmp(name, STATE_ROOTLESSKIT_GVISOR) && remove_gvisor(dir_fd) == 0)
		return 0;
	fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW);
	return err_set(e, -EEXIST,
		       "state directory %s: %s in it is a directory (of uid %u) and not "
		       "rootlesskit's: move it away, or remove it with \"%srm -rf %s/%s\"",
		       path, name, (unsigned)st.st_uid,
		       st.st_uid == geteuid() ? "" : "rootlesskit ", path, name);
}

static int remove_name(int dir_fd, const char *name, const char *path, struct err *e)
{
	if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno == EISDIR)
		return remove_directory(dir_fd, name, path, e);
	return err_errno(e, -errno, "state directory %s: cannot remove %s", path, name);
}

int statedir_names_remove(int dir_fd, const char *path, struct err *e)
{
	int first = 0;

	for (size_t i = 0; i < N_NAMES; i++) {
		int code = remove_name(dir_fd, names[i], path, first ? NULL : e);

		first = first ? first : code;
	}
	return first;
}

int statedir_names_other(int dir_fd, char name[NAME_MAX + 1])
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), code = -ENOENT;
	const struct dirent *d;
	DIR *dir;

	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	while (code == -ENOENT && (errno = 0, d = readdir(dir))) {
		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, "..") ||
		    !strcmp(d->d_name, STATE_LOCK))
			continue;
		memcpy(name, d->d_name, strnlen(d->d_name, NAME_MAX) + 1);
		name[NAME_MAX] = '\0';
		code = 0;
	}
	if (code && errno)
		code = -errno;
	closedir(dir);
	return code;
}
