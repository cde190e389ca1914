/* SPDX-License-Identifier: Apache-2.0 */
#include "ns/cgroup2.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/fd.h"
#include "base/log.h"

/* How many times the group is searched again, since processes may start others while we move
 * them. */
#define ROUNDS_MAX 16

/* The part of path below dir: "" or "/...". NULL when path is not below dir. */
static const char *below(const char *path, const char *dir)
{
	size_t len = strcmp(dir, "/") ? strlen(dir) : 0;

	if (strncmp(path, dir, len) != 0 || (path[len] && path[len] != '/'))
		return NULL;
	return strcmp(path + len, "/") ? path + len : "";
}

bool cgroup2_directory(const struct mountinfo *m, const char *cgroup, char *out, size_t size)
{
	const char *rest;

	out[0] = '\0';
	if (strcmp(m->type, "cgroup2") != 0)
		return false;
	/* A path that is not below the root of our cgroup namespace begins like this:
	 * cgroup_namespaces(7). */
	if (!strncmp(cgroup, "/..", 3))
		return true;
	rest = below(cgroup, m->root);
	if (rest && (size_t)snprintf(out, size, "%s%s", m->point, rest) >= size)
		out[0] = '\0';
	return true;
}

/* The path of our cgroup, in *out, which the caller frees; NULL when we are in none. 0 or -errno.
 */
static int own_cgroup(char **out)
{
	auto_file FILE *f = fopen("/proc/self/cgroup", "re");
	auto_free char *line = NULL;
	size_t size = 0;

	*out = NULL;
	if (!f)
		return -errno;
	while (getline(&line, &size, f) > 0) {
		if (strncmp(line, "0::", 3) != 0)
			continue;
		line[strcspn(line, "\n")] = '\0';
		*out = strdup(line + 3);
		return *out ? 0 : -ENOMEM;
	}
	return 0;
}

/* The directory may be hidden under another mount, so the file system that the path leads to is
 * checked. */
static int open_cgroup(const char *path)
{
	auto_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct statfs fs;

	if (fd < 0)
		return -errno;
	if (fstatfs(fd, &fs) < 0)
		return -errno;
	return fs.f_type == CGROUP2_SUPER_MAGIC ? steal_fd(&fd) : -ENOENT;
}

/* The state of a search for a mount that shows a cgroup. */
struct search {
	const char *cgroup;
	char *path; /* the directory */
	size_t size;
	int fd; /* its descriptor; -ENODEV: no cgroup2 mount yet, -ENOENT: none that shows the
		 * cgroup */
};

static int look(void *arg, const struct mountinfo *m)
{
	struct search *s = arg;

	if (!cgroup2_directory(m, s->cgroup, s->path, s->size))
		return 0;
	s->fd = s->path[0] ? open_cgroup(s->path) : -ENOENT;
	if (s->fd >= 0)
		return 1;
	s->fd = -ENOENT;
	return 0;
}

/* Searches the mounts for one that shows the cgroup. Returns the descriptor of its directory, whose
 * path it puts into path; -ENOENT when no mount shows it, -ENODEV when cgroup2 is not mounted, or
 * -errno. */
static int find_cgroup(const char *cgroup, char *path, size_t size)
{
	struct search s = {.cgroup = cgroup, .path = path, .size = size, .fd = -ENODEV};
	int code = mountinfo_each(look, &s);

	return code < 0 ? code : s.fd;
}

bool cgroup2_mounted(void)
{
	char path[PATH_MAX];

	return find_cgroup("/..", path, sizeof(path)) == -ENOENT;
}

