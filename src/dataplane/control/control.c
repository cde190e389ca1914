/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/dataplane.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/fd.h"
#include "base/fdpass.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/sockaddr.h"
#include "dataplane/bind.h"
#include "dataplane/control/control_internal.h"
#include "dataplane/outward.h"

/*
 * The door, and the table of ports. Runs in the parent, in its loop.
 *
 * A port is bound here, and its sockets stay open here for as long as it lives; the workers get
 * duplicates. Each worker that holds a socket of it answers every request about it once. When the
 * data plane dies, no answer comes; the next one is offered every port.
 */

/* Of the descriptors a process may have, listening sockets take three quarters at most: what is
 * left is for connections, two each, and some for each worker in any case. A port has one for each
 * worker until a sixteenth is taken, and one in all from then on: some thousand ports are not all
 * busy, and bound they must be. */
#define FDS_KEPT		 16
#define FDS_KEPT_WORKER		 32
#define LISTENERS_PLENTY(nofile) ((nofile) / 16)

/* Time for the workers to let go of all ports: 10,000 take this long on a busy machine. */
#define LET_GO_MS 1000

/* How many data planes may die over a port before it is refused. */
#define LIVES_MAX 2

/* A port's life */

static struct dp_port *port_find(const struct dataplane *dp, int id)
{
	struct dp_port *port;

	HASH_FIND_INT(dp->ports, &id, port);
	return port;
}

static void port_free(struct dp_port *port)
{
	struct dataplane *dp = port->dp;

	loop_remove(port->timer);
	if (hash_has(&port->hh))
		HASH_DEL(dp->ports, port);
	fdpass_close(port->fds, port->n_fds);
	dp_slot_put(dp, port->slot);
	dp->listeners -= port->n_fds;
	free(port->fds);
	free(port);
}

static void port_finish(struct dp_port *port, enum port_settler by, int err)
{
	struct port_outcome outcome = {.by = by, .err = err};
	dataplane_done_fn *done = port->done;
	void *arg = port->arg;

	port_free(port);
	done(arg, &outcome);
}

static union sock_addr to_sock_addr(const struct sockaddr_storage *ss)
{
	union sock_addr a;

	memset(&a, 0, sizeof(a));
	if (ss->ss_family == AF_INET)
		memcpy(&a.in4, ss, sizeof(a.in4));
	else if (ss->ss_family == AF_INET6)
		memcpy(&a.in6, ss, sizeof(a.in6));
	return a;
}

/* Makes of a message about the port one about its socket in the namespace. Returns the worker that
 * has it: one that has another socket of the port, and has made the slot ready for it. */
static unsigned msg_inside(const struct dp_port *port, struct dp_msg *msg)
{
	msg->port_id = -port->spec.id;
	msg->listen_family = port->spec.inside.ss_family;
	msg->slot_used = false;
	msg->transparent = false; /* who is inside is no client from outside */
	assert(port->n_fds > 1);  /* it is the last of them */
	return port->worker + (unsigned)port->spec.id % (port->n_fds - 1);
}

/* Whether it can have clients from outside whose addresses servers are to see. */
static bool is_transparent(const struct dp_port *port)
{
	const struct dataplane *dp = port->dp;

	bool works = dp->transparent && port->spec.proto == PORT_TCP;

	return (works || (dp->config.outward && dp->config.transparent)) &&
	       !sockaddr_is_loopback((const struct sockaddr *)&port->spec.listen);
}

/* Sends a request to every worker that has a socket of the port. */
static void port_post(struct dp_port *port, enum dp_msg_type type)
{
	struct dataplane *dp = port->dp;
	struct dp_msg msg = {.type = type,
			     .seq = ++dp->seq,
			     .port_id = port->spec.id,
			     .proto = port->spec.proto,
			     .listen_family = port->spec.listen.ss_family,
			     .slot = port->slot,
			     .slot_used = port->slot_used,
			     .transparent = is_transparent(port),
			     .target = to_sock_addr(&port->spec.target),
			     .target2 = to_sock_addr(&port->spec.target2)};

	if (type == DP_MSG_ADD && msg.transparent && msg.proto == PORT_TCP)
		dp_broker_look(dp);
	port->seq = dp->seq;
	port->waiting = port->n_fds;
	for (unsigned i = 0; i < port->n_fds; i++) {
		bool inside = port->inside && i == port->n_fds - 1;
		unsigned worker = inside ? msg_inside(port, &msg) : port->worker + i;
		struct dp_channel *ch = &dp->channels[worker % dp->workers];
		int fd = type == DP_MSG_ADD ? port->fds[i] : -1;

		if (dp_channel_post(ch, &msg, fd, false) < 0)
			dp_child_give_up(&dp->plane, "out of memory for its messages");
	}
}

