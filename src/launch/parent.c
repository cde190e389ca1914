/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parent makes the child and everything around it, then supervises. handshake.h has the order
 * of the steps. When one fails, parent_teardown undoes those before it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/exitcode.h"
#include "base/fd.h"
#include "base/fdpass.h"
#include "base/landlock.h"
#include "base/log.h"
#include "base/resident.h"
#include "launch/command.h"
#include "launch/handshake.h"
#include "launch/launch.h"
#include "launch/parent_internal.h"
#include "launch/pid1.h"
#include "launch/preflight.h"
#include "ns/cgroup2.h"
#include "ns/idmap.h"
#include "ns/mounts.h"

/* As for systemd's sd_listen_fds(3): the sockets are meant for the process that LISTEN_PID
 * names. */
static bool listen_pid_is_ours(void)
{
	const char *pid = getenv("LISTEN_PID");

	return pid && getenv("LISTEN_FDS") && strtol(pid, NULL, 10) == (long)getpid();
}

static int write_id_maps(struct parent *p, struct err *e)
{
	auto_free struct subids *ids = malloc(sizeof(*ids));
	int code;

	if (!ids)
		return err_errno(e, -ENOMEM, "id maps");
	code = subid_lookup(p->options->subid_source, geteuid(), p->abort_fd, ids, e);
	if (code)
		return err_wrap(e, code,
				"failed to setup UID/GID map: failed to compute uid/gid map");
	code = idmap_write(p->child.pid, geteuid(), getegid(), ids, p->abort_fd, e);
	return code ? err_wrap(e, code, "failed to setup UID/GID map") : 0;
}

static int open_namespace(const struct parent *p, const char *name, int *out, struct err *e)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)p->child.pid, name);
	*out = open(path, O_RDONLY | O_CLOEXEC);
	return *out < 0 ? err_errno(e, -errno, "cannot open %s", path) : 0;
}

/* Waits for the child's message, unless the start-up is to stop. */
static int take_detached_netns(struct parent *p, struct err *e)
{
	struct pollfd pfd[2] = {{.fd = p->sock, .events = POLLIN},
				{.fd = p->abort_fd, .events = POLLIN}};
	struct hs_simple msg;
	size_t n_fds = 1;
	ssize_t n;

	if (fd_retry(poll(pfd, 2, -1)) < 0)
		return err_errno(e, -errno, "poll");
	if (pfd[1].revents)
		return err_set(e, -ECANCELED, "start-up interrupted");
	n = fdpass_recv(p->sock, &msg, sizeof(msg), &p->netns_fd, &n_fds, 0);
	if (n != (ssize_t)sizeof(msg) || msg.kind != HS_NETNS || n_fds != 1)
		return err_errno(e, -EPROTO, "message from the child");
	return 0;
}

static int open_namespaces(struct parent *p, struct err *e)
{
	int code;

	if (!strcmp(p->options->net, "host"))
		return 0;
	code = open_namespace(p, "user", &p->userns_fd, e);
	if (code)
		return code;
	return p->options->detach_netns ? take_detached_netns(p, e)
					: open_namespace(p, "net", &p->netns_fd, e);
}

static int make_child(struct parent *p, char **argv, struct err *e)
{
	int code = spawn_child(p->options, argv, &p->inherited, &p->child, &p->sock, e);

	if (code) {
		log_error("%s", e->msg);
		preflight_hint(code, spawn_flags(p->options));
		e->msg[0] = '\0';
		return code;
	}
	code = supervise_child(p, e);
	code = code ? code : write_id_maps(p, e);
	if (!code && p->options->evacuate_cgroup2)
		code = cgroup2_evacuate(p->options->evacuate_cgroup2, e);
	if (!code && hs_send(p->sock, HS_MAPPED))
		code = err_errno(e, -EPIPE, "message to the child");
	return code ? code : open_namespaces(p, e);
}

static void child_says_ready(void *arg, uint32_t events)
{
	struct parent *p = arg;
	struct hs_simple ready;
	int code;

	(void)events;
	code = hs_recv(p->sock, HS_READY, &ready, sizeof(ready));
	if (fd_is_shortage(code))
		return; /* the message is still there */
	p->child_ready = code == 0;
	loop_remove(p->sock_source);
	p->sock_source = NULL;
}

/* The child's own set-up has no time limit here: each step that can wait has its own limit. */
static int wait_ready(struct parent *p, struct err *e)
{
	p->sock_source = loop_add_fd(p->loop, p->sock, EPOLLIN, child_says_ready, p);
	if (!p->sock_source)
		return err_errno(e, -errno, "start-up: epoll");
	while (!p->child_ready) {
		int code = supervise_check(p, e);

		if (code)
			return code;
		code = loop_run_once(p->loop, 100);
		if (code)
			return err_errno(e, code, "start-up: event loop");
	}
	return 0;
}