static int write_at(int dir, const char *name, const char *text)
{
	auto_fd int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

struct moves {
	unsigned moved, stayed;
	int code; /* why the first process that stayed could not be moved */
	char pid[16];
};

static void move_one(int to, char *pid, struct moves *m)
{
	int code;

	pid[strcspn(pid, "\n")] = '\0';
	/* The kernel shows 0 for a process outside our PID namespace. To write 0 back would move
	 * us. */
	code = strcmp(pid, "0") ? write_at(to, "cgroup.procs", pid) : -ESRCH;
	if (!code) {
		m->moved++;
		return;
	}
	/* The process has ended in the meantime, which is no failure. */
	if (code == -ESRCH && strcmp(pid, "0"))
		return;
	if (!m->stayed++) {
		m->code = code;
		snprintf(m->pid, sizeof(m->pid), "%s", pid);
	}
}

static int move_round(int from, int to, struct moves *m)
{
	auto_fd int fd = openat(from, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	auto_file FILE *f = fd < 0 ? NULL : fdopen(fd, "re");
	auto_free char *line = NULL;
	size_t size = 0;

	if (!f)
		return -errno;
	(void)steal_fd(&fd);
	m->moved = m->stayed = 0;
	while (getline(&line, &size, f) > 0)
		move_one(to, line, m);
	return 0;
}

/* Moves all processes that are there now. Whether any has moved. */
static bool move_all(int from, int to, const char *path)
{
	struct moves m = {0};
	bool any = false;
	int code = 0;

	for (int i = 0; i < ROUNDS_MAX && !code; i++) {
		code = move_round(from, to, &m);
		any = any || m.moved;
		if (!m.moved)
			break;
	}
	if (code)
		log_warning("--evacuate-cgroup2: cannot read %s/cgroup.procs: %s", path,
			    strerror(-code));
	else if (m.stayed)
		log_warning(
			"--evacuate-cgroup2: %u processes stay in the cgroup %s; the first, %s: %s",
			m.stayed, path, strcmp(m.pid, "0") ? m.pid : "one of another PID namespace",
			strerror(-m.code));
	return any;
}

/* Enables one controller at a time, so that a controller that the kernel refuses (threaded, or busy
 * with a process that stayed) does not keep out the others. */
static void enable_controllers(int dir, const char *path)
{
	auto_fd int fd = openat(dir, "cgroup.controllers", O_RDONLY | O_CLOEXEC);
	char text[1024], word[64], *save = NULL;
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n < 0) {
		log_warning("--evacuate-cgroup2: cannot read %s/cgroup.controllers: %s", path,
			    strerror(errno));
		return;
	}
	text[n] = '\0';
	for (char *name = strtok_r(text, " \n", &save); name; name = strtok_r(NULL, " \n", &save)) {
		int code;

		snprintf(word, sizeof(word), "+%.60s", name);
		code = write_at(dir, "cgroup.subtree_control", word);
		if (code)
			log_warning("--evacuate-cgroup2: controller %s stays off below %s: %s",
				    name, path, strerror(-code));
		else
			log_debug("cgroup controller %s is on below %s", name, path);
	}
}

static int make_group(int from, const char *path, const char *group, int *to, struct err *e)
{
	int code = 0;

	if (mkdirat(from, group, 0755) < 0 && errno != EEXIST)
		code = -errno;
	if (!code) {
		*to = openat(from, group, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		code = *to < 0 ? -errno : 0;
	}
	if (code == -EACCES || code == -EPERM || code == -EROFS)
		return err_set(e, code,
			       "--evacuate-cgroup2: cannot make the cgroup %.300s/%.255s: %s. The "
			       "cgroup must be delegated to you: say systemd-run --user --scope -p "
			       "Delegate=yes before it, or Delegate=yes in the unit",
			       path, group, strerror(-code));
	return code ? err_errno(e, code, "--evacuate-cgroup2: cannot make the cgroup %.300s/%.255s",
				path, group)
		    : 0;
}

static int evacuate(int from, const char *path, const char *group, struct err *e)
{
	auto_fd int to = -1;
	int code = make_group(from, path, group, &to, e);

	if (code)
		return code;
	if (!move_all(from, to, path)) {
		unlinkat(from, group, AT_REMOVEDIR); /* fails when there are processes in it */
		return 0;
	}
	enable_controllers(from, path);
	return 0;
}

int cgroup2_evacuate(const char *group, struct err *e)
{
	auto_free char *cgroup = NULL;
	auto_fd int from = -1;
	char path[PATH_MAX];
	int code = own_cgroup(&cgroup);

	if (code)
		return err_errno(e, code, "--evacuate-cgroup2: /proc/self/cgroup");
	from = cgroup ? find_cgroup(cgroup, path, sizeof(path)) : -ENODEV;
	if (from == -ENODEV) {
		log_warning("--evacuate-cgroup2 is discarded: cgroup2 is not mounted (cgroup v1?)");
		return 0;
	}
	if (from == -ENOENT) {
		log_warning("--evacuate-cgroup2 is discarded: the cgroup %s is in no cgroup2 mount",
			    cgroup);
		return 0;
	}
	if (from < 0)
		return err_errno(e, from, "--evacuate-cgroup2: /proc/self/mountinfo");
	return evacuate(from, path, group, e);
}
