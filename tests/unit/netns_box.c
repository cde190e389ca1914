/* SPDX-License-Identifier: Apache-2.0 */
#include "netns_box.h"

#include "cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

static int write_proc(pid_t pid, const char *file, const char *text)
{
	char path[64];
	auto_fd int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd_write_all(fd, text, strlen(text));
}

static int open_ns(pid_t pid, const char *ns)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, ns);
	return open(path, O_RDONLY | O_CLOEXEC);
}

int netns_box_open(struct netns_box *s)
{
	char map[64], byte = 0;
	int ready[2], code = 0;

	if (pipe2(ready, O_CLOEXEC) < 0)
		return -errno;
	s->pid = fork();
	if (s->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0)
			byte = 1;
		if (write(ready[1], &byte, 1) == 1)
			pause();
		_exit(0);
	}
	if (read(ready[0], &byte, 1) != 1 || !byte)
		code = -EPERM;
	close(ready[0]);
	close(ready[1]);
	snprintf(map, sizeof(map), "0 %u 1\n", (unsigned)geteuid());
	if (code == 0)
		code = write_proc(s->pid, "setgroups", "deny");
	if (code == 0)
		code = write_proc(s->pid, "uid_map", map);
	snprintf(map, sizeof(map), "0 %u 1\n", (unsigned)getegid());
	if (code == 0)
		code = write_proc(s->pid, "gid_map", map);
	s->userns_fd = open_ns(s->pid, "user");
	s->netns_fd = open_ns(s->pid, "net");
	return code;
}

void netns_box_close(struct netns_box *s)
{
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	close(s->userns_fd);
	close(s->netns_fd);
}

int netns_box_run(const struct netns_box *s, int (*fn)(void *arg), void *arg)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		alarm(100); /* loading a module takes long on a slow machine */
		if (setns(s->userns_fd, CLONE_NEWUSER) < 0 || setns(s->netns_fd, CLONE_NEWNET) < 0)
			_exit(99);
		_exit(fn(arg));
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

struct netns_box shared_box;
static bool have_shared_box;

int shared_box_open(void **state)
{
	(void)state;
	have_shared_box = netns_box_open(&shared_box) == 0;
	return 0;
}

int shared_box_close(void **state)
{
	(void)state;
	netns_box_close(&shared_box);
	return 0;
}

int shared_box_run(int (*fn)(void *arg), void *arg)
{
	if (!have_shared_box) {
		print_message("no user namespace\n");
		skip();
	}
	return netns_box_run(&shared_box, fn, arg);
}
