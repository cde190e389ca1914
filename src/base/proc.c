/* SPDX-License-Identifier: Apache-2.0 */
#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/array.h"
#include "base/exitcode.h"
#include "base/fd.h"
#include "base/loop.h"

int proc_pidfd_open(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : fd;
}

/* The signals that a shielded process does not hear. It does hear faults, and what its own timers,
 * children and descriptors raise. */
static void shield_signals(sigset_t *out)
{
	static const int heard[] = {SIGABRT, SIGALRM, SIGBUS,  SIGCHLD, SIGCONT,  SIGFPE,
				    SIGILL,  SIGIO,   SIGPIPE, SIGPROF, SIGSEGV,  SIGSYS,
				    SIGTRAP, SIGURG,  SIGXCPU, SIGXFSZ, SIGVTALRM};

	sigfillset(out);
	for (size_t i = 0; i < ARRAY_SIZE(heard); i++)
		sigdelset(out, heard[i]);
}

static void reset_signals(bool shielded)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	sigset_t mask;

	for (int s = 1; s < NSIG; s++)
		sigaction(s, &dfl, NULL);
	if (shielded)
		shield_signals(&mask);
	else
		sigemptyset(&mask);
	sigprocmask(SIG_SETMASK, &mask, NULL);
}

/* Makes keep_fds 3, 4, ... All of them first move above that range, so that none is overwritten. */
static int place_fds(const int *fds, size_t n, int *report_fd)
{
	int high[8];
	int first_free = 3 + (int)n;

	if (n > ARRAY_SIZE(high))
		return -E2BIG;
	*report_fd = fcntl(*report_fd, F_DUPFD_CLOEXEC, first_free);
	if (*report_fd < 0)
		return -errno;
	for (size_t i = 0; i < n; i++) {
		high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, first_free);
		if (high[i] < 0)
			return -errno;
	}
	for (size_t i = 0; i < n; i++)
		if (dup2(high[i], 3 + (int)i) < 0)
			return -errno;
	return 0;
}

