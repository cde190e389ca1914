/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/event.h"
#include "base/fd.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "dataplane/control/control_internal.h"

/*
 * A reload: another data plane and other brokers, of the binary that is on disk now, take the place
 * of those that run, with all ports and flows.
 *
 *   STARTING   the new processes start beside the present ones. If one does not come up, or is of
 *              another WIRE_VERSION, the reload ends here.
 *   SETTLING   from here on requests about ports wait, and those that are under way are answered.
 *   OFFERING   the new workers get every listening socket. They do not listen to them yet.
 *   MOVING     each present worker brings its flows to rest and passes them to the new worker that
 *              has its number (worker/handover.h), which does not touch them. When every new worker
 *              has all, the new workers are told to serve, and the present processes end.
 *
 * Until that last step the present data plane has everything. Whatever goes wrong, it is told to go
 * on, and the new one is killed. Nothing that the new one has done until then can be seen by a
 * peer.
 */

/* Time limits. A start or an offer takes a second under heavy load. */
#define START_MS 10000
#define OFFER_MS 10000
/* Clients wait during MOVING. 1,000 flows in full transfer take some 10 ms. */
#define MOVE_MS 5000

static void own_binary(struct dataplane *dp)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path));

	dp->exe_path = n > 0 && n < (ssize_t)sizeof(path) ? strndup(path, (size_t)n) : NULL;
}

void dp_reload_init(struct dataplane *dp)
{
	struct dp_reload *r = &dp->reload;

	dp->exe_fd = -1;
	own_binary(dp);
	r->stats_fd = r->exe_fd = -1;
	dp_child_init(dp, &r->plane, ROLE_DATAPLANE, NULL, -1);
	dp_child_init(dp, &r->broker, ROLE_BROKER, NULL, -1);
	dp_child_init(dp, &r->router, ROLE_ROUTER_BROKER, NULL, -1);
}

void dp_reload_end(struct dataplane *dp)
{
	close_fd(&dp->exe_fd);
	free(dp->exe_path);
	dp->exe_path = NULL;
}

bool dp_reload_holds(const struct dataplane *dp)
{
	return dp->reload.state >= DP_RELOAD_SETTLING;
}

/* The end */

/* Sends the requests that waited to the workers that serve now. */
static void ports_go_on(struct dataplane *dp, bool new_broker)
{
	struct dp_port *port, *tmp;

	HASH_ITER(hh, dp->ports, port, tmp)
	{
		if (port->held)
			dp_port_post(port, (enum dp_msg_type)port->held);
	}
	if (new_broker)
		dp_ports_ask_broker(dp, true);
}

static bool post_all(struct dp_channel *channels, unsigned n, enum dp_msg_type type)
{
	struct dp_msg msg = {.type = type};
	bool sent = true;

	for (unsigned i = 0; i < n; i++)
		sent &= dp_channel_post(&channels[i], &msg, -1, false) == 0;
	return sent;
}

static void clear(struct dp_reload *r, unsigned workers)
{
	loop_remove(r->timer);
	r->timer = NULL;
	dp_channels_close(r->channels, workers);
	dp_child_clear(&r->plane);
	dp_child_clear(&r->broker);
	dp_child_clear(&r->router);
	close_fd(&r->stats_fd);
	close_fd(&r->exe_fd);
	r->state = DP_RELOAD_NONE;
}

/* Names the program, if it is what fails. */
static void add_program(const struct dataplane *dp, struct err *e)
{
	if (dp->reload.state == DP_RELOAD_STARTING)
		err_wrap(e, e->code, "%s", dp->exe_path);
	err_wrap(e, e->code, "reload");
}

/* Ends the reload: the present processes go on. */
static void fail(struct dataplane *dp, struct err *e)
{
	struct dp_reload *r = &dp->reload;
	bool moving = r->state == DP_RELOAD_MOVING;

	add_program(dp, e);
	log_error("%s; the data plane that runs goes on", e->msg);
	/* The new processes are gone before anybody acts on the flows again. */
	clear(r, dp->workers);
	if (moving && !post_all(dp->channels, dp->workers, DP_MSG_GO))
		dp_channel_missed(&dp->plane);
	/* It died after it had handed over everything, to a data plane that is gone, too. */
	if (dp->plane.state == DP_CHILD_DOWN && !dp->plane.timer)
		dp_child_start_over(&dp->plane);
	ports_go_on(dp, false);
	event_post("reloadFailed", "dataplane", e->msg);
	r->done(r->arg, NULL, e);
}