static void port_added(struct dp_port *port)
{
	const struct port_outcome outcome = {.by = PORT_BY_WORKER, .err = 0};
	dataplane_done_fn *done = port->done;
	void *arg = port->arg;

	if (port->err) {
		port->state = DP_PORT_UNDOING;
		port_post(port, DP_MSG_REMOVE);
		return;
	}
	port->state = DP_PORT_LIVE;
	port->done = NULL;
	done(arg, &outcome);
}

/* Every worker concerned has answered. */
static void port_answered(struct dp_port *port)
{
	switch (port->state) {
	case DP_PORT_ADDING:
		port_added(port);
		break;
	case DP_PORT_UNDOING:
		port_finish(port, PORT_BY_WORKER, port->err);
		break;
	case DP_PORT_REMOVING:
		port_finish(port, PORT_BY_WORKER, 0);
		break;
	case DP_PORT_BINDING:
	case DP_PORT_LIVE:
		break;
	}
}

void dp_ports_answer(struct dataplane *dp, unsigned worker, const struct dp_msg *msg)
{
	struct dp_port *port = port_find(dp, (int)labs((long)msg->port_id));
	int err = wire_err(msg->err);

	if (!port || port->seq != msg->seq || port->waiting == 0) {
		log_debug("worker %u: an answer about port %d that nobody waits for", worker,
			  msg->port_id);
		return;
	}
	if (err && port->state == DP_PORT_LIVE)
		log_error("worker %u of the new data plane refused port %d: %s", worker,
			  msg->port_id, strerror(-err));
	if (err && port->state == DP_PORT_ADDING)
		port->err = err;
	if (--port->waiting == 0)
		port_answered(port);
}

void dp_ports_offer(struct dataplane *dp)
{
	struct dp_port *port, *tmp;

	HASH_ITER(hh, dp->ports, port, tmp)
	{
		if (port->state == DP_PORT_ADDING)
			port->lives++;
		if (port->state == DP_PORT_ADDING || port->state == DP_PORT_LIVE)
			port_post(port, DP_MSG_ADD);
	}
}

static void on_finish(void *arg, uint32_t events)
{
	struct dp_port *port = arg;

	(void)events;
	port->timer = NULL;
	port_finish(port, port->by, port->err);
}

/* Finishes it soon: never within the call that asked for it. */
static void port_finish_soon(struct dp_port *port, enum port_settler by, int err)
{
	port->by = by;
	port->err = err;
	port->waiting = 0;
	port->timer = loop_add_timer(port->dp->loop, 0, on_finish, port);
	if (!port->timer)
		port_finish(port, by, err);
}

void dp_ports_plane_died(struct dataplane *dp, bool hopeless)
{
	struct dp_port *port, *tmp;

	HASH_ITER(hh, dp->ports, port, tmp)
	{
		if (port->timer)
			continue;
		port->waiting = 0;
		if (port->state == DP_PORT_REMOVING)
			port_finish_soon(port, PORT_BY_DATA_PLANE, 0);
		else if (port->state == DP_PORT_UNDOING)
			port_finish_soon(port, PORT_BY_WORKER, port->err);
		else if (port->state == DP_PORT_ADDING && (hopeless || port->lives >= LIVES_MAX))
			port_finish_soon(port, PORT_BY_DATA_PLANE, -ECONNRESET);
	}
}

/* The socket in the namespace */

/* Asks the broker for it, or finishes the port if it cannot be asked. */
static void port_ask_broker(struct dp_port *port)
{
	struct dataplane *dp = port->dp;
	int code;

	port->seq = ++dp->seq;
	code = dp_inside_ask(dp, port);
	port->asked = code == 0;
	dp->broker_behind |= code == -EAGAIN;
	if (code < 0 && code != -EAGAIN && code != -EPIPE)
		port_finish_soon(port, PORT_BY_BROKER, code);
}

/* Everything is bound: on to the workers. */
static void port_hand_over(struct dp_port *port)
{
	port->state = DP_PORT_ADDING;
	port->lives = port->dp->plane.state != DP_CHILD_DOWN;
	port_post(port, DP_MSG_ADD);
}

/* The socket that the broker has sent for the port, or -1. */
static void port_take_inside(struct dp_port *port, int fd)
{
	struct dataplane *dp = port->dp;

	if (fd < 0 || !dp_inside_check(dp, port, fd)) {
		log_error("the %s sent something else than the socket it was asked for",
			  dp->broker.name);
		close_fd(&fd);
		port_finish(port, PORT_BY_BROKER, -EPROTO);
		return;
	}
	port->fds[port->n_fds++] = fd;
	port->inside = true;
	dp->listeners++;
	port_hand_over(port);
}