static int child_setup(const struct proc_spec *spec, pid_t parent, int *report_fd)
{
	int code;

	/* The session comes before the signal mask is opened: a signal that the group gets before
	 * setsid(2) is still blocked. */
	if (spec->shielded && setsid() < 0)
		return -errno;
	if (spec->shielded)
		umask(077);
	reset_signals(spec->shielded);
	if (spec->death_signal) {
		if (prctl(PR_SET_PDEATHSIG, spec->death_signal) < 0)
			return -errno;
		if (getppid() != parent)
			return -ESRCH;
	}
	if (spec->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	if (spec->null_stdin) {
		int null = open("/dev/null", O_RDONLY);

		if (null < 0 || dup2(null, STDIN_FILENO) < 0)
			return -errno;
		if (null > STDERR_FILENO)
			close(null);
	}
	if (spec->stdin_fd > 0 && dup2(spec->stdin_fd, STDIN_FILENO) < 0)
		return -errno;
	if (spec->stdout_fd >= 0 && dup2(spec->stdout_fd, STDOUT_FILENO) < 0)
		return -errno;
	if (spec->stderr_fd >= 0 && dup2(spec->stderr_fd, STDERR_FILENO) < 0)
		return -errno;
	code = place_fds(spec->keep_fds, spec->n_keep_fds, report_fd);
	return code;
}

/* A file that is no program is not given to sh, as execvp(3) would: it may be half of one. Returns
 * -errno. */
static int run_file(const struct proc_spec *spec)
{
	/* The calls do not change the strings; their type is older than const. */
	char *const *argv = (char *const *)spec->argv;

	if (strchr(spec->file, '/'))
		execv(spec->file, argv);
	else
		execvp(spec->file, argv);
	return -errno;
}

static _Noreturn void child_main(const struct proc_spec *spec, pid_t parent, int report_fd)
{
	int code = child_setup(spec, parent, &report_fd);

	if (!code) {
		if (spec->envp)
			environ = spec->envp;
		code = run_file(spec);
	}
	if (fd_write_all(report_fd, &code, sizeof(code)) < 0)
		_exit(EXITCODE_NOT_RUN_UNTOLD);
	_exit(EXITCODE_NOT_RUN);
}

static void close_fds(struct proc *p)
{
	close_fd(&p->pidfd);
	close_fd(&p->report_fd);
}

int proc_fork(struct proc *p, const struct proc_spec *spec, struct err *e)
{
	auto_fd int report_r = -1, report_w = -1;
	pid_t parent = getpid(), pid;
	int fds[2];

	*p = PROC_NONE;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_errno(e, -errno, "cannot start %s: pipe", spec->argv[0]);
	report_r = fds[0];
	report_w = fds[1];
	pid = fork();
	if (pid < 0)
		return err_errno(e, -errno, "cannot start %s: fork", spec->argv[0]);
	if (pid == 0)
		child_main(spec, parent, report_w);
	p->pid = pid;
	p->pidfd = proc_pidfd_open(pid);
	if (p->pidfd < 0) {
		int code = p->pidfd;

		proc_end(p, SIGKILL, 0);
		return err_errno(e, code, "cannot start %s: pidfd_open", spec->argv[0]);
	}
	p->report_fd = steal_fd(&report_r);
	return 0;
}

int proc_check(struct proc *p, const char *name, struct err *e)
{
	int code = 0;
	ssize_t n = fd_retry(read(p->report_fd, &code, sizeof(code)));

	close_fd(&p->report_fd);
	if (n != sizeof(code))
		return 0;
	proc_end(p, SIGKILL, 0);
	return err_errno(e, code, "cannot run %s", name);
}

int proc_start(struct proc *p, const struct proc_spec *spec, struct err *e)
{
	int code = proc_fork(p, spec, e);

	return code ? code : proc_check(p, spec->argv[0], e);
}

int proc_reap(struct proc *p, int *status)
{
	pid_t pid = waitpid(p->pid, status, WNOHANG);

	if (pid == 0)
		return -EAGAIN;
	if (pid < 0)
		return -errno;
	close_fds(p);
	p->pid = 0;
	return 0;
}

void proc_end(struct proc *p, int sig, int grace_ms)
{
	if (p->pid <= 0)
		return;
	if (sig != SIGKILL && p->pidfd >= 0) {
		struct pollfd pfd = {.fd = p->pidfd, .events = POLLIN};

		kill(p->pid, sig);
		if (poll(&pfd, 1, grace_ms) <= 0)
			kill(p->pid, SIGKILL);
	} else {
		kill(p->pid, SIGKILL);
	}
	(void)fd_retry(waitpid(p->pid, NULL, 0));
	close_fds(p);
	p->pid = 0;
}

const char *proc_status_text(int status, char *buf, size_t size)
{
	if (WIFSIGNALED(status)) {
		const char *abbrev = strsignal(WTERMSIG(status));
		size_t i;

		snprintf(buf, size, "signal: %s", abbrev);
		for (i = 8; buf[i]; i++)
			if (buf[i] >= 'A' && buf[i] <= 'Z')
				buf[i] = (char)(buf[i] + 32);
	} else {
		snprintf(buf, size, "exit status %d", WEXITSTATUS(status));
	}
	return buf;
}

/* Waits until fd can be read. 0; -ECANCELED when abort_fd can be read; -ETIMEDOUT at end_ms (0:
 * wait without a limit); -EINTR or another -errno. */
static int wait_for_output(int fd, int abort_fd, uint64_t end_ms)
{
	struct pollfd pfd[2] = {{.fd = fd, .events = POLLIN}, {.fd = abort_fd, .events = POLLIN}};
	uint64_t now_ms = loop_now_ms();
	int left_ms = end_ms == 0 ? -1 : now_ms < end_ms ? (int)(end_ms - now_ms) : 0;
	int n = poll(pfd, 2, left_ms);

	if (n <= 0)
		return n < 0 ? -errno : -ETIMEDOUT;
	return pfd[1].revents ? -ECANCELED : 0;
}

/* Collects what the process writes, until it closes its end, abort_fd is readable or the time is
 * over. */
static int collect(int fd, int abort_fd, char *out, size_t size, int timeout_ms)
{
	uint64_t end_ms = timeout_ms < 0 ? 0 : loop_now_ms() + (uint64_t)timeout_ms;
	size_t len = 0;

	for (;;) {
		char sink[512];
		ssize_t n = wait_for_output(fd, abort_fd, end_ms);

		if (n == -EINTR)
			continue; /* a read(2) now might wait without a limit */
		if (n < 0)
			return (int)n;
		n = len + 1 < size ? read(fd, out + len, size - len - 1)
				   : read(fd, sink, sizeof(sink));
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return 0;
		if (n > 0 && len + 1 < size)
			len += (size_t)n;
		out[len] = '\0';
	}
}

static const char *one_line(char *s)
{
	size_t len = strlen(s);

	while (len && (s[len - 1] == '\n' || s[len - 1] == ' '))
		s[--len] = '\0';
	for (size_t i = 0; i < len; i++)
		if (s[i] == '\n')
			s[i] = ' ';
	return s;
}

int proc_begin(const char *const *argv, struct proc_job *job, struct err *e)
{
	struct proc_spec spec = {
		.file = argv[0], .argv = argv, .null_stdin = true, .death_signal = SIGKILL};
	auto_fd int out_w = -1;
	int fds[2], code;

	*job = PROC_JOB_NONE;
	job->argv = argv;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_errno(e, -errno, "cannot run %s: pipe", argv[0]);
	job->out_fd = fds[0];
	out_w = fds[1];
	spec.stdout_fd = spec.stderr_fd = out_w;
	code = proc_start(&job->proc, &spec, e);
	if (code)
		close_fd(&job->out_fd);
	return code;
}

int proc_finish(struct proc_job *job, char *out, size_t out_size, int timeout_ms, struct err *e)
{
	char own[1024] = "", words[64];
	int code, status;

	if (!out) {
		out = own;
		out_size = sizeof(own);
	}
	out[0] = '\0';
	code = collect(job->out_fd, job->abort_fd, out, out_size, timeout_ms);
	close_fd(&job->out_fd);
	if (code) {
		proc_end(&job->proc, SIGKILL, 0);
		return err_errno(e, code, "%s did not finish", job->argv[0]);
	}
	if (fd_retry(waitpid(job->proc.pid, &status, 0)) < 0)
		return err_errno(e, -errno, "%s: wait", job->argv[0]);
	close_fd(&job->proc.pidfd);
	job->proc.pid = 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return err_set(e, -ECHILD, "%s failed (%s)%s%.512s", job->argv[0],
		       proc_status_text(status, words, sizeof(words)), out[0] ? ": " : "",
		       one_line(out));
}

int proc_run(const char *const *argv, char *out, size_t out_size, int timeout_ms, struct err *e)
{
	struct proc_job job;
	int code = proc_begin(argv, &job, e);

	return code ? code : proc_finish(&job, out, out_size, timeout_ms, e);
}