static void fail_with(struct dataplane *dp, int code, const char *what)
{
	struct err e = {.code = 0};

	err_errno(&e, code, "%s", what);
	fail(dp, &e);
}

void dp_reload_drop(struct dataplane *dp)
{
	struct dp_reload *r = &dp->reload;
	struct err e = {.code = 0};

	if (r->state == DP_RELOAD_NONE)
		return;
	err_set(&e, -ECANCELED, "reload: rootlesskit ends");
	clear(r, dp->workers);
	post_all(dp->channels, dp->workers, DP_MSG_GO);
	ports_go_on(dp, false);
	r->done(r->arg, NULL, &e);
}

static void log_done(const struct dataplane_reloaded *result)
{
	char text[160];

	snprintf(text, sizeof(text), "version %s serves; %u flows taken over, at rest for %llu us",
		 result->program, result->flows, (unsigned long long)result->pause_us);
	log_debug("reload: %s", text);
	event_post("reload", "dataplane", text);
}

/* Every new worker has everything. From here on only the death of a data plane may fail. */
static void commit(struct dataplane *dp)
{
	struct dp_reload *r = &dp->reload;
	bool sent = post_all(r->channels, dp->workers, DP_MSG_GO);
	uint64_t now_ns = loop_now_ns();

	r->result.pause_us = (now_ns - r->began_ns) / 1000;
	loop_remove(r->timer);
	r->timer = NULL;
	r->state = DP_RELOAD_NONE;
	dp_child_adopt(&dp->plane, &r->plane);
	dp_channels_adopt(dp->channels, r->channels, dp->workers);
	dp_child_adopt(&dp->broker, &r->broker);
	if (dp_has_router(dp))
		dp_child_adopt(&dp->router, &r->router);
	close_fd(&dp->stats_fd);
	dp->stats_fd = steal_fd(&r->stats_fd);
	close_fd(&dp->exe_fd);
	dp->exe_fd = steal_fd(&r->exe_fd);
	clear(r, dp->workers);
	if (!sent)
		dp_channel_missed(&dp->plane);
	ports_go_on(dp, true);
	r->result.program = dp->plane.program;
	log_done(&r->result);
	r->done(r->arg, &r->result, NULL);
}

/* The states */

static int patience_ms(enum dp_reload_state state)
{
	return state == DP_RELOAD_STARTING ? START_MS
	       : state == DP_RELOAD_MOVING ? MOVE_MS
					   : OFFER_MS;
}

static void on_time_out(void *arg, uint32_t events)
{
	struct dataplane *dp = arg;
	static const char *const what[] = {
		[DP_RELOAD_STARTING] = "the new processes do not answer",
		[DP_RELOAD_SETTLING] = "a request about a port is not answered",
		[DP_RELOAD_OFFERING] = "the new data plane does not take the ports",
		[DP_RELOAD_MOVING] = "the new data plane does not take over the flows",
	};
	bool gives = dp->reload.state == DP_RELOAD_MOVING && dp->reload.giving > 0;
	struct err e = {.code = 0};

	(void)events;
	dp->reload.timer = NULL;
	err_set(&e, -ETIMEDOUT, "%s within %d s: stopped, or without a CPU",
		gives ? "the present data plane does not hand over its flows"
		      : what[dp->reload.state],
		patience_ms(dp->reload.state) / 1000);
	fail(dp, &e);
}

static bool enter(struct dataplane *dp, enum dp_reload_state state)
{
	struct dp_reload *r = &dp->reload;

	loop_remove(r->timer);
	r->state = state;
	r->timer = loop_add_timer(dp->loop, (uint64_t)patience_ms(state), on_time_out, dp);
	if (r->timer)
		return true;
	fail_with(dp, -errno, "timer");
	return false;
}

/* Sends one end of a channel with the message, and then closes it here. 0 or -errno. */
static int post_channel(struct dp_channel *ch, enum dp_msg_type type, int *fd)
{
	struct dp_msg msg = {.type = type, .seq = ch->dp->reload.seq};

	return dp_channel_post(ch, &msg, steal_fd(fd), true);
}

