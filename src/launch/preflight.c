/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/preflight.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/log.h"

/* The limit of user namespaces to advise on a machine whose limit is 0: RootlessKit's documentation
 * names it. */
#define NAMESPACES_USUAL 28633L

/* Reads a sysctl. name: with dots, as for sysctl(8). -1 when there is no such sysctl. */
static long sysctl_read(const char *proc_sys, const char *name)
{
	char path[PATH_MAX], text[64];
	size_t dir = strlen(proc_sys);

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", proc_sys, name) >= sizeof(path))
		return -1;
	for (char *dot = strchr(path + dir, '.'); dot; dot = strchr(dot, '.'))
		*dot = '/';
	if (fd_read_file(path, text, sizeof(text)) <= 0)
		return -1;
	return strtol(text, NULL, 10);
}

static void apparmor_text(const char *exe, char *buf, size_t size)
{
	char name[PATH_MAX];
	size_t i;

	/* AppArmor's convention for names: the path with dots for slashes. */
	for (i = 0; exe[i] && i < sizeof(name) - 1; i++)
		name[i] = (char)(exe[i] == '/' ? '.' : exe[i]);
	name[i] = '\0';
	snprintf(buf, size,
		 "kernel.apparmor_restrict_unprivileged_userns is 1: AppArmor allows user "
		 "namespaces "
		 "to known programs only. As root:\n"
		 "cat <<EOT > /etc/apparmor.d/%s\n"
		 "abi <abi/4.0>,\n"
		 "include <tunables/global>\n"
		 "%s flags=(unconfined) {\n"
		 "  userns,\n"
		 "  include if exists <local/%s>\n"
		 "}\n"
		 "EOT\n"
		 "systemctl restart apparmor.service",
		 name + (name[0] == '.'), exe, name + (name[0] == '.'));
}

struct kind {
	int flag;
	const char *sysctl;
};

/* namespaces(7): each kind of namespace has a limit. */
static const struct kind kinds[] = {
	{CLONE_NEWUSER, "user.max_user_namespaces"},	 {CLONE_NEWNS, "user.max_mnt_namespaces"},
	{CLONE_NEWNET, "user.max_net_namespaces"},	 {CLONE_NEWPID, "user.max_pid_namespaces"},
	{CLONE_NEWUTS, "user.max_uts_namespaces"},	 {CLONE_NEWIPC, "user.max_ipc_namespaces"},
	{CLONE_NEWCGROUP, "user.max_cgroup_namespaces"},
};

#define N_KINDS (int)(ARRAY_SIZE(kinds))

/* Runs in a process of its own. Its exit code is the index of the kind that cannot be made, or
 * N_KINDS. */
static _Noreturn void try_each(int flags)
{
	for (int i = 0; i < N_KINDS; i++)
		if ((flags & kinds[i].flag) && unshare(kinds[i].flag) < 0 && errno == ENOSPC)
			_exit(i);
	_exit(N_KINDS);
}

const char *preflight_used_up(int flags)
{
	int status = 0;
	pid_t pid = fork();

	if (pid < 0)
		return NULL;
	if (pid == 0)
		try_each(flags);
	if (fd_retry(waitpid(pid, &status, 0)) < 0 || !WIFEXITED(status) ||
	    WEXITSTATUS(status) >= N_KINDS)
		return NULL;
	return kinds[WEXITSTATUS(status)].sysctl;
}

/* The limit that we see may not be the one that is used up: every outer user namespace has one of
 * its own, and more than 32 levels fail with ENOSPC, too (user_namespaces(7)). */
static void used_up_text(const char *sysctl, long max, char *buf, size_t size)
{
	if (max >= INT_MAX)
		snprintf(buf, size,
			 "no more namespaces can be had, and %s is %ld here: the limit of an outer "
			 "user namespace (a container's host) is used up, or user namespaces are "
			 "nested too deep",
			 sysctl, max);
	else
		snprintf(buf, size,
			 "%s is %ld%s. As root: sysctl -w %s=%ld (and a file in /etc/sysctl.d to "
			 "keep it)",
			 sysctl, max, max ? ", and all of them are in use" : "", sysctl,
			 max < NAMESPACES_USUAL / 2 ? NAMESPACES_USUAL : 2 * max);
}

const char *preflight_hint_text(const char *proc_sys, const char *exe, int code,
				const char *used_up, char *buf, size_t size)
{
	bool refused = code == -EPERM || code == -EACCES;

	buf[0] = '\0';
	if (!used_up && sysctl_read(proc_sys, "user.max_user_namespaces") == 0)
		used_up = "user.max_user_namespaces";
	if (refused && sysctl_read(proc_sys, "kernel.unprivileged_userns_clone") == 0)
		snprintf(buf, size,
			 "kernel.unprivileged_userns_clone is 0. As root: "
			 "sysctl -w kernel.unprivileged_userns_clone=1 (and a file in "
			 "/etc/sysctl.d to "
			 "keep it)");
	else if (used_up)
		used_up_text(used_up, sysctl_read(proc_sys, used_up), buf, size);
	else if (refused &&
		 sysctl_read(proc_sys, "kernel.apparmor_restrict_unprivileged_userns") > 0)
		apparmor_text(exe, buf, size);
	return buf;
}

void preflight_hint(int code, int flags)
{
	char exe[PATH_MAX], text[2048 + 3 * PATH_MAX], *save = NULL;
	const char *used_up = code == -ENOSPC ? preflight_used_up(flags) : NULL;
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	exe[n > 0 ? n : 0] = '\0';
	preflight_hint_text("/proc/sys", exe, code, used_up, text, sizeof(text));
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		log_info("hint: %s", line);
}
