/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handles signals and the child's end. Every signal is blocked from the first moment and read from
 * a signalfd(2). During start-up only the signals that ask us to end are read; the others wait
 * until the command is there to get them.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/log.h"
#include "launch/command.h"
#include "launch/parent_internal.h"

/* The signals that end the start-up, without those that we were started to ignore (nohup). */
static void abort_signals(sigset_t *out)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};

	sigemptyset(out);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		struct sigaction sa;

		if (sigaction(signals[i], NULL, &sa) == 0 && sa.sa_handler != SIG_IGN)
			sigaddset(out, signals[i]);
	}
}

static int abort_add(struct parent *p, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN};

	return epoll_ctl(p->abort_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

int supervise_open(struct parent *p, struct err *e)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	sigset_t all, aborting;
	int code;

	/* If SIGCHLD were ignored, children would vanish without a status. */
	sigaction(SIGCHLD, &dfl, NULL);
	command_signals(&all);
	abort_signals(&aborting);
	sigprocmask(SIG_BLOCK, &all, &p->old_mask);
	p->signal_fd = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	p->abort_signal_fd = signalfd(-1, &aborting, SFD_CLOEXEC | SFD_NONBLOCK);
	p->abort_fd = epoll_create1(EPOLL_CLOEXEC);
	if (p->signal_fd < 0 || p->abort_signal_fd < 0 || p->abort_fd < 0)
		return err_errno(e, -errno, "start-up: signalfd");
	code = abort_add(p, p->abort_signal_fd);
	return code ? err_errno(e, code, "start-up: epoll") : 0;
}

static void child_died(void *arg, uint32_t events)
{
	struct parent *p = arg;

	(void)events;
	if (proc_reap(&p->child, &p->child_status) != 0)
		return;
	p->child_ended = true;
	loop_remove(p->child_source);
	p->child_source = NULL;
}

int supervise_child(struct parent *p, struct err *e)
{
	int code = abort_add(p, p->child.pidfd);

	if (code)
		return err_errno(e, code, "start-up: epoll");
	p->child_source = loop_add_fd(p->loop, p->child.pidfd, EPOLLIN, child_died, p);
	return p->child_source ? 0 : err_errno(e, -errno, "start-up: epoll");
}

/* The first pending signal of fd, or 0. */
static int next_signal(int fd, struct signalfd_siginfo *si)
{
	ssize_t n = read(fd, si, sizeof(*si));

	return n == (ssize_t)sizeof(*si) ? (int)si->ssi_signo : 0;
}

int supervise_check(struct parent *p, struct err *e)
{
	struct signalfd_siginfo si;
	int sig = next_signal(p->abort_signal_fd, &si);
	char words[64];

	if (sig) {
		p->ended_by = sig;
		return err_set(e, -ECANCELED, "start-up interrupted by a signal: %s",
			       strsignal(sig));
	}
	if (!p->child_ended && p->child.pid > 0)
		child_died(p, 0);
	if (p->child_ended)
		return err_set(e, -ECANCELED, "child exited: %s",
			       proc_status_text(p->child_status, words, sizeof(words)));
	return 0;
}

/* Whether we caused the signal ourselves, by writing to a broken stderr. It is no message to the
 * command. */
static bool is_our_own(const struct signalfd_siginfo *si)
{
	return si->ssi_signo == SIGCHLD ||
	       (si->ssi_signo == SIGPIPE && si->ssi_pid == (uint32_t)getpid());
}

static bool is_stopped(pid_t pid)
{
	siginfo_t si = {.si_pid = 0};

	return waitid(P_PID, (id_t)pid, &si, WSTOPPED | WNOHANG | WNOWAIT) == 0 && si.si_pid == pid;
}

/* Sends SIGCONT, as systemd and shells do: a stopped child would not notice that it is to end. */
static void wake_to_end(const struct parent *p)
{
	if (p->told_to_end && p->child.pid > 0 && is_stopped(p->child.pid))
		kill(p->child.pid, SIGCONT);
}

static void reloaded(void *arg, const struct port_reload *result, const struct err *e)
{
	(void)arg;
	(void)e; /* the driver has logged it */
	if (result)
		log_info("reloaded: version %s, %u connections and UDP clients taken over",
			 result->program, result->flows);
}

/* Whether this is SIGUSR2 of sigqueue(3), as "kill -q 0 -s USR2" sends it. By kill(2) it is for the
 * command, as all signals are. */
static bool is_reload(const struct signalfd_siginfo *si)
{
	return si->ssi_signo == SIGUSR2 && si->ssi_code == SI_QUEUE &&
	       (si->ssi_uid == geteuid() || si->ssi_uid == 0);
}

static void reload(struct parent *p)
{
	struct err e = {.code = 0};

	services_reload(p, reloaded, NULL, &e);
}

static void forward_one(struct parent *p, const struct signalfd_siginfo *si)
{
	int sig = (int)si->ssi_signo;

	/* The child may stop after it was told to end, because of a signal that was sent before. */
	if (sig == SIGCHLD)
		wake_to_end(p);
	if (is_our_own(si))
		return;
	if (is_reload(si)) {
		reload(p);
		return;
	}
	if (command_signal_is_shared(sig, si->ssi_code)) {
		if (sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU)
			raise(SIGSTOP);
		return;
	}
	log_debug("forwarding %s to the child", strsignal(sig));
	if (p->child.pid <= 0)
		return;
	kill(p->child.pid, sig);
	p->told_to_end |= sig == SIGTERM || sig == SIGHUP;
	wake_to_end(p);
}

static void forward(void *arg, uint32_t events)
{
	struct parent *p = arg;
	struct signalfd_siginfo si;

	(void)events;
	while (next_signal(p->signal_fd, &si))
		forward_one(p, &si);
}

int supervise_start(struct parent *p, struct err *e)
{
	p->signal_source = loop_add_fd(p->loop, p->signal_fd, EPOLLIN, forward, p);
	return p->signal_source ? 0 : err_errno(e, -errno, "start-up: epoll");
}

int supervise_run(struct parent *p, struct err *e)
{
	while (!p->child_ended) {
		int code = loop_run_once(p->loop, -1);

		if (code)
			return err_errno(e, code, "event loop");
	}
	return 0;
}

void supervise_close(struct parent *p)
{
	loop_remove(p->signal_source);
	loop_remove(p->child_source);
	proc_end(&p->child, SIGKILL, 0);
	close_fd(&p->abort_fd);
	close_fd(&p->abort_signal_fd);
	close_fd(&p->signal_fd);
}