/* Restricts this process once everything is made. The child, which makes the command's namespaces,
 * was started earlier and is not restricted. Processes that start from now on work for ports.
 * Signals stay allowed, since the child must get them. With a driver that follows changes of an
 * address nothing is restricted: its process writes to files of the command's mount namespace. */
static void lock_down(const struct parent *p)
{
	int code = 0;

	if (!p->options->dataplane_sandbox || (p->net_ops && p->net_ops->follow))
		return;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		code = -errno;
	code = code ? code : landlock_write_only_in(p->state.dir_fd);
	/* -E2BIG: the kernel allows sixteen layers of restrictions. With so many, one of them is
	 * ours from an outer instance, or somebody added them on purpose. */
	if (code && code != -E2BIG)
		log_warning("rootlesskit itself is not restricted to its state directory: %s",
			    strerror(-code));
}

static int start(struct parent *p, char **argv, struct err *e)
{
	int code = supervise_open(p, e);

	code = code ? code : statedir_open(p->options->state_dir, &p->state, e);
	code = code ? code : make_child(p, argv, e);
	code = code ? code : services_start_network(p, e);
	code = code ? code : services_start_ports(p, e);
	code = code ? code : services_start_api(p, e);
	code = code ? code : wait_ready(p, e);
	code = code ? code : services_follow_network(p, e);
	code = code ? code : statedir_write_child_pid(&p->state, p->child.pid, e);
	code = code ? code : supervise_start(p, e);
	if (!code)
		lock_down(p);
	if (!code && hs_send(p->sock, HS_RUN))
		code = err_errno(e, -EPIPE, "message to the child");
	return code;
}

static void parent_teardown(struct parent *p)
{
	services_stop(p);
	supervise_close(p);
	close_fd(&p->sock);
	close_fd(&p->userns_fd);
	close_fd(&p->netns_fd);
	statedir_close(&p->state);
	inherited_fds_free(&p->inherited);
	loop_close(p->loop);
}

/* If the child failed, it has said why. That is the reason to report, not what its end did to the
 * step that the parent was at. */
static void say_failed(struct parent *p, struct err *e)
{
	struct err cause = {0};

	if (supervise_check(p, &cause))
		*e = cause;
	if (e->msg[0])
		log_error("%s", e->msg);
}

/* Ends as a program does that the signal finds at its default action: a shell and a service manager
 * tell that from a failure. Process 1 of a PID namespace cannot, and returns. */
static int end_by_signal(int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	signal(sig, SIG_DFL);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(sig);
	return EXITCODE_SIGNALED;
}

static int exit_code(const struct parent *p)
{
	char words[64];

	if (WIFEXITED(p->child_status) && WEXITSTATUS(p->child_status) == 0)
		return 0;
	log_error("child exited: %s", proc_status_text(p->child_status, words, sizeof(words)));
	return exitcode_of(p->child_status);
}

static void warn_propagation(const struct options *o)
{
	if (!strstr(o->propagation, "private") && !mounts_root_is_shared())
		log_warning("--propagation=%s: / is not mounted as shared here (findmnt -o "
			    "PROPAGATION /), so mounts of the host do not come in",
			    o->propagation);
}

/* Makes what must exist before anything can be started and undone. */
static int begin(struct parent *p, struct err *e)
{
	int code = inherited_fds_take(&p->inherited);

	if (code == -ENOENT)
		return err_set(e, code, "there is no /proc/self/fd: /proc must be mounted");
	if (code)
		return err_errno(e, code, "start-up: /proc/self/fd");
	/* A file capability (for ports below 1024) makes this process undumpable, and with it the
	 * child until it executes something: its namespaces could not be opened (proc(5)). A
	 * process without the capability cannot trace us all the same: ptrace(2). */
	if (prctl(PR_SET_DUMPABLE, 1) < 0)
		return err_errno(e, -errno, "start-up: PR_SET_DUMPABLE");
	code = loop_open(&p->loop);
	return code ? err_errno(e, code, "start-up: epoll") : 0;
}

int parent_main(const struct options *options, char **argv)
{
	struct parent p = {.options = options,
			   .signal_fd = -1,
			   .abort_fd = -1,
			   .abort_signal_fd = -1,
			   .state = STATEDIR_NONE,
			   .child = PROC_NONE,
			   .sock = -1,
			   .userns_fd = -1,
			   .netns_fd = -1};
	struct err e = {0};
	int code = pid1_split(&e);

	code = code ? code : begin(&p, &e);
	if (code) {
		log_error("%s", e.msg);
		return EXITCODE_FAILED;
	}
	p.listen_fds = listen_pid_is_ours();
	warn_propagation(options);
	code = start(&p, argv, &e);
	if (code) {
		say_failed(&p, &e);
		parent_teardown(&p);
		return p.ended_by ? end_by_signal(p.ended_by) : EXITCODE_FAILED;
	}
	resident_trim();
	code = supervise_run(&p, &e);
	parent_teardown(&p);
	if (code) {
		log_error("%s: the command was killed", e.msg);
		return EXITCODE_FAILED;
	}
	return exit_code(&p);
}
