/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/net/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/log.h"

void helper_init(struct helper *h, const char *name, const char *log_name, const char *noise)
{
	*h = (struct helper){.proc = PROC_NONE, .output = HELPER_OUTPUT_NONE, .name = name};
	h->output.name = log_name;
	h->output.noise = noise;
}

static void log_command(const struct helper *h, const char *const *argv)
{
	char line[768] = "";

	for (; *argv; argv++) {
		size_t len = strlen(line);

		snprintf(line + len, sizeof(line) - len, " %s", *argv);
	}
	log_debug("%s: starting%s", h->output.name, line);
}

int helper_fork(struct helper *h, struct proc_spec *spec, struct err *e)
{
	auto_fd int output_w = -1, null_w = -1;
	int code = helper_output_open(&h->output, &output_w);

	if (code < 0)
		return err_errno(e, code, "pipe");
	spec->death_signal = SIGKILL;
	spec->shielded = true;
	spec->stderr_fd = output_w;
	if (spec->stdout_fd < 0) {
		/* What a helper prints on stdout is no error, and would push the reason of one out
		 * of the message. */
		null_w = open("/dev/null", O_WRONLY | O_CLOEXEC);
		spec->stdout_fd = log_is_debug() ? output_w : null_w;
	}
	log_command(h, spec->argv);
	return proc_fork(&h->proc, spec, e);
}

int helper_start(struct helper *h, struct proc_spec *spec, struct err *e)
{
	int code = helper_fork(h, spec, e);

	return code ? code : proc_check(&h->proc, spec->argv[0], e);
}

int helper_ended(struct helper *h, struct err *e)
{
	char words[64] = "";
	const char *tail;
	int status = 0;

	if (h->output.fd >= 0)
		helper_output_drain(&h->output);
	tail = helper_output_tail(&h->output);
	if (proc_reap(&h->proc, &status) == 0)
		proc_status_text(status, words, sizeof(words));
	if (!*tail)
		return err_set(e, -ECHILD, "%s ended (%s) and said nothing", h->name, words);
	return err_set(e, -ECHILD, "%s ended (%s): %s", h->name, words, tail);
}

bool helper_ends_within(struct helper *h, int timeout_ms)
{
	struct pollfd pfd = {.fd = h->proc.pidfd, .events = POLLIN};

	return h->proc.pid > 0 && poll(&pfd, 1, timeout_ms) == 1;
}

static int timed_out(struct helper *h, int timeout_ms, const char *what, struct err *e)
{
	const char *tail = helper_output_tail(&h->output);

	return err_set(e, -ETIMEDOUT, "%s %s after %d ms%s%s", h->name, what, timeout_ms,
		       *tail ? ": " : "", tail);
}

/* Waits for fd or the helper's end. 0: fd is readable; 1: the helper has ended; -errno as
 * helper_wait. */
static int wait_either(struct helper *h, int fd, int abort_fd, int timeout_ms, const char *what,
		       struct err *e)
{
	uint64_t end = loop_now_ms() + (uint64_t)timeout_ms;

	for (;;) {
		struct pollfd fds[] = {
			{.fd = fd, .events = POLLIN},
			{.fd = h->proc.pidfd, .events = POLLIN},
			{.fd = abort_fd, .events = POLLIN}, /* poll(2) ignores -1 */
			{.fd = h->output.fd, .events = POLLIN},
		};
		uint64_t now = loop_now_ms();
		int n = poll(fds, 4, now < end ? (int)(end - now) : 0);

		if (n < 0 && errno != EINTR)
			return err_errno(e, -errno, "poll");
		if (n == 0)
			return timed_out(h, timeout_ms, what, e);
		if (n < 0)
			continue;
		if (fds[0].revents)
			return 0;
		if (fds[1].revents)
			return 1;
		if (fds[2].revents)
			return err_set(e, -ECANCELED, "interrupted while %s was starting", h->name);
		if (fds[3].revents && helper_output_drain(&h->output) < 0)
			helper_output_close(&h->output);
	}
}

int helper_wait(struct helper *h, int fd, int abort_fd, int timeout_ms, const char *what,
		struct err *e)
{
	int code = wait_either(h, fd, abort_fd, timeout_ms, what, e);

	return code == 1 ? helper_ended(h, e) : code;
}

int helper_finish(struct helper *h, int abort_fd, int timeout_ms, const char *what, struct err *e)
{
	siginfo_t si = {0};
	int code = wait_either(h, -1, abort_fd, timeout_ms, what, e);

	if (code != 1)
		return code;
	if (waitid(P_PID, (id_t)h->proc.pid, &si, WEXITED | WNOWAIT) == 0 &&
	    si.si_code == CLD_EXITED && si.si_status == 0) {
		helper_stop(h);
		return 0;
	}
	return helper_ended(h, e);
}

static void on_output(void *arg, uint32_t events)
{
	struct helper *h = arg;

	(void)events;
	if (helper_output_drain(&h->output) < 0) {
		loop_remove(h->output_src);
		h->output_src = NULL;
	}
}

void helper_unwatch(struct helper *h)
{
	loop_remove(h->exit_src);
	loop_remove(h->output_src);
	h->exit_src = h->output_src = NULL;
}

static void on_exit_of_helper(void *arg, uint32_t events)
{
	struct helper *h = arg;
	struct err e = {0};

	(void)events;
	helper_unwatch(h);
	helper_ended(h, &e);
	h->died(h->died_arg, e.msg); /* may free h */
}

int helper_watch(struct helper *h, struct loop *loop, net_died_fn *died, void *arg)
{
	h->died = died;
	h->died_arg = arg;
	h->exit_src = loop_add_fd(loop, h->proc.pidfd, EPOLLIN, on_exit_of_helper, h);
	if (!h->exit_src)
		return -errno;
	if (h->output.fd < 0)
		return 0;
	h->output_src = loop_add_fd(loop, h->output.fd, EPOLLIN, on_output, h);
	return h->output_src ? 0 : -errno;
}

void helper_first_died(void *arg, const char *msg)
{
	struct helper_first *first = arg;
	net_died_fn *died = first->died;

	first->died = NULL;
	if (died)
		died(first->arg, msg);
}

void helper_stop(struct helper *h)
{
	helper_unwatch(h);
	if (h->proc.pid > 0)
		kill(-h->proc.pid, SIGKILL); /* also the program of a wrapper */
	proc_end(&h->proc, SIGKILL, 0);
	helper_output_close(&h->output);
}