void dp_port_inside(struct dataplane *dp, int id, uint32_t seq, int err, int fd)
{
	struct dp_port *port = port_find(dp, id);

	if (!port || port->state != DP_PORT_BINDING || port->seq != seq || port->timer) {
		log_debug("%s: an answer about port %d that nobody waits for", dp->broker.name, id);
		close_fd(&fd);
	} else if (!err) {
		port_take_inside(port, fd);
	} else if (err == -EADDRNOTAVAIL || err == -EAFNOSUPPORT) {
		log_debug("port %d: the namespace does not have its address", id);
		port_hand_over(port);
	} else {
		port_finish(port, PORT_BY_BROKER, err);
	}
}

void dp_ports_ask_broker(struct dataplane *dp, bool anew)
{
	struct dp_port *port, *tmp;

	dp->broker_behind = false;
	HASH_ITER(hh, dp->ports, port, tmp)
	{
		port->asked &= !anew;
		if (port->state == DP_PORT_BINDING && !port->timer && !port->asked &&
		    !dp->broker_behind)
			port_ask_broker(port);
	}
}

void dp_ports_broker_hopeless(struct dataplane *dp)
{
	struct dp_port *port, *tmp;

	HASH_ITER(hh, dp->ports, port, tmp)
	{
		if (port->state == DP_PORT_BINDING && !port->timer)
			port_finish_soon(port, PORT_BY_DATA_PLANE, -ECONNRESET);
	}
}

/* Adding and removing */

static unsigned sockets_for_port(const struct dataplane *dp)
{
	bool plenty = dp->listeners + dp->workers <= dp->listeners_plenty;

	return plenty ? dp->workers : 1;
}

/* 0 or -errno. */
static int port_bind(struct dp_port *port)
{
	struct dataplane *dp = port->dp;
	unsigned n = sockets_for_port(dp), inside = port->spec.inside.ss_family != 0;
	int code;

	if (dp->listeners + n + inside > dp->listeners_max)
		return -EMFILE;
	port->fds = calloc(n + inside, sizeof(*port->fds));
	if (!port->fds)
		return -ENOMEM;
	code = bind_port(&port->spec, port->fds, n);
	if (code == -EMFILE && n > 1) {
		n = 1;
		code = bind_port(&port->spec, port->fds, n);
	}
	if (code < 0)
		return code;
	port->n_fds = n;
	dp->listeners += n;
	port->worker = n == 1 ? dp->next_worker++ % dp->workers : 0;
	return 0;
}

/* A process that dies again and again: a request would wait for long. */
static bool is_hopeless(const struct dp_child *child)
{
	return child->state == DP_CHILD_DOWN && child->failures >= 4;
}

static struct port_outcome refused(enum port_settler by, int err)
{
	return (struct port_outcome){.by = by, .err = err};
}

struct port_outcome dataplane_port_add(struct dataplane *dp, const struct port_route *route,
				       dataplane_done_fn *done, void *arg)
{
	struct dp_port *port;
	int code;

	assert(route->id > 0 && !port_find(dp, route->id));
	if (is_hopeless(&dp->plane) || (route->inside.ss_family && is_hopeless(&dp->broker)))
		return refused(PORT_BY_DATA_PLANE, -ECONNRESET);
	if (HASH_COUNT(dp->ports) == LIMIT_PORTS)
		return refused(PORT_BY_PARENT, -ENOSPC);
	port = calloc(1, sizeof(*port));
	if (!port)
		return refused(PORT_BY_PARENT, -ENOMEM);
	*port = (struct dp_port){.dp = dp,
				 .state = DP_PORT_BINDING,
				 .spec = *route,
				 .slot = DP_SLOT_NONE,
				 .done = done,
				 .arg = arg};
	code = port_bind(port);
	if (code < 0) {
		port_free(port);
		return refused(PORT_BY_PARENT, code);
	}
	HASH_ADD_INT(dp->ports, spec.id, port);
	if (!hash_has(&port->hh)) {
		port_free(port);
		return refused(PORT_BY_PARENT, -ENOMEM);
	}
	dp_slot_get(dp, port);
	if (route->inside.ss_family)
		port_ask_broker(port);
	else
		port_hand_over(port);
	return refused(PORT_BY_PARENT, 0);
}

