/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/command.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/exitcode.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/resident.h"

void command_signals(sigset_t *out)
{
	sigfillset(out);
}

bool command_signal_is_shared(int sig, int si_code)
{
	if (si_code != SI_KERNEL)
		return false;
	return sig == SIGINT || sig == SIGQUIT || sig == SIGTSTP || sig == SIGTTIN ||
	       sig == SIGTTOU || sig == SIGWINCH;
}

/* RootlessKit prints the words as Go prints a slice: [sh -c exit 1]. */
static const char *command_words(char **argv, char *buf, size_t size)
{
	size_t len = 0;

	buf[0] = '\0';
	for (size_t i = 0; argv[i] && len < size; i++)
		len += (size_t)snprintf(buf + len, size - len, "%s%s", i ? " " : "", argv[i]);
	return buf;
}

static int say_ended(const struct command *cmd, int code, const char *how, struct err *e)
{
	char words[512];

	return err_set(e, code, "command [%s] exited: %s",
		       command_words(cmd->argv, words, sizeof(words)), how);
}

/* Says why the command could not be run, in the words of Go's os/exec. */
static int say_not_run(const struct command *cmd, int code, struct err *e)
{
	const char *file = cmd->argv[0];
	char how[400], reason[64];

	if (!strchr(file, '/') && (code == -ENOENT || code == -EACCES)) {
		snprintf(how, sizeof(how), "exec: \"%.200s\": executable file not found in $PATH",
			 file);
		return say_ended(cmd, code, how, e);
	}
	snprintf(reason, sizeof(reason), "%s", strerror(-code));
	reason[0] = (char)tolower((unsigned char)reason[0]);
	snprintf(how, sizeof(how), "fork/exec %.200s: %s", file, reason);
	return say_ended(cmd, code, how, e);
}

static _Noreturn void command_exec(const struct command *cmd, pid_t parent, int report_fd)
{
	char pid[16];
	int code;

	if (cmd->own_session)
		setsid();
	/* In a pid namespace the command dies with us anyway; without one only this ends it. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXITCODE_FAILED);
	if (cmd->listen_fds) {
		snprintf(pid, sizeof(pid), "%d", (int)getpid());
		setenv("LISTEN_PID", pid, 1);
	}
	sigprocmask(SIG_SETMASK, cmd->mask, NULL);
	execvp(cmd->argv[0], cmd->argv);
	code = -errno;
	if (fd_write_all(report_fd, &code, sizeof(code)) < 0)
		_exit(EXITCODE_NOT_RUN_UNTOLD);
	_exit(EXITCODE_NOT_RUN);
}

static int command_start(const struct command *cmd, pid_t *out)
{
	auto_fd int report_r = -1, report_w = -1;
	pid_t self = getpid(), pid;
	int fds[2], code = 0;
	ssize_t n;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	report_r = fds[0];
	report_w = fds[1];
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		command_exec(cmd, self, report_w);
	close_fd(&report_w);
	n = fd_retry(read(report_r, &code, sizeof(code)));
	if (n == (ssize_t)sizeof(code)) {
		waitpid(pid, NULL, 0);
		return code;
	}
	*out = pid;
	return 0;
}

bool command_reap(pid_t command, int *status)
{
	bool ended = false;
	int st;
	pid_t pid;

	while ((pid = waitpid(-1, &st, WNOHANG)) > 0) {
		if (pid != command)
			continue;
		*status = st;
		ended = true;
	}
	return ended;
}

/* Ctrl-Z stops the command with the rest of its process group. We stop as well, so that the shell
 * sees a stopped job. SIGCONT later reaches the whole group again. */
static void stop_along(int sig)
{
	if (sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU)
		raise(SIGSTOP);
}

static void handle_signal(const struct command *cmd, pid_t pid, const siginfo_t *si)
{
	bool shared = command_signal_is_shared(si->si_signo, si->si_code);

	if (!shared || cmd->own_session) {
		log_debug("forwarding %s to the command", strsignal(si->si_signo));
		kill(pid, si->si_signo);
	}
	if (shared)
		stop_along(si->si_signo);
}

static int wait_and_forward(const struct command *cmd, pid_t pid)
{
	sigset_t all;
	int status = 0;

	command_signals(&all);
	for (;;) {
		siginfo_t si;

		if (sigwaitinfo(&all, &si) < 0)
			continue;
		if (si.si_signo != SIGCHLD)
			handle_signal(cmd, pid, &si);
		else if (command_reap(pid, &status))
			return status;
	}
}

int command_run(const struct command *cmd, struct err *e)
{
	char how[64];
	pid_t pid = 0;
	int code = command_start(cmd, &pid), status;

	*e = (struct err){0};
	if (code) {
		say_not_run(cmd, code, e);
		return EXITCODE_FAILED;
	}
	resident_trim();
	status = wait_and_forward(cmd, pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	say_ended(cmd, -ECHILD, proc_status_text(status, how, sizeof(how)), e);
	return exitcode_of(status);
}
