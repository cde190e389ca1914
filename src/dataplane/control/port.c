/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "base/restart.h"
#include "base/sockaddr.h"
#include "dataplane/bind.h"
#include "dataplane/control/control_internal.h"
#include "ports/address.h"

/*
 * A port's life. Runs in the parent, in its loop.
 *
 * The parent binds a port's sockets and keeps them open while the port exists; the workers get
 * duplicates. Each worker that has a socket of the port answers every request about the port once.
 * When the data plane dies, its answers do not come; the next one is offered every port.
 */

/* Time for the workers to close all ports: 10,000 take this long on a busy machine. */
#define LET_GO_MS 1000

/* How many data planes may die over a port before it is refused. */
#define LIVES_MAX 2

static struct dp_port *port_find(const struct dataplane *dp, int id)
{
	struct dp_port *port;

	HASH_FIND_INT(dp->ports, &id, port);
	return port;
}

/* Frees everything that the parent has of the port. */
static void port_clear(struct dp_port *port)
{
	struct dataplane *dp = port->dp;

	loop_remove(port->timer);
	port->timer = NULL;
	dp_turned_forget(port);
	if (hash_has(&port->hh))
		HASH_DEL(dp->ports, port);
	fdpass_close(port->fds, port->n_fds);
	dp_slot_put(dp, port->slot);
	dp->listeners -= port->n_fds;
	free(port->fds);
	port->fds = NULL;
}

/* Why the port cannot be had, in RootlessKit's words. */
static void explain(const struct port_spec *spec, enum port_settler by, int err, struct err *e)
{
	if (err == -ETOOMANYREFS)
		err_set(e, err, "the port cannot be handed over: %s", fdpass_strerror(err));
	else if (by == PORT_BY_DATA_PLANE)
		err_set(e, err, "the data plane fails again and again: see the log");
	else if (by == PORT_BY_BROKER)
		port_address_inside_error(spec, err, e);
	else
		port_address_error(spec, err,
				   by == PORT_BY_PARENT ? port_address_unprivileged_start() : -1,
				   e);
}

/* The one place where an add or a remove ends: err is 0 or -errno. */
static void port_settle(struct dp_port *own, enum port_settler by, int err)
{
	struct port *port = own->port;
	bool closing = own->dp->closing;
	struct err e = {.code = 0};

	if (own->state == DP_PORT_ADDING && !err)
		own->state = DP_PORT_LIVE;
	else
		port_clear(own);
	if (own->state == DP_PORT_LIVE)
		dp_turned_begin(own);
	if (err)
		explain(&port->spec, by, err, &e);
	if (!closing)
		port->settled(port, by, err ? &e : NULL);
}

/* Changes a message about the port into one about its socket in the namespace. Returns the worker
 * that has that socket. It also has another socket of the port, so its slot has been prepared. */
static unsigned msg_inside(const struct dp_port *port, struct dp_msg *msg)
{
	msg->port_id = -port->id;
	msg->listen_family = port->route.inside.ss_family;
	msg->slot_used = false;
	msg->transparent = false; /* a client inside is not a client from outside */
	assert(port->n_fds > 1);  /* the socket in the namespace is not the only one */
	return port->worker + (unsigned)port->id % (port->n_fds - 1);
}

/* Whether servers should see the addresses of this port's clients. */
static bool is_transparent(const struct dp_port *port)
{
	const struct dataplane *dp = port->dp;

	bool works = dp->transparent && port->route.proto == PORT_TCP;

	return (works || (dp->config.outward && dp->config.transparent)) &&
	       !sockaddr_is_loopback((const struct sockaddr *)&port->route.listen);
}

bool dp_port_post_to(struct dp_port *port, enum dp_msg_type type, struct dp_channel *channels)
{
	struct dataplane *dp = port->dp;
	bool sent = true;
	struct dp_msg msg = {.type = type,
			     .seq = ++dp->seq,
			     .port_id = port->id,
			     .proto = port->route.proto,
			     .listen_family = port->route.listen.ss_family,
			     .slot = port->slot,
			     .slot_used = port->slot_used,
			     .transparent = is_transparent(port),
			     .literal = port->route.literal};

	dp_turned_targets(port, &msg);
	port->seq = dp->seq;
	for (unsigned i = 0; i < port->n_fds; i++) {
		bool inside = port->inside && i == port->n_fds - 1;
		unsigned worker = inside ? msg_inside(port, &msg) : port->worker + i;
		struct dp_channel *ch = &channels[worker % dp->workers];
		int fd = type == DP_MSG_ADD ? port->fds[i] : -1;

		sent &= dp_channel_post(ch, &msg, fd, false) == 0;
	}
	return sent;
}

void dp_port_post(struct dp_port *port, enum dp_msg_type type)
{
	struct dataplane *dp = port->dp;

	port->held = 0;
	if (dp_reload_holds(dp)) {
		port->held = type;
		return;
	}
	if (type == DP_MSG_ADD && is_transparent(port) && port->route.proto == PORT_TCP)
		dp_broker_look(dp);
	port->waiting = port->n_fds;
	if (!dp_port_post_to(port, type, dp->channels))
		dp_channel_missed(&dp->plane);
}

