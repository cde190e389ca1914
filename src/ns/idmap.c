/* SPDX-License-Identifier: Apache-2.0 */
#include "ns/idmap.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/proc.h"

#define IDMAP_TIMEOUT_MS 30000

static char *number(unsigned long v)
{
	char *s;

	return asprintf(&s, "%lu", v) < 0 ? NULL : s;
}

void idmap_args_free(char **args)
{
	if (!args)
		return;
	for (size_t i = 0; args[i]; i++)
		free(args[i]);
	free(args);
}

char **idmap_args(const char *tool, pid_t pid, unsigned own, const struct id_ranges *r)
{
	size_t n = 2 + 3 * (1 + r->n), at = 0;
	char **args = calloc(n + 1, sizeof(*args));
	unsigned long inside = 1;

	if (!args)
		return NULL;
	args[at++] = strdup(tool);
	args[at++] = number((unsigned long)pid);
	args[at++] = number(0);
	args[at++] = number(own);
	args[at++] = number(1);
	for (size_t i = 0; i < r->n; i++) {
		args[at++] = number(inside);
		args[at++] = number(r->range[i].start);
		args[at++] = number(r->range[i].count);
		inside += r->range[i].count;
	}
	for (size_t i = 0; i < n; i++)
		if (!args[i]) {
			for (size_t k = i + 1; k < n; k++)
				free(args[k]);
			idmap_args_free(args);
			return NULL;
		}
	return args;
}

/* Uses RootlessKit's words: `newuidmap 4711 [0 1000 1 1 100000 65536] failed: ...`. */
static int wrap_command(char **args, struct err *e, int code)
{
	char words[512] = "";
	size_t len = 0;

	for (size_t i = 2; args[i] && len < sizeof(words); i++)
		len += (size_t)snprintf(words + len, sizeof(words) - len, "%s%s", i > 2 ? " " : "",
					args[i]);
	return err_wrap(e, code, "%s %s [%.300s] failed", args[0], args[1], words);
}

/* Finds the file that is run under this name, as execvp(3) does. False: there is none. */
static bool find_tool(const char *tool, char path[PATH_MAX])
{
	const char *dirs = getenv("PATH");

	for (const char *at = dirs; at && *at; at += strspn(at, ":")) {
		int len = (int)strcspn(at, ":");

		snprintf(path, PATH_MAX, "%.*s/%s", len, at, tool);
		if (access(path, X_OK) == 0)
			return true;
		at += len;
	}
	return false;
}

/* Why the tool has no more rights than we have, although it needs them; or NULL. */
static const char *lack_of_rights(const char *tool)
{
	char path[PATH_MAX];
	struct statvfs fs;
	struct stat st;

	if (!find_tool(tool, path) || stat(path, &st) < 0 || statvfs(path, &fs) < 0)
		return NULL;
	if (!(st.st_mode & S_ISUID) && getxattr(path, "security.capability", NULL, 0) <= 0)
		return "it has lost its set-user-id bit: sudo chmod u+s \"$(command -v "
		       "newuidmap)\" "
		       "\"$(command -v newgidmap)\", or install package uidmap anew";
	if (st.st_uid != 0 && (st.st_mode & S_ISUID))
		return "it does not belong to root, so its set-user-id bit is of no use: install "
		       "package uidmap anew";
	if (fs.f_flag & ST_NOSUID)
		return "it is on a file system that is mounted with nosuid, so it cannot have "
		       "root's "
		       "rights: have it where it can";
	return NULL;
}

static void add_remedy(const char *tool, int code, struct err *e)
{
	const char *remedy;
	size_t len;

	if (!e)
		return;
	if (code == -ENOENT)
		remedy = "install it (package uidmap on Debian) or put it in PATH";
	else if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
		remedy = "no_new_privs is set on this process, so set-user-id programs cannot work";
	else
		remedy = lack_of_rights(tool);
	if (!remedy)
		return;
	len = strlen(e->msg);
	snprintf(e->msg + len, sizeof(e->msg) - len, "; %s: %s", tool, remedy);
}

static int begin(char **args, int abort_fd, struct proc_job *job, struct err *e)
{
	int code;

	if (!args)
		return err_errno(e, -ENOMEM, "id map");
	code = proc_begin((const char *const *)args, job, e);
	job->abort_fd = abort_fd;
	if (!code)
		return 0;
	add_remedy(args[0], code, e);
	return wrap_command(args, e, code);
}

static int finish(char **args, struct proc_job *job, struct err *e)
{
	int code = proc_finish(job, NULL, 0, IDMAP_TIMEOUT_MS, e);

	if (!code)
		return 0;
	add_remedy(args[0], code, e);
	return wrap_command(args, e, code);
}

/* The user's own id must not be in a sub-id range as well: the kernel takes an id only once. */
static int check_own(unsigned own, const struct id_ranges *r, const char *kind, struct err *e)
{
	for (size_t i = 0; i < r->n; i++) {
		unsigned long start = r->range[i].start, count = r->range[i].count;

		if (own >= start && own - start < count)
			return err_set(
				e, -EINVAL,
				"id map: the range %lu:%lu in /etc/sub%s holds the user's own id "
				"%u, which cannot be there twice; an administrator gives "
				"another one: usermod --del-sub%ss %lu-%lu --add-sub%ss "
				"100000-165535 USER (a range that is nobody else's)",
				start, count, kind, own, kind, start, start + count - 1, kind);
	}
	return 0;
}

int idmap_write(pid_t pid, uid_t uid, gid_t gid, const struct subids *ids, int abort_fd,
		struct err *e)
{
	char **uid_args = idmap_args("newuidmap", pid, uid, &ids->uids);
	char **gid_args = idmap_args("newgidmap", pid, gid, &ids->gids);
	struct proc_job uid_job = PROC_JOB_NONE, gid_job = PROC_JOB_NONE;
	int code = check_own(uid, &ids->uids, "uid", e), gid_code;

	code = code ? code : check_own(gid, &ids->gids, "gid", e);
	if (code)
		goto out;
	code = begin(uid_args, abort_fd, &uid_job, e);
	if (code)
		goto out;
	gid_code = begin(gid_args, abort_fd, &gid_job, e);
	code = finish(uid_args, &uid_job, gid_code ? NULL : e);
	if (!gid_code)
		gid_code = finish(gid_args, &gid_job, code ? NULL : e);
	code = code ? code : gid_code;
out:
	idmap_args_free(uid_args);
	idmap_args_free(gid_args);
	return code;
}
