/* SPDX-License-Identifier: Apache-2.0 */
#include "ns/idmap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

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

/* RootlessKit's words: `newuidmap 4711 [0 1000 1 1 100000 65536] failed: ...`. */
static int wrap_command(char **args, struct err *e, int code)
{
	char words[512] = "";
	size_t len = 0;

	for (size_t i = 2; args[i] && len < sizeof(words); i++)
		len += (size_t)snprintf(words + len, sizeof(words) - len, "%s%s", i > 2 ? " " : "",
					args[i]);
	return err_wrap(e, code, "%s %s [%.300s] failed", args[0], args[1], words);
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
		return;
	len = strlen(e->msg);
	snprintf(e->msg + len, sizeof(e->msg) - len, "; %s: %s", tool, remedy);
}

static int begin(char **args, int abort_fd, struct proc_job *job, struct err *e)
{
	int code;

	if (!args)
		return err_errno(e, -ENOMEM, "id map");
	code = proc_begin(args, job, e);
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

int idmap_write(pid_t pid, uid_t uid, gid_t gid, const struct subids *ids, int abort_fd,
		struct err *e)
{
	char **uid_args = idmap_args("newuidmap", pid, uid, &ids->uids);
	char **gid_args = idmap_args("newgidmap", pid, gid, &ids->gids);
	struct proc_job uid_job = PROC_JOB_NONE, gid_job = PROC_JOB_NONE;
	int code, gid_code;

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
