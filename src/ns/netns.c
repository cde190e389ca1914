/* SPDX-License-Identifier: Apache-2.0 */
#include "ns/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/exitcode.h"
#include "base/fd.h"
#include "base/fdpass.h"

/* Forks a process that shares nothing with us but a pair of sockets. Returns the pid, 0 in the
 * process, or -errno. */
static pid_t fork_with_pair(int *sock)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	pid = fork();
	if (pid < 0) {
		pid = -errno;
		close(pair[0]);
		close(pair[1]);
		return pid;
	}
	close(pair[pid ? 1 : 0]);
	*sock = pair[pid ? 0 : 1];
	return pid;
}

static _Noreturn void report(int sock, const struct err *e, int fd)
{
	_exit(fdpass_send(sock, e, sizeof(*e), &fd, fd >= 0, 0) ? EXITCODE_FAILED : EXITCODE_OK);
}

/* Receives the result of the process and, if fd is not NULL, the descriptor that came with it. */
static int collect(pid_t pid, int sock, int *fd, struct err *e)
{
	struct err got;
	size_t n_fds = fd ? 1 : 0;
	ssize_t n = fdpass_recv(sock, &got, sizeof(got), fd, &n_fds, 0);

	(void)fd_retry(waitpid(pid, NULL, 0));
	if (n != (ssize_t)sizeof(got))
		return err_errno(e, -ECHILD, "process in the network namespace");
	if (got.code) {
		if (e)
			*e = got;
		return got.code;
	}
	return fd && n_fds != 1 ? err_errno(e, -EPROTO, "network namespace") : 0;
}

static _Noreturn void create_process(int sock)
{
	struct err e = {0};
	int fd = -1;

	if (unshare(CLONE_NEWNET) < 0) {
		err_errno(&e, -errno, "failed to create the network namespace");
	} else {
		fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			err_errno(&e, -errno, "/proc/self/ns/net");
	}
	report(sock, &e, fd);
}

int netns_create(int *fd, struct err *e)
{
	auto_fd int sock = -1;
	pid_t pid = fork_with_pair(&sock);

	if (pid < 0)
		return err_errno(e, (int)pid, "failed to create the network namespace");
	if (pid == 0)
		create_process(sock);
	return collect(pid, sock, fd, e);
}

int netns_run(int netns_fd, int (*fn)(void *arg, struct err *e), void *arg, struct err *e)
{
	auto_fd int sock = -1;
	pid_t pid = fork_with_pair(&sock);

	if (pid < 0)
		return err_errno(e, (int)pid, "cannot enter the network namespace");
	if (pid == 0) {
		struct err inner = {0};

		if (setns(netns_fd, CLONE_NEWNET) < 0)
			err_errno(&inner, -errno, "cannot enter the network namespace");
		else
			inner.code = fn(arg, &inner);
		report(sock, &inner, -1);
	}
	return collect(pid, sock, NULL, e);
}

int netns_join(int userns_fd, int netns_fd, struct err *e)
{
	/* The user namespace comes first: it gives the right to join the other. */
	if (setns(userns_fd, CLONE_NEWUSER) < 0)
		return err_errno(e, -errno, "cannot join the user namespace");
	if (setns(netns_fd, CLONE_NEWNET) < 0)
		return err_errno(e, -errno, "cannot join the network namespace");
	return 0;
}

int netns_bind(int netns_fd, int dir_fd, const char *name, struct err *e)
{
	auto_fd int fd = openat(dir_fd, name, O_RDONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0444);
	char source[32], target[32];

	if (fd < 0)
		return err_errno(e, -errno, "cannot make %s", name);
	snprintf(source, sizeof(source), "/proc/self/fd/%d", netns_fd);
	snprintf(target, sizeof(target), "/proc/self/fd/%d", fd);
	if (mount(source, target, NULL, MS_BIND, NULL) < 0)
		return err_errno(e, -errno, "failed to bind the network namespace to %s", name);
	return 0;
}