static void move_flows(struct dataplane *dp)
{
	struct dp_reload *r = &dp->reload;
	int from[LIMIT_WORKERS], to[LIMIT_WORKERS];
	int code;

	if (!enter(dp, DP_RELOAD_MOVING))
		return;
	code = dp_pairs_open(from, to, dp->workers);
	r->began_ns = loop_now_ns();
	r->waiting = 2 * dp->workers;
	r->giving = dp->workers;
	r->torn[0] = r->torn[1] = false;
	r->seq = ++dp->seq;
	for (unsigned i = 0; i < dp->workers && !code; i++) {
		code = post_channel(&r->channels[i], DP_MSG_TAKE_OVER, &to[i]);
		if (!code)
			code = post_channel(&dp->channels[i], DP_MSG_HAND_OVER, &from[i]);
	}
	dp_fds_close(from, dp->workers);
	dp_fds_close(to, dp->workers);
	if (code)
		fail_with(dp, code, "channels");
}

static void offer_ports(struct dataplane *dp)
{
	struct dp_reload *r = &dp->reload;

	if (!enter(dp, DP_RELOAD_OFFERING))
		return;
	r->waiting = 0;
	for (struct dp_port *port = dp->ports; port; port = port->hh.next) {
		/* A port that is being removed keeps its flows until then, so it goes along. */
		if (port->state != DP_PORT_LIVE && port->state != DP_PORT_REMOVING)
			continue;
		r->waiting += port->n_fds;
		if (!dp_port_post_to(port, DP_MSG_ADD, r->channels)) {
			fail_with(dp, -ENOMEM, "messages");
			return;
		}
	}
	if (r->waiting == 0)
		move_flows(dp);
}

static bool is_settled(const struct dataplane *dp)
{
	for (const struct dp_port *port = dp->ports; port; port = port->hh.next)
		if (port->waiting)
			return false;
	return true;
}

void dp_reload_settled(struct dataplane *dp)
{
	if (dp->reload.state == DP_RELOAD_SETTLING && is_settled(dp))
		offer_ports(dp);
}

void dp_reload_child_up(struct dataplane *dp)
{
	const struct dp_reload *r = &dp->reload;

	if (r->plane.state != DP_CHILD_UP || r->broker.state != DP_CHILD_UP ||
	    (dp_has_router(dp) && r->router.state != DP_CHILD_UP))
		return;
	/* A data plane that is just being started again has no flows: the reload does not wait for
	 * it. */
	if (dp->plane.state != DP_CHILD_UP) {
		fail_with(dp, -EAGAIN, "the present data plane is being started");
		return;
	}
	if (enter(dp, DP_RELOAD_SETTLING))
		dp_reload_settled(dp);
}

void dp_reload_child_died(struct dp_child *child, const char *why)
{
	struct dataplane *dp = child->dp;
	struct err e = {.code = 0};
	bool of_present = child == &dp->plane;

	/* A broker that dies is started again, and the reload replaces it as planned. */
	if (dp->reload.state == DP_RELOAD_NONE || child == &dp->broker || child == &dp->router)
		return;
	err_set(&e, of_present ? -ECONNRESET : -ECHILD, "the %s %s: %s",
		of_present ? "present" : "new", child->name, why);
	fail(dp, &e);
}

bool dp_reload_outlives_plane(struct dataplane *dp)
{
	struct dp_reload *r = &dp->reload;

	if (r->state != DP_RELOAD_MOVING)
		return false;
	/* By its last answers the reload may end. */
	dp_channels_drain(dp->channels, dp->workers);
	if (r->state != DP_RELOAD_MOVING)
		return dp->plane.proc.pid > 0; /* that of the reload, which serves already */
	if (r->giving > 0)
		return false;
	log_debug("the data plane ended when it had handed over everything");
	dp_child_clear(&dp->plane);
	return true;
}

static void moved(struct dataplane *dp, const struct dp_channel *ch, const struct dp_msg *msg)
{
	struct dp_reload *r = &dp->reload;
	struct err e = {.code = 0};

	if (ch->plane == &r->plane) {
		r->result.flows += msg->flows;
		r->refused += msg->lost;
	} else {
		r->giving--;
	}
	if (--r->waiting > 0)
		return;
	if (r->refused == 0) {
		commit(dp);
		return;
	}
	err_set(&e, -ENOSPC, "the new data plane cannot take over %u of %u flows", r->refused,
		r->refused + r->result.flows);
	fail(dp, &e);
}

/* Whether a worker could not go on because the other one has closed the channel between them. Then
 * the other one says why, or its process ends, which the loop hears. When workers of both data
 * planes say so, nobody does. */
