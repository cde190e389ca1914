/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/dataplane.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/sockaddr.h"
#include "dataplane/control/control_internal.h"
#include "dataplane/outward.h"

/*
 * The interface to the data plane (dataplane.h). Runs in the parent, in its loop.
 */

/* Listening sockets may take three quarters of the process's descriptors. The rest is for
 * connections, two each, with some kept for the process and each worker. A port has one socket for
 * each worker until a sixteenth is taken, then one in all: thousands of ports are not all busy, and
 * each must be bound. */
#define FDS_KEPT		 16
#define FDS_KEPT_WORKER		 32
#define LISTENERS_PLENTY(nofile) ((nofile) / 16)

/* Opening and closing */

/* Every connection has a client and a server as well, which are mostly on the same machine. With a
 * worker for each CPU there are more threads that want to run than CPUs, and some connections wait
 * for a turn of the scheduler. */
unsigned dp_workers_for_cpus(unsigned cpus)
{
	unsigned n = cpus / 2 + cpus % 2;

	return n < 1 ? 1 : n > LIMIT_WORKERS ? LIMIT_WORKERS : n;
}

static unsigned default_workers(void)
{
	cpu_set_t cpus;

	if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
		return 1; /* the machine has more CPUs than a cpu_set_t: one worker will do */
	return dp_workers_for_cpus((unsigned)CPU_COUNT(&cpus));
}

unsigned dataplane_worker_count(unsigned asked)
{
	if (asked == 0)
		return default_workers();
	return asked < LIMIT_WORKERS ? asked : LIMIT_WORKERS;
}

static unsigned listeners_max(unsigned nofile, unsigned workers)
{
	unsigned kept = FDS_KEPT + FDS_KEPT_WORKER * workers;
	unsigned max = nofile / 4 * 3;

	if (nofile < 2 * kept)
		return nofile / 4;
	return max < nofile - kept ? max : nofile - kept;
}

int dataplane_open(struct loop *loop, const struct dataplane_config *config, struct dataplane **out,
		   struct err *e)
{
	struct dataplane *dp = calloc(1, sizeof(*dp));
	/* The parent needs descriptors for listening sockets; the data plane, which inherits the
	 * limit, needs two for each connection. */
	unsigned nofile = fd_limit_raise();
	int code;

	if (!dp)
		return err_errno(e, -ENOMEM, "data plane");
	dp->loop = loop;
	dp->config = *config;
	if (dp->config.udp_timeout_ms == 0)
		dp->config.udp_timeout_ms = DEFAULT_UDP_TIMEOUT_MS;
	dp->workers = dataplane_worker_count(config->workers);
	assert(!config->outward || config->outward->workers == dp->workers);
	dp->listeners_max = listeners_max(nofile, dp->workers);
	dp->listeners_plenty = LISTENERS_PLENTY(nofile);
	dp_reload_init(dp);
	dp_channels_init(dp, dp->channels, &dp->plane);
	code = dp_children_start(dp, e);
	if (code) {
		dp_reload_end(dp);
		free(dp);
		return code;
	}
	if (dp->config.outward)
		dp->config.outward->dataplane = dp;
	*out = dp;
	return 0;
}

void dataplane_close(struct dataplane *dp)
{
	if (!dp)
		return;
	if (dp->config.outward)
		dp->config.outward->dataplane = NULL;
	dp_reload_drop(dp);
	dp->closing = true;
	dp_turned_end(dp);
	if (dp->plane.state == DP_CHILD_UP)
		dp_ports_let_go(dp);
	dp_children_end(dp);
	loop_remove(dp->look);
	dp_ports_clear(dp);
	dp_reload_end(dp);
	free(dp);
}

void dataplane_resolvers_changed(struct dataplane *dp)
{
	const union sock_addr *a = dp->config.outward->config.resolvers;
	struct dp_msg msg = {
		.type = DP_MSG_RESOLVERS, .target = a[0], .target2 = a[1], .target3 = a[2]};

	/* A data plane that is not up yet is told at its start, as is that of a reload. */
	for (unsigned i = 0; i < dp->workers; i++) {
		if (dp_channel_post(&dp->channels[i], &msg, -1, false) < 0)
			dp_channel_missed(&dp->plane);
		if (dp_channel_post(&dp->reload.channels[i], &msg, -1, false) < 0)
			dp_channel_missed(&dp->reload.plane);
	}
}

const char *dataplane_backend_name(const struct dataplane *dp)
{
	return dp->plane.backend == DATAPLANE_EPOLL ? "epoll" : "io_uring";
}

const char *dataplane_backend_reason(const struct dataplane *dp)
{
	if (dp->config.backend != DATAPLANE_AUTO)
		return "asked for by --dataplane";
	return dp->plane.no_uring.code ? dp->plane.no_uring.msg : "io_uring works here";
}

uint64_t dataplane_netns_cookie(const struct dataplane *dp)
{
	return dp->broker.cookie;
}

unsigned dataplane_workers(const struct dataplane *dp)
{
	return dp->workers;
}
