/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/spawn.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/exitcode.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/role.h"
#include "launch/handshake.h"

int inherited_fds_take(struct inherited_fds *out)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *d;
	int code = 0;

	*out = (struct inherited_fds){0};
	if (!dir)
		return -errno;
	while (!code && (errno = 0, d = readdir(dir))) {
		int fd = (int)strtol(d->d_name, NULL, 10), flags, *grown;

		if (fd <= STDERR_FILENO || fd == dirfd(dir))
			continue;
		flags = fcntl(fd, F_GETFD);
		if (flags < 0 || (flags & FD_CLOEXEC))
			continue;
		grown = reallocarray(out->fd, out->n + 1, sizeof(*grown));
		if (!grown) {
			code = -ENOMEM;
			break;
		}
		out->fd = grown;
		out->fd[out->n++] = fd;
		code = fd_set_cloexec(fd, true);
	}
	if (!d && errno)
		code = -errno;
	closedir(dir);
	return code;
}

void inherited_fds_free(struct inherited_fds *in)
{
	free(in->fd);
	*in = (struct inherited_fds){0};
}

int spawn_flags(const struct options *o)
{
	int flags = CLONE_NEWUSER | CLONE_NEWNS;

	if (strcmp(o->net, "host") != 0 && !o->detach_netns)
		flags |= CLONE_NEWNET;
	if (o->pidns)
		flags |= CLONE_NEWPID;
	if (o->cgroupns)
		flags |= CLONE_NEWCGROUP;
	if (o->utsns)
		flags |= CLONE_NEWUTS;
	if (o->ipcns)
		flags |= CLONE_NEWIPC;
	return flags;
}

/* Runs in the new process, which has no user id as long as the id maps are empty. execve(2) without
 * one would drop the capabilities, so it waits for the maps. */
static _Noreturn void child_exec(char **argv, const struct inherited_fds *inherited, int sock)
{
	struct hs_simple mapped;
	char number[16];
	int code;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	log_init("child ", false);
	code = hs_recv(sock, HS_MAPPED, &mapped, sizeof(mapped));
	if (code) {
		if (code != -ECONNRESET) /* on -ECONNRESET the parent has failed, and says why */
			log_error("message from the parent: %s", strerror(-code));
		_exit(EXITCODE_FAILED);
	}
	for (size_t i = 0; i < inherited->n; i++)
		fd_set_cloexec(inherited->fd[i], false);
	fd_set_cloexec(sock, false);
	snprintf(number, sizeof(number), "%d", sock);
	if (setenv(ROLE_ENV, role_name(ROLE_CHILD), 1) == 0 && setenv(HS_ENV_FD, number, 1) == 0)
		execv("/proc/self/exe", argv);
	log_error("cannot execute /proc/self/exe: %s", strerror(errno));
	_exit(EXITCODE_FAILED);
}

int spawn_child(const struct options *options, char **argv, const struct inherited_fds *inherited,
		struct proc *child, int *sock, struct err *e)
{
	auto_fd int ours = -1, theirs = -1;
	int pair[2];
	long pid;

	*child = PROC_NONE;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, -errno, "failed to create the child: socketpair");
	ours = pair[0];
	theirs = pair[1];
	pid = syscall(SYS_clone, (long)spawn_flags(options) | SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid < 0)
		return err_errno(e, -errno, "failed to create the namespaces: clone");
	if (pid == 0) {
		close(ours);
		child_exec(argv, inherited, theirs);
	}
	child->pid = (pid_t)pid;
	child->pidfd = proc_pidfd_open(child->pid);
	if (child->pidfd < 0) {
		int code = err_errno(e, child->pidfd, "failed to create the child: pidfd_open");

		proc_end(child, SIGKILL, 0);
		return code;
	}
	*sock = steal_fd(&ours);
	return 0;
}
