/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/array.h"
#include "base/event.h"
#include "base/fd.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "base/restart.h"
#include "dataplane/boot.h"
#include "dataplane/control/control_internal.h"
#include "dataplane/outward.h"

/*
 * The processes under the parent: data plane, socket broker, and with a way out another broker, in
 * the router's namespace. They run our own binary in another role; the boot message tells them what
 * to do. Each may die at any time: the parent has everything that the next one needs.
 *
 * The first start (start.c) waits for the answers. A start after a death does not wait: the loop
 * hears the answer.
 */

/* Pause before the next try, when descriptors could not be handed over. */
#define START_LATER_MS 50

static void child_start_again(struct dp_child *child);
static void on_boot_channel(void *arg, uint32_t events);

static bool is_plane(const struct dp_child *child)
{
	return child == &child->dp->plane || child == &child->dp->reload.plane;
}

bool dp_has_router(const struct dataplane *dp)
{
	return dp->config.outward != NULL;
}

/* Whether the process belongs to a reload, and does not serve yet. */
static bool is_next(const struct dp_child *child)
{
	const struct dp_reload *r = &child->dp->reload;

	return child == &r->plane || child == &r->broker || child == &r->router;
}

/* Processes */

/* The file to execute. For a reload: what is on disk now. After a reload: the file of that reload.
 * Otherwise our own program, whatever is on disk. */
static const char *child_file(const struct dp_child *child, char *buf, size_t size)
{
	const struct dataplane *dp = child->dp;

	if (is_next(child))
		return dp->exe_path;
	if (dp->exe_fd < 0)
		return "/proc/self/exe";
	snprintf(buf, size, "/proc/self/fd/%d", dp->exe_fd);
	return buf;
}

int dp_child_fork(struct dp_child *child, struct err *e)
{
	const char *argv[] = {"rootlesskit", role_name(child->role), NULL};
	char file[32];
	auto_free char **env = NULL;
	auto_fd int theirs = -1;
	struct proc_spec spec = {.file = child_file(child, file, sizeof(file)),
				 .argv = argv,
				 .keep_fds = &theirs,
				 .n_keep_fds = 1,
				 .stdout_fd = -1,
				 .stderr_fd = -1,
				 .no_new_privs = true,
				 .death_signal = SIGKILL,
				 .null_stdin = true,
				 .shielded = true};
	int code = dp_socketpair_open(&child->boot_fd, &theirs);

	if (code < 0)
		return err_errno(e, code, "cannot start the %s: socketpair", child->name);
	env = role_environ(child->role);
	if (!env)
		return err_errno(e, -ENOMEM, "cannot start the %s", child->name);
	spec.envp = env;
	child->state = DP_CHILD_STARTING;
	child->given_up = false;
	child->started_ms = loop_now_ms();
	return proc_fork(&child->proc, &spec, e);
}

int dp_child_check(struct dp_child *child, struct err *e)
{
	return proc_check(&child->proc, "rootlesskit", e);
}

static int child_spawn(struct dp_child *child, struct err *e)
{
	int code = dp_child_fork(child, e);

	return code ? code : dp_child_check(child, e);
}

void dp_child_clear(struct dp_child *child)
{
	loop_remove(child->boot_src);
	loop_remove(child->pid_src);
	loop_remove(child->timer);
	child->boot_src = child->pid_src = child->timer = NULL;
	close_fd(&child->boot_fd);
	proc_end(&child->proc, SIGKILL, 0);
	child->state = DP_CHILD_DOWN;
	if (is_next(child)) {
		dp_fds_close(child->channels, LIMIT_WORKERS);
	} else if (is_plane(child)) {
		dp_channels_close(child->dp->channels, child->dp->workers);
		dp_fds_close(child->dp->broker.channels, LIMIT_WORKERS);
		dp_fds_close(child->dp->router.channels, LIMIT_WORKERS);
	}
}

/* The data plane */

/* A data plane, and what it is connected to. */
struct dp_joint {
	bool hold; /* the data plane takes over from another one */
	struct dp_child *plane, *broker, *router;
	struct dp_channel *channels;
	int *stats_fd;
};

