/* SPDX-License-Identifier: Apache-2.0 */
#include "ns/copyup_around.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"

/* A position on the way to the directory that is copied up. */
struct walk {
	const char *dir;
	size_t len; /* of the part of dir that is done: a path without a slash at its end */
	int here;
	int around; /* the copy of `here`, with the links */
};

/* Makes links to all neighbours of the next directory on the way. One that cannot be read, or is
 * beyond the limit, is left out: symbolic links that lead there dangle. */
static void link_neighbours(const struct walk *w, const char *next)
{
	int fd = openat(w->here, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	char target[PATH_MAX + NAME_MAX];
	const struct dirent *d;

	if (!dir) {
		close_fd(&fd);
		return;
	}
	for (int n = 0; n < LIMIT_COPY_UP_NEIGHBOURS && (d = readdir(dir)); n++) {
		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, "..") || !strcmp(d->d_name, next))
			continue;
		snprintf(target, sizeof(target), "%.*s/%s", (int)w->len, w->dir, d->d_name);
		if (symlinkat(target, w->around, d->d_name) < 0)
			break;
	}
	closedir(dir);
}

static int replace(int *fd, int dir_fd, const char *name, int flags)
{
	int next = openat(dir_fd, name, flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (next < 0)
		return -errno;
	close(*fd);
	*fd = next;
	return 0;
}

/* Goes on to the directory of the next name in w->dir. 0 or -errno. */
static int step(struct walk *w)
{
	char name[NAME_MAX + 1];
	int code;

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(w->dir + w->len + 1, "/"),
		 w->dir + w->len + 1);
	link_neighbours(w, name);
	if (mkdirat(w->around, name, 0755) < 0)
		return -errno;
	code = replace(&w->around, w->around, name, O_RDONLY);
	if (!code)
		code = replace(&w->here, w->here, name, O_PATH);
	w->len += 1 + strlen(name);
	return code;
}

int copyup_make_around(int top_fd, const char *name, const char *dir)
{
	auto_fd int here = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), around = -1;
	struct walk w = {.dir = dir};
	int code = 0;

	if (here < 0 || mkdirat(top_fd, name, 0755) < 0)
		return -errno;
	around = openat(top_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (around < 0)
		return -errno;
	w.here = steal_fd(&here);
	w.around = steal_fd(&around);
	while (!code && dir[w.len])
		code = step(&w);
	here = w.here;
	around = w.around;
	return code ? code : steal_fd(&around);
}