int dataplane_port_remove(struct dataplane *dp, int id, dataplane_done_fn *done, void *arg)
{
	struct dp_port *port = port_find(dp, id);

	if (!port || port->state != DP_PORT_LIVE)
		return -ENOENT;
	port->state = DP_PORT_REMOVING;
	port->done = done;
	port->arg = arg;
	if (dp->plane.state == DP_CHILD_DOWN)
		port_finish_soon(port, PORT_BY_DATA_PLANE, 0);
	else
		port_post(port, DP_MSG_REMOVE);
	return 0;
}

/* Opening and closing */

static unsigned default_workers(void)
{
	cpu_set_t cpus;

	if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
		return 1; /* more CPUs than a cpu_set_t has: one will do until someone has such */
	return (unsigned)CPU_COUNT(&cpus);
}

unsigned dataplane_worker_count(unsigned asked)
{
	unsigned n = asked ? asked : default_workers();

	return n < 1 ? 1 : n > LIMIT_WORKERS ? LIMIT_WORKERS : n;
}

/* As many descriptors as the user may have, for us and for what we start: the data plane has two
 * for each connection, and we have the listening sockets. */
static unsigned raise_nofile(void)
{
	struct rlimit rl;
	rlim_t soft;

	if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
		return 1024;
	soft = rl.rlim_cur;
	rl.rlim_cur = rl.rlim_max < LIMIT_NOFILE ? rl.rlim_max : LIMIT_NOFILE;
	if (setrlimit(RLIMIT_NOFILE, &rl) < 0)
		rl.rlim_cur = soft;
	return rl.rlim_cur < LIMIT_NOFILE ? (unsigned)rl.rlim_cur : LIMIT_NOFILE;
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
	unsigned nofile = raise_nofile();
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
	dp_channels_init(dp);
	code = dp_children_start(dp, e);
	if (code) {
		free(dp);
		return code;
	}
	if (dp->config.outward)
		dp->config.outward->dataplane = dp;
	*out = dp;
	return 0;
}

static void nobody_waits(void *arg, const struct port_outcome *outcome)
{
	(void)arg;
	(void)outcome;
}

/* The kernel lets go of a dead process's ring, and with it of the sockets, some time after the
 * process: whoever starts again at once would find the addresses in use. So the workers give them
 * up while they live. */
static void ports_let_go(struct dataplane *dp)
{
	uint64_t end_ms = loop_now_ms() + LET_GO_MS;
	int left_ms = LET_GO_MS;

	do {
		struct dp_port *port, *tmp;

		HASH_ITER(hh, dp->ports, port, tmp)
		{
			if (port->state == DP_PORT_LIVE)
				dataplane_port_remove(dp, port->spec.id, nobody_waits, NULL);
			else if (port->state == DP_PORT_BINDING)
				port_free(port);
			else
				port->done = nobody_waits;
		}
		left_ms = (int)((int64_t)end_ms - (int64_t)loop_now_ms());
	} while (dp->ports && left_ms > 0 && dp_channels_wait(dp, left_ms));
}

void dataplane_close(struct dataplane *dp)
{
	struct dp_port *port, *tmp;

	if (!dp)
		return;
	if (dp->config.outward)
		dp->config.outward->dataplane = NULL;
	if (dp->plane.state == DP_CHILD_UP)
		ports_let_go(dp);
	dp_children_end(dp);
	loop_remove(dp->look);
	HASH_ITER(hh, dp->ports, port, tmp)
	port_free(port);
	free(dp);
}

void dataplane_resolvers_changed(struct dataplane *dp)
{
	const union sock_addr *a = dp->config.outward->config.resolvers;
	struct dp_msg msg = {
		.type = DP_MSG_RESOLVERS, .target = a[0], .target2 = a[1], .target3 = a[2]};

	/* The next data plane is told at its start. */
	for (unsigned i = 0; i < dp->workers; i++)
		if (dp_channel_post(&dp->channels[i], &msg, -1, false) < 0)
			dp_child_give_up(&dp->plane, "out of memory for its messages");
}

const char *dataplane_backend_name(const struct dataplane *dp)
{
	return dp->backend == DATAPLANE_EPOLL ? "epoll" : "io_uring";
}

const char *dataplane_backend_reason(const struct dataplane *dp)
{
	if (dp->config.backend != DATAPLANE_AUTO)
		return "asked for by --dataplane";
	return dp->no_uring.code ? dp->no_uring.msg : "io_uring works here";
}

uint64_t dataplane_netns_cookie(const struct dataplane *dp)
{
	return dp->broker.cookie;
}

unsigned dataplane_workers(const struct dataplane *dp)
{
	return dp->workers;
}
