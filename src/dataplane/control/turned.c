/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "base/sockaddr.h"
#include "dataplane/control/control_internal.h"

/*
 * Ports that rules in the namespace turn elsewhere. Runs in the parent, in its loop.
 *
 * dockerd 28 publishes a container's port at 127.0.0.1 of the namespace, where its docker-proxy
 * listens. Its rules turn connections that come in for that address straight to the container; but
 * a connection of the broker's sockets does not come in, it is made there, and Docker's rules leave
 * it alone. So the parent finds out where such a port would lead, and has the workers connect
 * there. If the server refuses, they go where the port's spec says. With --net=builtin connections
 * with the client's address come in by the router, so the rules turn them. This is for the others
 * then: those of clients on this host.
 *
 * The keeper finds it out (ns/turned.h), and tells when rules have changed. Then the parent asks
 * about one port after the other. The kernel does not report rules of the older iptables-legacy;
 * dockerd makes those of a port soon after it has asked for the port, so then there are some looks
 * without news.
 */

/* Time limit for an answer. The keeper itself gives up earlier. */
#define ANSWER_MS 2000

/* Pause before the next walk, if rules have changed during the last one: at least this long, and
 * longer than the walk by a factor, so that thousands of ports and rules that change all the time
 * do not occupy the parent. */
#define PAUSE_MS     20
#define PAUSE_FACTOR 10

/* The same when the keeper could not tell: the last keeper has not ended yet, or memory was short.
 */
#define LATER_MS 500

/* Pauses before the looks that follow a new port: the first, the factor, the last. */
#define FOLLOW_UP_MS	 100
#define FOLLOW_UP_FACTOR 4
#define FOLLOW_UP_MAX_MS 6400

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

void dp_turned_targets(const struct dp_port *port, struct dp_msg *msg)
{
	msg->target = to_sock_addr(&port->route.target);
	msg->target2 = to_sock_addr(&port->route.target2);
	if (port->turned.sa.sa_family == AF_UNSPEC)
		return;
	/* The second target stays, even if it is the first again: flows may be on their way there.
	 */
	msg->target2 = msg->target;
	msg->target = port->turned;
}

/* Whether the user named a loopback address, and nothing else, as the place where the port leads.
 */
static bool may_be_turned(const struct dp_port *port)
{
	const struct port_route *route = &port->route;

	return port->state == DP_PORT_LIVE && route->literal &&
	       route->target2.ss_family == AF_UNSPEC && route->inside.ss_family == AF_UNSPEC &&
	       sockaddr_is_loopback((const struct sockaddr *)&route->target);
}

static void on_pause_over(void *arg, uint32_t events)
{
	struct dataplane *dp = arg;

	(void)events;
	dp->turned.timer = NULL;
	dp_turned_look(dp);
}

static void set_timer(struct dataplane *dp, unsigned ms, loop_fn *fn)
{
	loop_remove(dp->turned.timer);
	dp->turned.timer = loop_add_timer(dp->loop, ms, fn, dp);
}

static void walk_ended(struct dataplane *dp)
{
	struct dp_turned *t = &dp->turned;
	uint64_t took_ms = loop_now_ms() - t->began_ms;

	t->at = NULL;
	loop_remove(t->timer);
	t->timer = NULL;
	if (t->again)
		set_timer(dp, (t->later ? LATER_MS : PAUSE_MS) + (unsigned)took_ms * PAUSE_FACTOR,
			  on_pause_over);
	t->again = t->later = false;
}

/* The walk cannot go on now: another one is due. */
static void walk_later(struct dataplane *dp)
{
	dp->turned.again = dp->turned.later = true;
	walk_ended(dp);
}

static void on_late(void *arg, uint32_t events)
{
	struct dataplane *dp = arg;

	(void)events;
	dp->turned.timer = NULL;
	log_debug("%s: no answer about port %d", dp->broker.name, dp->turned.at->id);
	dp->turned.began_ms += ANSWER_MS; /* the parent had nothing to do meanwhile */
	walk_later(dp);
}

/* Asks about this port, or the next one that there is something to ask about. */
static void walk_on(struct dataplane *dp, struct dp_port *port)
{
	struct broker_turned msg = {.seq = ++dp->seq};
	int code;

	while (port && !may_be_turned(port))
		port = port->hh.next;
	dp->turned.at = port;
	if (!port) {
		walk_ended(dp);
		return;
	}
	msg.port_id = port->id;
	msg.proto = port->route.proto == PORT_TCP ? IPPROTO_TCP : IPPROTO_UDP;
	msg.addr = to_sock_addr(&port->route.target);
	dp->turned.seq = msg.seq;
	code = fdpass_send(dp->broker.boot_fd, &msg, sizeof(msg), NULL, 0, MSG_DONTWAIT);
	if (!code)
		set_timer(dp, ANSWER_MS, on_late);
	else if (fd_is_passing(code))
		walk_later(dp);
	else
		walk_ended(dp); /* a new broker will be asked */
}

