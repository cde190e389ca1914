/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>

#include "base/fdpass.h"
#include "base/loop.h"
#include "dataplane/control/control_internal.h"
#include "dataplane/outward.h"

/*
 * The first start of the processes (process.c). It waits for their answers, since without them
 * nothing can be offered.
 */

static int child_wait_reply(struct dp_child *child, uint64_t end_ms, struct err *e)
{
	struct pollfd pfd = {.fd = child->boot_fd, .events = POLLIN};
	int code = -EAGAIN;

	while (code == -EAGAIN) {
		uint64_t now = loop_now_ms();
		int n = poll(&pfd, 1, now < end_ms ? (int)(end_ms - now) : 0);

		if (n < 0 && errno != EINTR)
			return err_errno(e, -errno, "poll");
		if (n == 0)
			return err_set(e, -ETIMEDOUT, "the %s did not answer within %d s",
				       child->name, DP_HANDSHAKE_MS / 1000);
		code = dp_child_take_reply(child, e);
	}
	if (code)
		return code;
	dp_child_is_up(child);
	code = dp_child_watch(child);
	return code ? err_errno(e, code, "cannot watch the %s", child->name) : 0;
}

static int hand_over_error(const struct dp_child *child, int code, struct err *e)
{
	return err_set(e, code, "cannot tell the %s what to do: %s", child->name,
		       fdpass_strerror(code));
}

static int fork_all(struct dataplane *dp, struct err *e)
{
	int code = dp_child_fork(&dp->broker, e);

	if (!code && dp_has_router(dp))
		code = dp_child_fork(&dp->router, e);
	return code ? code : dp_child_fork(&dp->plane, e);
}

static int check_all(struct dataplane *dp, struct err *e)
{
	int code = dp_child_check(&dp->broker, e);

	if (!code && dp_has_router(dp))
		code = dp_child_check(&dp->router, e);
	return code ? code : dp_child_check(&dp->plane, e);
}

static int broker_tell(struct dp_child *broker, struct err *e)
{
	int code = dp_broker_prepare(broker);

	return code ? hand_over_error(broker, code, e) : 0;
}

static int brokers_tell(struct dataplane *dp, struct err *e)
{
	int code = broker_tell(&dp->broker, e);

	return !code && dp_has_router(dp) ? broker_tell(&dp->router, e) : code;
}

/* The processes load and wait for their boot messages while the way out is made. */
static int await_outward(struct dataplane *dp, struct err *e)
{
	const struct dataplane_config *c = &dp->config;
	int code = dp_has_router(dp) && c->await_outward ? c->await_outward(c->await_arg, e) : 0;

	if (!code && dp_has_router(dp))
		dp->router.netns_fd = c->outward->netns_fd;
	return code;
}

/* All start at the same time. The data plane's boot message needs the broker's answer. */
static int start_all(struct dataplane *dp, struct err *e)
{
	int code = fork_all(dp, e);
	uint64_t end_ms;

	code = code ? code : await_outward(dp, e);
	code = code ? code : check_all(dp, e);
	end_ms = loop_now_ms() + DP_HANDSHAKE_MS;
	code = code ? code : brokers_tell(dp, e);
	code = code ? code : child_wait_reply(&dp->broker, end_ms, e);
	if (code)
		return code;
	code = dp_plane_boot(dp);
	if (code)
		return hand_over_error(&dp->plane, code, e);
	if (dp_has_router(dp))
		code = child_wait_reply(&dp->router, end_ms, e);
	return code ? code : child_wait_reply(&dp->plane, end_ms, e);
}

int dp_children_start(struct dataplane *dp, struct err *e)
{
	int code;

	dp->stats_fd = -1;
	dp_child_init(dp, &dp->plane, ROLE_DATAPLANE, "data plane", -1);
	dp_child_init(dp, &dp->broker, ROLE_BROKER, "socket broker", dp->config.netns_fd);
	dp_child_init(dp, &dp->router, ROLE_ROUTER_BROKER, "router's socket broker", -1);
	dp->starting = true;
	code = start_all(dp, e);
	dp->starting = false;
	if (code)
		dp_children_end(dp);
	return code;
}
