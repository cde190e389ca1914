/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/port/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/exitcode.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/role.h"
#include "dataplane/sandbox.h"

#define LEASH_FD     3
#define KEEP_FDS_MAX 4
#define ARGS_MAX     32

/* How long to wait for the guard's end: it takes some milliseconds, and longer on a machine that
 * swaps. */
#define END_GRACE_MS 5000

int guard_start(struct guard *guard, const char *const *argv, const int *keep_fds,
		size_t n_keep_fds, int stderr_fd, struct err *e)
{
	const char *args[ARGS_MAX + 2] = {"rootlesskit"};
	auto_free char **env = role_environ(ROLE_GUARD);
	int keep[KEEP_FDS_MAX + 1], leash[2], code;
	auto_fd int leash_r = -1;
	struct proc_spec spec = {.file = "/proc/self/exe",
				 .argv = args,
				 .envp = env,
				 .keep_fds = keep,
				 .n_keep_fds = n_keep_fds + 1,
				 .stdout_fd = stderr_fd,
				 .stderr_fd = stderr_fd,
				 .no_new_privs = true,
				 .null_stdin = true,
				 .shielded = true};
	size_t n = 0;

	*guard = GUARD_NONE;
	for (; argv[n] && n < ARGS_MAX; n++)
		args[n + 1] = argv[n];
	if (!env || argv[n] || n_keep_fds > KEEP_FDS_MAX)
		return err_errno(e, env ? -E2BIG : -ENOMEM, "cannot start %s", argv[0]);
	if (pipe2(leash, O_CLOEXEC) < 0)
		return err_errno(e, -errno, "cannot start %s: pipe", argv[0]);
	leash_r = leash[0];
	guard->leash_w = leash[1];
	keep[0] = leash_r;
	for (size_t i = 0; i < n_keep_fds; i++)
		keep[i + 1] = keep_fds[i];
	code = proc_start(&guard->proc, &spec, e);
	if (code)
		close_fd(&guard->leash_w);
	return code;
}

void guard_release(struct guard *guard)
{
	close_fd(&guard->leash_w);
}

void guard_end(struct guard *guard)
{
	struct pollfd pfd = {.fd = guard->proc.pidfd, .events = POLLIN};

	guard_release(guard);
	if (guard->proc.pid > 0)
		poll(&pfd, 1, END_GRACE_MS);
	proc_end(&guard->proc, SIGKILL, 0);
}

/* The guard's own process */

static int start_command(const char *const *argv, struct proc *command)
{
	int keep[KEEP_FDS_MAX];
	struct proc_spec spec = {.file = argv[0],
				 .argv = argv,
				 .keep_fds = keep,
				 .stdout_fd = -1,
				 .stderr_fd = -1,
				 .death_signal = SIGKILL,
				 .null_stdin = true,
				 .shielded = true};
	struct err e = {.code = 0};
	int code;

	while (spec.n_keep_fds < KEEP_FDS_MAX &&
	       fcntl(LEASH_FD + 1 + (int)spec.n_keep_fds, F_GETFD) >= 0) {
		keep[spec.n_keep_fds] = LEASH_FD + 1 + (int)spec.n_keep_fds;
		fd_set_cloexec(keep[spec.n_keep_fds++], true);
	}
	code = proc_start(command, &spec, &e);
	for (size_t i = 0; i < spec.n_keep_fds; i++)
		close(keep[i]);
	if (code)
		log_error("%s", e.msg);
	return code;
}

/* Ends everything that the command has started, which is in its process group, or an orphan and so
 * our child. Returns the command's exit code. */
static int end_all(struct proc *command)
{
	int status = 0, exit_code = EXITCODE_FAILED;
	pid_t pid;

	kill(-command->pid, SIGKILL);
	for (;;) {
		pid = fd_retry(waitpid(-1, &status, 0));
		if (pid == command->pid && WIFEXITED(status))
			exit_code = WEXITSTATUS(status);
		else if (pid == command->pid && WIFSIGNALED(status))
			exit_code = 128 + WTERMSIG(status); /* as in a shell */
		if (pid < 0)
			return exit_code;
	}
}

int guard_main(int argc, char **argv)
{
	struct pollfd fds[2] = {{.fd = LEASH_FD, .events = POLLIN}, {.events = POLLIN}};
	struct err e = {.code = 0};
	struct proc command;

	log_init("guard", false);
	unsetenv(ROLE_ENV);
	fd_set_cloexec(LEASH_FD, true);
	if (argc < 2 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 ||
	    start_command((const char *const *)(argv + 1), &command) < 0)
		return EXITCODE_NOT_RUN;
	fds[1].fd = command.pidfd;
	/* The restriction is for the guard only; the command was started before it. */
	if (sandbox_guard(command.pid, &e) < 0) {
		log_error("%s", e.msg);
		proc_end(&command, SIGKILL, 0);
		return EXITCODE_NOT_RUN;
	}
	(void)fd_retry(poll(fds, 2, -1));
	return end_all(&command);
}