static int plane_send_boot(struct dataplane *dp, const struct dp_joint *j, const int *control)
{
	struct dp_boot boot = {.version = WIRE_VERSION,
			       .workers = dp->workers,
			       .backend = dp->config.backend,
			       .sandbox = dp->config.sandbox,
			       .debug = dp->config.debug,
			       .udp_timeout_ms = dp->config.udp_timeout_ms,
			       .udp_ports = dp->local_ports / 2,
			       .transparent = dp->transparent,
			       .netns_cookie = j->broker->cookie,
			       .outward = dp_has_router(dp),
			       .hold = j->hold};
	int fds[1 + 2 * LIMIT_WORKERS], code;

	static_assert(1 + 2 * LIMIT_WORKERS <= FDPASS_MAX, "one message takes them all");
	fds[0] = *j->stats_fd;
	for (unsigned i = 0; i < dp->workers; i++) {
		fds[1 + 2 * i] = control[i];
		fds[2 + 2 * i] = j->broker->channels[i];
	}
	code = fdpass_send(j->plane->boot_fd, &boot, sizeof(boot), fds, 1 + 2 * dp->workers,
			   dp_send_flags(dp));
	if (code || !dp_has_router(dp))
		return code;
	return outward_send(dp->config.outward, j->plane->boot_fd, j->router->channels,
			    dp_send_flags(dp));
}

/* Opens the control channels and sends the data plane its boot message. */
static int joint_boot(struct dataplane *dp, const struct dp_joint *j)
{
	int ours[LIMIT_WORKERS], theirs[LIMIT_WORKERS];
	int code = dp_stats_open(dp, j->stats_fd);

	if (!code)
		code = dp_pairs_open(ours, theirs, dp->workers);
	if (code)
		return code;
	code = plane_send_boot(dp, j, theirs);
	dp_fds_close(theirs, dp->workers);
	dp_fds_close(j->broker->channels, dp->workers);
	dp_fds_close(j->router->channels, dp->workers);
	if (code) {
		dp_fds_close(ours, dp->workers);
		return code;
	}
	return dp_channels_open(j->channels, dp, ours);
}

int dp_plane_boot(struct dataplane *dp)
{
	struct dp_joint j = {false,	  &dp->plane,	&dp->broker,
			     &dp->router, dp->channels, &dp->stats_fd};

	dp->starts++;
	return joint_boot(dp, &j);
}

int dp_plane_boot_next(struct dataplane *dp)
{
	struct dp_reload *r = &dp->reload;
	struct dp_joint j = {true, &r->plane, &r->broker, &r->router, r->channels, &r->stats_fd};

	return joint_boot(dp, &j);
}

/* Answers */

static void note_backend(struct dp_child *plane, const struct dp_boot_reply *reply)
{
	struct uring_host host;

	plane->backend = reply->backend == DATAPLANE_EPOLL ? DATAPLANE_EPOLL : DATAPLANE_URING;
	plane->no_uring.code = 0;
	memcpy(plane->program, reply->head.program, sizeof(plane->program));
	plane->program[sizeof(plane->program) - 1] = '\0';
	if (reply->uring_err == 0)
		return;
	dp_uring_host_read(&host, plane->dp->workers);
	dp_uring_why(&host, wire_err(reply->uring_err), &plane->no_uring);
}

static int plane_take_reply(struct dp_child *plane, struct err *e)
{
	struct dataplane *dp = plane->dp;
	struct dp_boot_reply reply;
	ssize_t len = fdpass_recv(plane->boot_fd, &reply, sizeof(reply), NULL, NULL, MSG_DONTWAIT);

	if (len == -EAGAIN)
		return -EAGAIN;
	if (len == sizeof(reply) && reply.head.version == WIRE_VERSION) {
		note_backend(plane, &reply);
		if (reply.head.err && plane->no_uring.code && dp->config.backend == DATAPLANE_URING)
			return err_set(e, plane->no_uring.code, "--dataplane=io_uring: %s",
				       plane->no_uring.msg);
	}
	return boot_check_reply(&reply, len, sizeof(reply), plane->name, e);
}

int dp_child_take_reply(struct dp_child *child, struct err *e)
{
	return is_plane(child) ? plane_take_reply(child, e) : dp_broker_take_reply(child, e);
}

/* Death */

static void on_restart(void *arg, uint32_t events)
{
	struct dp_child *child = arg;

	(void)events;
	child->timer = NULL;
	child_start_again(child);
}