static void port_added(struct dp_port *port)
{
	if (!port->err) {
		port_settle(port, PORT_BY_WORKER, 0);
		return;
	}
	port->state = DP_PORT_UNDOING;
	dp_port_post(port, DP_MSG_REMOVE);
}

/* Every worker that was asked has answered. */
static void port_answered(struct dp_port *port)
{
	switch (port->state) {
	case DP_PORT_ADDING:
		port_added(port);
		break;
	case DP_PORT_UNDOING:
		port_settle(port, PORT_BY_WORKER, port->err);
		break;
	case DP_PORT_REMOVING:
		port_settle(port, PORT_BY_WORKER, 0);
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
	if (--port->waiting == 0) {
		port_answered(port);
		dp_reload_settled(dp);
	}
}

bool dp_port_may_give_up(const struct dataplane *dp, const struct dp_msg *msg)
{
	const struct dp_port *port = port_find(dp, (int)labs((long)msg->port_id));

	return msg->type == DP_MSG_ADD && (!port || port->state != DP_PORT_LIVE);
}

void dp_port_give_up(struct dataplane *dp, unsigned worker, const struct dp_msg *msg, int err)
{
	struct dp_msg done = {
		.type = DP_MSG_DONE, .port_id = msg->port_id, .seq = msg->seq, .err = err};

	dp_ports_answer(dp, worker, &done);
}

void dp_ports_offer(struct dataplane *dp)
{
	struct dp_port *port, *tmp;

	HASH_ITER(hh, dp->ports, port, tmp)
	{
		if (port->state == DP_PORT_ADDING)
			port->lives++;
		if (port->state == DP_PORT_ADDING || port->state == DP_PORT_LIVE)
			dp_port_post(port, DP_MSG_ADD);
	}
}

static void on_settle(void *arg, uint32_t events)
{
	struct dp_port *port = arg;

	(void)events;
	port->timer = NULL;
	port_settle(port, port->by, port->err);
}

/* Settles the port from a timer, as the caller is walking over the ports. */
static void port_settle_soon(struct dp_port *port, enum port_settler by, int err)
{
	port->by = by;
	port->err = err;
	port->waiting = 0;
	port->timer = loop_add_timer(port->dp->loop, 0, on_settle, port);
	if (!port->timer)
		port_settle(port, by, err);
}

void dp_ports_plane_died(struct dataplane *dp, bool hopeless)
{
	struct dp_port *port, *tmp;

	HASH_ITER(hh, dp->ports, port, tmp)
	{
		if (port->timer)
			continue;
		port->waiting = 0;
		port->held = 0;
		if (port->state == DP_PORT_REMOVING)
			port_settle_soon(port, PORT_BY_DATA_PLANE, 0);
		else if (port->state == DP_PORT_UNDOING)
			port_settle_soon(port, PORT_BY_WORKER, port->err);
		else if (port->state == DP_PORT_ADDING && (hopeless || port->lives >= LIVES_MAX))
			port_settle_soon(port, PORT_BY_DATA_PLANE, -ECONNRESET);
	}
}

/* The socket in the namespace */

/* Whether the process dies again and again, so that a request would wait for long. */
static bool is_hopeless(const struct dp_child *child)
{
	return child->state == DP_CHILD_DOWN &&
	       restart_delay_ms(child->failures) >= RESTART_HOPELESS_MS;
}

/* Asks the broker for the port's socket, or settles the port when the broker cannot be asked. */
static void port_ask_broker(struct dp_port *port)
{
	struct dataplane *dp = port->dp;
	int code;

	port->seq = ++dp->seq;
	code = dp_inside_ask(dp, port);
	port->asked = code == 0;
	dp->broker_behind |= code == -EAGAIN;
	if (code < 0 && code != -EAGAIN && code != -EPIPE)
		port_settle_soon(port, PORT_BY_BROKER, code);
}

/* All sockets are bound: hands them to the workers. */
static void port_hand_over(struct dp_port *port)
{
	port->state = DP_PORT_ADDING;
	port->lives = port->dp->plane.state != DP_CHILD_DOWN;
	dp_port_post(port, DP_MSG_ADD);
}

/* Takes the socket that the broker has sent for the port. If there is none, or it is not what was
 * ordered, the port fails. */
static void port_take_inside(struct dp_port *port, int fd)
{
	struct dataplane *dp = port->dp;

	if (fd < 0 || !dp_inside_check(dp, port, fd)) {
		log_error("the %s sent something else than the socket it was asked for",
			  dp->broker.name);
		close_fd(&fd);
		port_settle(port, PORT_BY_BROKER, -EPROTO);
		return;
	}
	port->fds[port->n_fds++] = fd;
	port->inside = true;
	dp->listeners++;
	port_hand_over(port);
}

static void on_ask_again(void *arg, uint32_t events)
{
	struct dp_port *port = arg;

	(void)events;
	port->timer = NULL;
	if (is_hopeless(&port->dp->broker))
		port_settle(port, PORT_BY_DATA_PLANE, -ECONNRESET);
	else
		port_ask_broker(port);
}

/* The broker cannot send the socket now: asks again later. False: that has been so for too long. */
static bool port_ask_later(struct dp_port *port)
{
	struct dataplane *dp = port->dp;

	if (loop_now_ms() - port->asked_ms >= FDPASS_PATIENCE_MS)
		return false;
	port->timer = loop_add_timer(dp->loop, 4 * FDPASS_RETRY_MS, on_ask_again, port);
	return port->timer != NULL;
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
	} else if (err != -ETOOMANYREFS || !port_ask_later(port)) {
		port_settle(port, PORT_BY_BROKER, err);
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
			port_settle_soon(port, PORT_BY_DATA_PLANE, -ECONNRESET);
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
	unsigned n = sockets_for_port(dp), inside = port->route.inside.ss_family != 0;
	int code;

	if (dp->listeners + n + inside > dp->listeners_max)
		return -EMFILE;
	port->fds = calloc(n + inside, sizeof(*port->fds));
	if (!port->fds)
		return -ENOMEM;
	code = bind_port(&port->route, port->fds, n);
	if (code == -EMFILE && n > 1) {
		n = 1;
		code = bind_port(&port->route, port->fds, n);
	}
	if (code < 0) {
		free(port->fds);
		port->fds = NULL;
		return code;
	}
	port->n_fds = n;
	dp->listeners += n;
	port->worker = n == 1 ? dp->next_worker++ % dp->workers : 0;
	return 0;
}

/* Binds the port and enters it into the table. 0, or -errno, and then port_clear cleans up. */
static int port_enter(struct dp_port *port)
{
	struct dataplane *dp = port->dp;
	int code = port_bind(port);

	if (code == -EAFNOSUPPORT && port_address_without_ipv6(&port->route))
		code = port_bind(port);
	if (code < 0)
		return code;
	HASH_ADD_INT(dp->ports, id, port);
	if (!hash_has(&port->hh))
		return -ENOMEM;
	dp_slot_get(dp, port);
	return 0;
}

static struct dp_port *own_part(struct port *port)
{
	static_assert(alignof(struct dp_port) <= alignof(max_align_t), "it fits there");
	return (struct dp_port *)port->own;
}

void dataplane_port_add(struct dataplane *dp, struct port *port, const struct port_route *route)
{
	struct dp_port *own = own_part(port);
	int code;

	assert(port->id > 0 && !port_find(dp, port->id));
	*own = (struct dp_port){.dp = dp,
				.port = port,
				.id = port->id,
				.state = DP_PORT_BINDING,
				.route = *route,
				.slot = DP_SLOT_NONE};
	if (is_hopeless(&dp->plane) || (route->inside.ss_family && is_hopeless(&dp->broker))) {
		port_settle(own, PORT_BY_DATA_PLANE, -ECONNRESET);
		return;
	}
	code = port_enter(own);
	if (code < 0)
		port_settle(own, PORT_BY_PARENT, code);
	else if (route->inside.ss_family) {
		own->asked_ms = loop_now_ms();
		port_ask_broker(own);
	} else
		port_hand_over(own);
}

void dataplane_port_remove(struct dataplane *dp, struct port *port)
{
	struct dp_port *own = own_part(port);

	assert(port_find(dp, port->id) == own && own->state == DP_PORT_LIVE);
	own->state = DP_PORT_REMOVING;
	if (dp->plane.state == DP_CHILD_DOWN && !dp_reload_holds(dp))
		port_settle_soon(own, PORT_BY_DATA_PLANE, 0);
	else
		dp_port_post(own, DP_MSG_REMOVE);
}

/* The end */

/* The kernel closes a dead process's ring, and the sockets in it, some time after the process has
 * ended. A new start would find the addresses in use. So the workers close the sockets while they
 * live. */
void dp_ports_let_go(struct dataplane *dp)
{
	uint64_t end_ms = loop_now_ms() + LET_GO_MS;
	int left_ms = LET_GO_MS;

	do {
		struct dp_port *port, *tmp;

		HASH_ITER(hh, dp->ports, port, tmp)
		{
			if (port->state == DP_PORT_LIVE)
				dataplane_port_remove(dp, port->port);
			else if (port->state == DP_PORT_BINDING)
				port_clear(port);
		}
		left_ms = (int)((int64_t)end_ms - (int64_t)loop_now_ms());
	} while (dp->ports && left_ms > 0 && dp_channels_wait(dp, left_ms));
}

void dp_ports_clear(struct dataplane *dp)
{
	struct dp_port *port, *tmp;

	HASH_ITER(hh, dp->ports, port, tmp)
	port_clear(port);
}