void dp_turned_look(struct dataplane *dp)
{
	struct dp_turned *t = &dp->turned;

	if (!dp->config.transparent || dp->closing || dp->broker.state != DP_CHILD_UP)
		return;
	if (t->at) {
		t->again = true;
		return;
	}
	if (t->timer)
		return;
	t->began_ms = loop_now_ms();
	walk_on(dp, dp->ports);
}

static void follow_up(struct dataplane *dp, unsigned ms);

static void on_follow_up(void *arg, uint32_t events)
{
	struct dataplane *dp = arg;

	(void)events;
	dp->turned.follow_up = NULL;
	if (dp->turned.follow_up_ms < FOLLOW_UP_MAX_MS)
		follow_up(dp, dp->turned.follow_up_ms * FOLLOW_UP_FACTOR);
	dp_turned_look(dp);
}

static void follow_up(struct dataplane *dp, unsigned ms)
{
	loop_remove(dp->turned.follow_up);
	dp->turned.follow_up_ms = ms;
	dp->turned.follow_up = loop_add_timer(dp->loop, ms, on_follow_up, dp);
}

/* Tells the workers where the port leads from now on. Those that have no socket of it ignore that.
 */
static void tell_workers(struct dp_port *port)
{
	struct dataplane *dp = port->dp;
	struct dp_msg msg = {.type = DP_MSG_TARGET, .port_id = port->id};

	dp_turned_targets(port, &msg);
	for (unsigned i = 0; i < dp->workers; i++)
		if (dp_channel_post(&dp->channels[i], &msg, -1, false) < 0)
			dp_child_give_up(&dp->plane, "out of memory for its messages");
}

static bool is_same(const union sock_addr *a, const union sock_addr *b)
{
	/* An IPv6 port is at the same place. */
	return a->sa.sa_family == b->sa.sa_family && sockaddr_same_host(a, b) &&
	       a->in4.sin_port == b->in4.sin_port;
}

/* The port leads to this address. */
static void turn(struct dp_port *port, const union sock_addr *to)
{
	union sock_addr target = to_sock_addr(&port->route.target);
	bool turned = port->turned.sa.sa_family != AF_UNSPEC;
	char text[SOCKADDR_TEXT_BYTES];

	if (to->sa.sa_family != target.sa.sa_family || to->in4.sin_port == 0 ||
	    is_same(to, turned ? &port->turned : &target))
		return;
	port->turned = *to;
	log_debug("port %d leads to %s: rules in the namespace turn it there", port->id,
		  sockaddr_format(&to->sa, text));
	tell_workers(port);
}

void dp_turned_answer(struct dataplane *dp, const struct broker_turned_reply *reply)
{
	struct dp_turned *t = &dp->turned;

	if (reply->port_id == 0) {
		dp_turned_look(dp);
		return;
	}
	if (!t->at || t->at->id != reply->port_id || t->seq != reply->seq) {
		log_debug("%s: an answer about port %d that nobody waits for", dp->broker.name,
			  reply->port_id);
		return;
	}
	if (reply->err == -ENOSYS) { /* and so for all ports */
		walk_ended(dp);
		return;
	}
	/* The workers of a reload get the ports in their own time. */
	if (dp_reload_holds(dp) || fd_is_passing(reply->err))
		t->again = t->later = true;
	else if (!reply->err && may_be_turned(t->at))
		turn(t->at, &reply->addr);
	walk_on(dp, t->at->hh.next);
}

void dp_turned_begin(struct dp_port *port)
{
	if (!port->dp->config.transparent || !may_be_turned(port))
		return;
	dp_turned_look(port->dp);
	follow_up(port->dp, FOLLOW_UP_MS);
}

void dp_turned_forget(struct dp_port *port)
{
	struct dataplane *dp = port->dp;

	/* The answer will find another question. */
	if (dp->turned.at == port)
		walk_on(dp, port->hh.next);
}

void dp_turned_begin_anew(struct dataplane *dp)
{
	loop_remove(dp->turned.timer);
	dp->turned = (struct dp_turned){.follow_up = dp->turned.follow_up,
					.follow_up_ms = dp->turned.follow_up_ms};
	dp_turned_look(dp);
}

void dp_turned_end(struct dataplane *dp)
{
	loop_remove(dp->turned.timer);
	loop_remove(dp->turned.follow_up);
	dp->turned = (struct dp_turned){.at = NULL};
}
