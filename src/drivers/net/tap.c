/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/net/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/exitcode.h"
#include "base/fd.h"
#include "ns/netif.h"
#include "ns/netns.h"

int tap_check_device(const char *path, struct err *e)
{
	if (!path)
		path = "/dev/net/tun";
	if (access(path, R_OK | W_OK) == 0)
		return 0;
	if (errno == ENOENT)
		return err_set(e, -ENOENT,
			       "%s does not exist: load the module (sudo modprobe tun), or in a "
			       "container pass the device in",
			       path);
	return err_errno(e, -errno, "%s must be readable and writable for you (sudo chmod 0666 %s)",
			 path, path);
}

/* Reads the message of the process, or finds out why there is none. */
static int read_answer(int fd, struct err *e)
{
	struct err answer;
	ssize_t n = fd_retry(read(fd, &answer, sizeof(answer)));

	if (n != (ssize_t)sizeof(answer))
		return err_set(e, -EIO, "the process that makes the tap device ended early");
	if (answer.code < 0 && e)
		*e = answer;
	return answer.code;
}

int tap_create_inside(int userns_fd, int netns_fd, const char *ifname, struct err *e)
{
	auto_fd int answer_r = -1, answer_w = -1;
	int fds[2], code;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_errno(e, -errno, "pipe");
	answer_r = fds[0];
	answer_w = fds[1];
	pid = fork();
	if (pid < 0)
		return err_errno(e, -errno, "fork");
	if (pid == 0) {
		struct err answer = {0};

		if (netns_join(userns_fd, netns_fd, &answer) == 0)
			netif_tap_create(ifname, &answer);
		_exit(fd_write_all(answer_w, &answer, sizeof(answer)) ? EXITCODE_FAILED
								      : EXITCODE_OK);
	}
	close_fd(&answer_w);
	code = read_answer(answer_r, e);
	(void)fd_retry(waitpid(pid, NULL, 0));
	return code;
}