/* The process has ended: cleans up, and starts it again soon. killed: by SIGKILL. */
static void child_died(struct dp_child *child, const char *why, bool killed)
{
	struct dataplane *dp = child->dp;
	unsigned delay_ms;

	if (is_next(child)) {
		dp_reload_child_died(child, why);
		return;
	}
	if (child == &dp->plane && dp_reload_outlives_plane(dp))
		return;
	child->failures = dp_death_failures(child, killed);
	delay_ms = restart_delay_ms(child->failures);
	dp_death_log(child, why, delay_ms);
	event_post("restart", is_plane(child) ? "dataplane" : "broker", why);
	dp_child_clear(child);
	if (dp_is_broker(child) && delay_ms >= RESTART_HOPELESS_MS)
		dp_ports_broker_hopeless(dp);
	child->timer = loop_add_timer(dp->loop, delay_ms, on_restart, child);
	if (!child->timer)
		log_error("the %s cannot be started again: %s", child->name, strerror(errno));
	if (is_plane(child))
		/* No data plane is expected soon: ports are refused rather than kept waiting. */
		dp_ports_plane_died(dp, delay_ms >= RESTART_HOPELESS_MS || !child->timer);
	dp_reload_child_died(child, why);
}

void dp_child_start_over(struct dp_child *child)
{
	child_died(child, "it ended during a reload", true);
}

void dp_child_give_up(struct dp_child *child, const char *why)
{
	if (child->proc.pid <= 0)
		return;
	log_debug("%s: %s", child->name, why);
	child->given_up = true;
	kill(child->proc.pid, SIGKILL);
}

/* Whether the process still owes the answer to its boot message, which says more about its end than
 * its status does. */
static bool owes_answer(const struct dp_child *child)
{
	return child->state == DP_CHILD_STARTING && child->boot_src;
}

void dp_child_hung_up(struct dp_child *child)
{
	/* The end of the boot channel, or the time limit, ends one that does not answer. */
	if (owes_answer(child))
		return;
	/* The loop sees the process end and reads its status. Mostly it has ended by itself
	 * already. */
	if (child->proc.pid > 0)
		kill(child->proc.pid, SIGKILL);
}

