/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/net/inside.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "base/exitcode.h"
#include "base/fd.h"
#include "base/fdpass.h"
#include "ns/netns.h"

void inside_init(struct inside *in, const char *name, const char *log_name)
{
	helper_init(&in->helper, name, log_name, NULL);
	in->channel = -1;
}

static int spawn(struct inside *in, enum role role, int theirs, struct err *e)
{
	const char *argv[] = {"rootlesskit", role_name(role), NULL};
	auto_free char **env = role_environ(role);
	struct proc_spec spec = {.file = "/proc/self/exe",
				 .argv = argv,
				 .keep_fds = &theirs,
				 .n_keep_fds = 1,
				 .stdout_fd = -1,
				 .no_new_privs = true,
				 .null_stdin = true};

	if (!env)
		return err_errno(e, -ENOMEM, "cannot start %s", in->helper.name);
	spec.envp = env;
	return in->check_later ? helper_fork(&in->helper, &spec, e)
			       : helper_start(&in->helper, &spec, e);
}

int inside_start(struct inside *in, enum role role, const struct net_target *target,
		 const void *boot, size_t len, int fd, struct err *e)
{
	int pair[2], fds[3] = {target->userns_fd, target->netns_fd, fd};
	auto_fd int theirs = -1;
	int code;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, -errno, "cannot start %s: socketpair", in->helper.name);
	in->channel = pair[0];
	theirs = pair[1];
	code = spawn(in, role, theirs, e);
	if (code < 0)
		return code;
	code = fdpass_send(in->channel, boot, len, fds, fd >= 0 ? 3 : 2,
			   in->never_wait ? MSG_DONTWAIT : 0);
	if (code)
		return err_set(e, code, "message to %s: %s", in->helper.name,
			       fdpass_strerror(code));
	return 0;
}

int inside_wait(struct inside *in, void *answer, size_t len, int abort_fd, int timeout_ms,
		struct err *e)
{
	int code = helper_wait(&in->helper, in->channel, abort_fd, timeout_ms, "is not ready", e);

	return code < 0 ? code : inside_take(in, answer, len, e);
}

int inside_take(struct inside *in, void *answer, size_t len, struct err *e)
{
	struct inside_answer *head = answer;
	size_t no_fds = 0;
	ssize_t n = fdpass_recv(in->channel, answer, len, NULL, &no_fds, 0);

	if (n == 0 && helper_ends_within(&in->helper, 1000))
		return helper_ended(&in->helper, e);
	if (n != (ssize_t)len)
		return err_errno(e, n < 0 ? (int)n : -EPROTO, "message from %s", in->helper.name);
	if (head->err.code < 0 && e)
		*e = head->err;
	return head->err.code;
}

void inside_stop(struct inside *in)
{
	helper_stop(&in->helper);
	close_fd(&in->channel);
}

int inside_shield(struct err *e)
{
#ifndef __SANITIZE_ADDRESS__ /* the leak check traces the process */
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		return err_errno(e, -errno, "PR_SET_DUMPABLE");
#else
	(void)e;
#endif
	return 0;
}

int inside_enter(void *boot, size_t len, int *fd, struct err *e)
{
	int fds[3] = {-1, -1, -1}, code;
	size_t n_fds = 3, expected = fd ? 3 : 2;
	ssize_t n = fdpass_recv(INSIDE_CHANNEL, boot, len, fds, &n_fds, 0);

	if (n != (ssize_t)len || n_fds != expected) {
		fdpass_close(fds, n > 0 ? n_fds : 0);
		return err_set(e, -EPROTO, "this role is started by rootlesskit itself only");
	}
	code = netns_join(fds[0], fds[1], e);
	fdpass_close(fds, 2);
	/* A change of credentials clears the death signal (prctl(2)), so it is set again. A parent
	 * that died in between has closed the channel. */
	if (!code && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		code = err_errno(e, -errno, "PR_SET_PDEATHSIG");
	if (fd)
		*fd = fds[2];
	return code;
}

void inside_say(const void *answer, size_t len)
{
	fdpass_send(INSIDE_CHANNEL, answer, len, NULL, 0, MSG_NOSIGNAL);
}

/* Writes straight to the descriptor and exits straight into the kernel, because the system calls of
 * stdio and exit(3) may be forbidden by now. */
void inside_fail(const struct err *e)
{
	if (fd_write_all(STDERR_FILENO, e->msg, strlen(e->msg)) == 0)
		fd_write_all(STDERR_FILENO, "\n", 1);
	_exit(EXITCODE_FAILED);
}
