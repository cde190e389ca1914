/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/preflight.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

/* -1 when there is no such sysctl. */
static long sysctl_read(const char *proc_sys, const char *name)
{
	char path[PATH_MAX], text[64];

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", proc_sys, name) >= sizeof(path))
		return -1;
	if (fd_read_file(path, text, sizeof(text)) <= 0)
		return -1;
	return strtol(text, NULL, 10);
}

static void apparmor_text(const char *exe, char *buf, size_t size)
{
	char name[PATH_MAX];
	size_t i;

	/* AppArmor's convention: the path with dots for slashes. */
	for (i = 0; exe[i] && i < sizeof(name) - 1; i++)
		name[i] = exe[i] == '/' ? '.' : exe[i];
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

const char *preflight_hint_text(const char *proc_sys, const char *exe, int code, char *buf,
				size_t size)
{
	bool refused = code == -EPERM || code == -EACCES;
	long max = sysctl_read(proc_sys, "user/max_user_namespaces");

	buf[0] = '\0';
	if (refused && sysctl_read(proc_sys, "kernel/unprivileged_userns_clone") == 0)
		snprintf(buf, size,
			 "kernel.unprivileged_userns_clone is 0. As root: "
			 "sysctl -w kernel.unprivileged_userns_clone=1 (and a file in "
			 "/etc/sysctl.d to "
			 "keep it)");
	else if (max == 0 || (code == -ENOSPC && max > 0))
		snprintf(buf, size,
			 "user.max_user_namespaces is %ld%s. As root: "
			 "sysctl -w user.max_user_namespaces=28633 (and a file in /etc/sysctl.d to "
			 "keep "
			 "it)",
			 max, max ? ", and that many exist" : "");
	else if (refused &&
		 sysctl_read(proc_sys, "kernel/apparmor_restrict_unprivileged_userns") > 0)
		apparmor_text(exe, buf, size);
	return buf;
}

void preflight_hint(int code)
{
	char exe[PATH_MAX], text[2048 + 3 * PATH_MAX], *save = NULL;
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	exe[n > 0 ? n : 0] = '\0';
	preflight_hint_text("/proc/sys", exe, code, text, sizeof(text));
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		log_info("hint: %s", line);
}