static bool is_consequence(struct dataplane *dp, const struct dp_channel *ch, int err)
{
	struct dp_reload *r = &dp->reload;

	if (err != -EPIPE && err != -ECONNRESET)
		return false;
	r->torn[ch->plane == &dp->plane] = true;
	return !(r->torn[0] && r->torn[1]);
}

void dp_reload_answer(struct dataplane *dp, const struct dp_channel *ch, const struct dp_msg *msg)
{
	struct dp_reload *r = &dp->reload;
	bool about_flows = msg->port_id == 0;
	int err = wire_err(msg->err);

	if (r->state < DP_RELOAD_OFFERING || r->waiting == 0 ||
	    about_flows != (r->state == DP_RELOAD_MOVING) || (about_flows && msg->seq != r->seq)) {
		log_debug("worker %u: an answer about a hand-over that nobody waits for",
			  ch->worker);
		return;
	}
	if (about_flows && is_consequence(dp, ch, err))
		return;
	if (err)
		fail_with(dp, err,
			  ch->plane == &r->plane ? "the new data plane" : "the present data plane");
	else if (about_flows)
		moved(dp, ch, msg);
	else if (--r->waiting == 0)
		move_flows(dp);
}

/* The beginning */

static int start_children(struct dataplane *dp, struct err *e)
{
	struct dp_reload *r = &dp->reload;
	int code;

	dp_child_init(dp, &r->plane, ROLE_DATAPLANE, "data plane", -1);
	dp_child_init(dp, &r->broker, ROLE_BROKER, "socket broker", dp->config.netns_fd);
	dp_child_init(dp, &r->router, ROLE_ROUTER_BROKER, "router's socket broker",
		      dp->router.netns_fd);
	/* The new brokers find the namespaces as the first ones have set them up. */
	r->broker.known = r->router.known = true;
	r->broker.cookie = dp->broker.cookie;
	r->router.cookie = dp->router.cookie;
	dp_channels_init(dp, r->channels, &r->plane);
	code = dp_child_start_next(&r->broker, e);
	if (!code && dp_has_router(dp))
		code = dp_child_start_next(&r->router, e);
	if (!code)
		code = dp_child_start_next(&r->plane, e);
	if (code)
		return code;
	code = dp_plane_boot_next(dp);
	/* If the process has ended already, its status says why. */
	return code && code != -EPIPE
		       ? err_set(e, code, "cannot tell the new data plane what to do: %s",
				 fdpass_strerror(code))
		       : 0;
}

/* Opens the binary that is on disk now, for this reload and later restarts. 0 or -errno. */
static int open_binary(struct dataplane *dp, struct err *e)
{
	int fd;

	if (!dp->exe_path)
		return err_set(e, -ENOENT, "it is not known where rootlesskit lies");
	fd = open(dp->exe_path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, -errno, "%s", dp->exe_path);
	close_fd(&dp->reload.exe_fd);
	dp->reload.exe_fd = fd;
	return 0;
}

static int start(struct dataplane *dp, struct err *e)
{
	struct dp_reload *r = &dp->reload;
	int code;

	r->state = DP_RELOAD_STARTING;
	r->timer = loop_add_timer(dp->loop, START_MS, on_time_out, dp);
	code = r->timer ? start_children(dp, e) : err_errno(e, -errno, "timer");
	if (!code)
		return 0;
	add_program(dp, e);
	clear(r, dp->workers);
	return code;
}

int dataplane_reload(struct dataplane *dp, dataplane_reloaded_fn *done, void *arg, struct err *e)
{
	struct dp_reload *r = &dp->reload;
	int code;

	if (r->state != DP_RELOAD_NONE)
		return err_set(e, -EALREADY, "a reload is under way already");
	if (dp->plane.state != DP_CHILD_UP || dp->broker.state != DP_CHILD_UP)
		return err_set(e, -EAGAIN,
			       "the data plane is just being started: try again in a moment");
	r->result = (struct dataplane_reloaded){.flows = 0};
	r->refused = 0;
	r->done = done;
	r->arg = arg;
	code = open_binary(dp, e);
	if (code)
		err_wrap(e, code, "reload");
	else
		code = start(dp, e);
	if (code)
		event_post("reloadFailed", "dataplane", e->msg);
	return code;
}

const char *dataplane_program(const struct dataplane *dp)
{
	return dp->plane.program;
}