static bool was_killed(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void on_pidfd(void *arg, uint32_t events)
{
	struct dp_child *child = arg;
	char why[64];
	int status;

	(void)events;
	if (owes_answer(child))
		on_boot_channel(child, 0);
	/* That may have ended a reload, and the process with it. */
	if (child->proc.pid <= 0 || proc_reap(&child->proc, &status) == -EAGAIN)
		return;
	child_died(child, proc_status_text(status, why, sizeof(why)), was_killed(status));
}

/* Start */

static void on_broker(void *arg, uint32_t events)
{
	(void)events;
	dp_inside_answers(arg);
}

/* From now on the broker answers requests. */
static void broker_watch(struct dataplane *dp)
{
	struct dp_child *broker = &dp->broker;

	broker->boot_src = loop_add_fd(dp->loop, broker->boot_fd, EPOLLIN, on_broker, dp);
	if (!broker->boot_src)
		dp_child_give_up(broker, "cannot listen to it");
	dp_turned_begin_anew(dp);
}

void dp_child_is_up(struct dp_child *child)
{
	loop_remove(child->boot_src);
	loop_remove(child->timer);
	child->boot_src = child->timer = NULL;
	child->state = DP_CHILD_UP;
	if (child == &child->dp->broker)
		broker_watch(child->dp);
	log_debug("%s: process %d is up after %llu ms", child->name, (int)child->proc.pid,
		  (unsigned long long)(loop_now_ms() - child->started_ms));
}

static void on_boot_channel(void *arg, uint32_t events)
{
	struct dp_child *child = arg;
	struct err e = {.code = 0};
	int code = dp_child_take_reply(child, &e);

	(void)events;
	if (code == -EAGAIN)
		return;
	if (code < 0) {
		if (code == -EPIPE)
			log_debug("%s", e.msg); /* the status says more, and is logged */
		else
			log_error("%s", e.msg);
		loop_remove(child->boot_src);
		child->boot_src = NULL;
		if (is_next(child) && code != -EPIPE)
			dp_reload_child_died(child, e.msg);
		else if (code == -EPIPE)
			dp_child_hung_up(child);
		else
			dp_child_give_up(child, e.msg);
		return;
	}
	dp_child_is_up(child);
	if (is_next(child))
		dp_reload_child_up(child->dp);
	else if (!is_plane(child))
		dp_broker_announce(child);
}

static void on_no_answer(void *arg, uint32_t events)
{
	struct dp_child *child = arg;

	(void)events;
	child->timer = NULL;
	dp_child_give_up(child, "no answer in time");
}

int dp_child_watch(struct dp_child *child)
{
	child->pid_src = loop_add_fd(child->dp->loop, child->proc.pidfd, EPOLLIN, on_pidfd, child);
	return child->pid_src ? 0 : -errno;
}

static int child_await_answer(struct dp_child *child)
{
	struct loop *loop = child->dp->loop;

	child->boot_src = loop_add_fd(loop, child->boot_fd, EPOLLIN, on_boot_channel, child);
	child->timer = loop_add_timer(loop, DP_HANDSHAKE_MS, on_no_answer, child);
	return child->boot_src && child->timer ? dp_child_watch(child) : -ENOMEM;
}

static int plane_prepare_again(struct dataplane *dp)
{
	int code = dp_broker_add_channels(&dp->broker);

	if (!code && dp_has_router(dp))
		code = dp_broker_add_channels(&dp->router);
	if (!code)
		code = dp_plane_boot(dp);
	if (!code)
		dp_ports_offer(dp);
	return code;
}

static int broker_prepare_again(struct dp_child *broker)
{
	int code = dp_broker_prepare(broker);

	if (!code && dp_is_broker(broker))
		dp_ports_ask_broker(broker->dp, true);
	return code;
}

/* The process ended before it read its boot message. Its status, which the loop reads, says more
 * than the failed send. */
static int child_ended_early(struct dp_child *child)
{
	dp_child_hung_up(child);
	return dp_child_watch(child);
}

/* The boot message's descriptors cannot be handed over: the user has too many in flight. Returns
 * whether a timer tries again; the process has not failed. */
static bool child_start_later(struct dp_child *child)
{
	uint64_t now_ms = loop_now_ms();

	if (!child->refs_ms)
		child->refs_ms = now_ms;
	if (now_ms - child->refs_ms >= FDPASS_PATIENCE_MS)
		return false;
	dp_child_clear(child);
	child->timer = loop_add_timer(child->dp->loop, START_LATER_MS, on_restart, child);
	return child->timer != NULL;
}

static void child_start_again(struct dp_child *child)
{
	struct err e = {.code = 0};
	int code = child_spawn(child, &e);

	if (!code) {
		code = is_plane(child) ? plane_prepare_again(child->dp)
				       : broker_prepare_again(child);
		if (!code)
			code = child_await_answer(child);
		else if (code == -EPIPE)
			code = child_ended_early(child);
		if (code == -ETOOMANYREFS && child_start_later(child))
			return;
		if (code != -ETOOMANYREFS)
			child->refs_ms = 0;
		if (code)
			err_set(&e, code, "hand-over: %s", fdpass_strerror(code));
	}
	if (code)
		child_died(child, e.msg, false);
}

/* A reload */

int dp_child_start_next(struct dp_child *child, struct err *e)
{
	int code = child_spawn(child, e);

	if (!code && !is_plane(child))
		code = dp_broker_prepare(child);
	/* EPIPE: the process has ended already; its status says why. */
	code = code == -EPIPE ? 0 : code;
	if (!code) {
		child->boot_src = loop_add_fd(child->dp->loop, child->boot_fd, EPOLLIN,
					      on_boot_channel, child);
		code = child->boot_src ? dp_child_watch(child) : -errno;
	}
	return code && !e->code ? err_set(e, code, "cannot start the %s: %s", child->name,
					  fdpass_strerror(code))
				: code;
}

void dp_child_adopt(struct dp_child *to, struct dp_child *from)
{
	assert(from->state == DP_CHILD_UP && !from->timer && !from->boot_src);
	dp_child_clear(to);
	*to = *from;
	loop_source_set_arg(to->pid_src, to);
	*from = (struct dp_child){.dp = to->dp, .proc = PROC_NONE, .boot_fd = -1};
	dp_fds_init(from->channels, LIMIT_WORKERS);
	if (to == &to->dp->broker)
		broker_watch(to->dp);
}

void dp_child_init(struct dataplane *dp, struct dp_child *child, enum role role, const char *name,
		   int netns_fd)
{
	*child = (struct dp_child){.dp = dp,
				   .role = role,
				   .name = name,
				   .proc = PROC_NONE,
				   .boot_fd = -1,
				   .netns_fd = netns_fd};
	dp_fds_init(child->channels, LIMIT_WORKERS);
}

/* All are killed before the first is waited for: their ends take some time, at the same time. */
void dp_children_end(struct dataplane *dp)
{
	const struct dp_child *all[] = {&dp->plane, &dp->broker, &dp->router};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i]->proc.pid > 0)
			kill(all[i]->proc.pid, SIGKILL);
	dp_child_clear(&dp->plane);
	dp_child_clear(&dp->broker);
	dp_child_clear(&dp->router);
	close_fd(&dp->stats_fd);
}
