/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/pid1.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/exitcode.h"
#include "launch/command.h"

/* As for systemd's sd_listen_fds(3): the sockets are meant for the process that LISTEN_PID
 * names. */
static int take_over_listen_pid(void)
{
	const char *pid = getenv("LISTEN_PID");
	char own[16];

	if (!pid || strtol(pid, NULL, 10) != 1)
		return 0;
	snprintf(own, sizeof(own), "%d", (int)getpid());
	return setenv("LISTEN_PID", own, 1) < 0 ? -errno : 0;
}

/* Forwards a signal, except one typed on the terminal, which reaches the whole process group
 * anyway. */
static void pass_on(pid_t parent, const siginfo_t *si)
{
	if (!command_signal_is_shared(si->si_signo, si->si_code))
		kill(parent, si->si_signo);
}

/* Ends only when the parent has ended, because the kernel kills all other processes when process 1
 * goes. */
static void __attribute__((noreturn)) serve(pid_t parent, const sigset_t *all)
{
	int status = 0;

	for (;;) {
		siginfo_t si;

		if (sigwaitinfo(all, &si) < 0)
			continue;
		if (si.si_signo != SIGCHLD)
			pass_on(parent, &si);
		else if (command_reap(parent, &status))
			_exit(exitcode_of(status));
	}
}

int pid1_split(struct err *e)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	sigset_t all, old;
	pid_t pid;
	int code;

	if (getpid() != 1)
		return 0;
	sigaction(SIGCHLD, &dfl, NULL);
	command_signals(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	pid = fork();
	if (pid < 0)
		return err_errno(e, -errno, "start-up as process 1: fork");
	if (pid > 0)
		serve(pid, &all);
	sigprocmask(SIG_SETMASK, &old, NULL);
	code = take_over_listen_pid();
	return code ? err_errno(e, code, "environment") : 0;
}
