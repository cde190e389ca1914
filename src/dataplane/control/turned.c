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
 * about one port after the other, the newest first. A question costs what all those rules cost a
 * packet, and rules change all the time while dockerd adds ports. So fresh ports, whose rules are
 * about to come, are asked about at once, and the others when time has passed. The kernel does not
 * report rules of the older iptables-legacy; dockerd makes those of a port soon after it has asked
 * for the port, so there are some looks at fresh ports without news.
 */

/* Time limit for an answer. The keeper itself gives up earlier. */
#define ANSWER_MS 2000

/* A port is fresh for this long after it was added, or until rules turn it. */
#define FRESH_MS 10000

/* Pause between two walks: longer than the last one by this factor, up to a limit. */
#define PAUSE_FACTOR 10
#define PAUSE_MAX_MS 3000

/* The same for walks over all ports, of which there may be thousands. */
#define ALL_FACTOR 100
#define ALL_MAX_MS 60000

/* An answer that took longer was waited for: it has cost nothing, and does not count. */
#define SLOW_MS 20

/* The least pause, if rules have changed during the last walk. */
#define PAUSE_MS 20

/* When a new port is asked about: dockerd adds the rules for it when it has the port, so an answer
 * before that is worth nothing, and others may come with it. */
#define FIRST_MS 50

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

/* Walks over the ports that are due, as soon as it is time. */
static void look_at_due(struct dataplane *dp);

static void on_pause_over(void *arg, uint32_t events)
{
	struct dataplane *dp = arg;

	(void)events;
	dp->turned.timer = NULL;
	look_at_due(dp);
}

static void set_timer(struct dataplane *dp, unsigned ms, loop_fn *fn)
{
	loop_remove(dp->turned.timer);
	dp->turned.timer = loop_add_timer(dp->loop, ms, fn, dp);
}

/* Walks again when the pause is over: over the fresh ports when again is set, else over all. */
static void walk_later(struct dataplane *dp)
{
	struct dp_turned *t = &dp->turned;
	uint64_t now_ms = loop_now_ms();
	uint64_t at_ms = t->again || t->all_ms < t->next_ms ? t->next_ms : t->all_ms;

	set_timer(dp, at_ms > now_ms ? (unsigned)(at_ms - now_ms) : 0, on_pause_over);
}

static uint64_t at_most(uint64_t ms, uint64_t max_ms)
{
	return ms < max_ms ? ms : max_ms;
}

static void walk_ended(struct dataplane *dp)
{
	struct dp_turned *t = &dp->turned;
	uint64_t now_ms = loop_now_ms(), took_ms = now_ms - t->began_ms;

	t->at = NULL;
	loop_remove(t->timer);
	t->timer = NULL;
	t->next_ms = now_ms + at_most(took_ms * PAUSE_FACTOR, PAUSE_MAX_MS);
	if (t->again)
		t->next_ms += t->later ? LATER_MS : PAUSE_MS;
	if (t->over_all)
		t->all_ms = now_ms + at_most(took_ms * ALL_FACTOR, ALL_MAX_MS);
	t->later = false;
	if (t->again || t->owed)
		walk_later(dp);
}

static void discount_waiting(struct dp_turned *t)
{
	uint64_t ms = loop_now_ms() - t->sent_ms;

	if (ms > SLOW_MS)
		t->began_ms += ms;
}

/* Another walk is due later, over all ports if this one is. */
static void walk_again(struct dp_turned *t)
{
	t->again = t->later = true;
	t->owed |= t->over_all;
}

/* The walk cannot go on now. */
static void try_later(struct dataplane *dp)
{
	walk_again(&dp->turned);
	walk_ended(dp);
}

static void on_late(void *arg, uint32_t events)
{
	struct dataplane *dp = arg;

	(void)events;
	dp->turned.timer = NULL;
	log_debug("%s: no answer about port %d", dp->broker.name, dp->turned.at->id);
	discount_waiting(&dp->turned);
	try_later(dp);
}

static bool is_due(const struct dp_port *port)
{
	return may_be_turned(port) && port->news_asked <= port->dp->turned.news;
}

static bool is_fresh(const struct dp_port *port)
{
	return loop_now_ms() - port->live_ms < FRESH_MS;
}

/* Returns the first port from this one on, towards older ones, that this walk is for; NULL: none.
 */
static struct dp_port *next_due(const struct dataplane *dp, struct dp_port *port)
{
	for (; port; port = port->hh.prev) {
		bool young = port->state != DP_PORT_LIVE || is_fresh(port);

		if (!dp->turned.over_all && !young)
			return NULL;
		if (is_due(port) && (dp->turned.over_all || port->turned.sa.sa_family == AF_UNSPEC))
			return port;
	}
	return NULL;
}

/* Asks about this port, or the next one that there is something to ask about. */
static void walk_on(struct dataplane *dp, struct dp_port *port)
{
	struct broker_turned msg = {.seq = ++dp->seq};
	int code;

	port = next_due(dp, port);
	dp->turned.at = port;
	if (!port) {
		walk_ended(dp);
		return;
	}
	msg.port_id = port->id;
	msg.proto = port->route.proto == PORT_TCP ? IPPROTO_TCP : IPPROTO_UDP;
	msg.addr = to_sock_addr(&port->route.target);
	dp->turned.seq = msg.seq;
	dp->turned.news_at = dp->turned.news;
	dp->turned.sent_ms = loop_now_ms();
	code = fdpass_send(dp->broker.boot_fd, &msg, sizeof(msg), NULL, 0, MSG_DONTWAIT);
	if (!code)
		set_timer(dp, ANSWER_MS, on_late);
	else if (fd_is_passing(code))
		try_later(dp);
	else
		walk_ended(dp); /* a new broker will be asked */
}

static struct dp_port *newest(const struct dataplane *dp)
{
	return dp->ports ? ELMT_FROM_HH(dp->ports->hh.tbl, dp->ports->hh.tbl->tail) : NULL;
}

static bool can_ask(const struct dataplane *dp)
{
	return dp->config.transparent && !dp->closing && dp->broker.state == DP_CHILD_UP;
}

static void look_at_due(struct dataplane *dp)
{
	struct dp_turned *t = &dp->turned;
	uint64_t now_ms = loop_now_ms();

	if (!can_ask(dp))
		return;
	t->again |= t->at || now_ms < t->next_ms;
	if (t->at)
		return;
	if (now_ms < t->next_ms) {
		walk_later(dp);
		return;
	}
	loop_remove(t->timer);
	t->timer = NULL;
	t->began_ms = now_ms;
	t->again = false;
	t->over_all = t->owed && now_ms >= t->all_ms;
	t->owed &= !t->over_all;
	walk_on(dp, newest(dp));
}

/* Rules in the namespace have changed: asks where ports lead. */
static void look(struct dataplane *dp)
{
	dp->turned.news++;
	dp->turned.owed = true;
	look_at_due(dp);
}

static void follow_up(struct dataplane *dp, unsigned ms);

static void on_follow_up(void *arg, uint32_t events)
{
	struct dataplane *dp = arg;

	(void)events;
	dp->turned.follow_up = NULL;
	if (dp->turned.follow_up_ms < FOLLOW_UP_MAX_MS)
		follow_up(dp, dp->turned.follow_up_ms * FOLLOW_UP_FACTOR);
	dp->turned.news++;
	look_at_due(dp);
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
			dp_channel_missed(&dp->plane);
}

/* The port leads to this address. */
static void turn(struct dp_port *port, const union sock_addr *to)
{
	union sock_addr target = to_sock_addr(&port->route.target);
	bool turned = port->turned.sa.sa_family != AF_UNSPEC;
	char text[SOCKADDR_TEXT_BYTES];

	if (to->sa.sa_family != target.sa.sa_family || to->in4.sin_port == 0 ||
	    sockaddr_same(to, turned ? &port->turned : &target))
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
		look(dp);
		return;
	}
	if (!t->at || t->at->id != reply->port_id || t->seq != reply->seq) {
		log_debug("%s: an answer about port %d that nobody waits for", dp->broker.name,
			  reply->port_id);
		return;
	}
	discount_waiting(t);
	if (reply->err == -ENOSYS) { /* and so for all ports */
		walk_ended(dp);
		return;
	}
	/* The workers of a reload get the ports in their own time. */
	if (dp_reload_holds(dp) || fd_is_passing(reply->err)) {
		walk_again(t);
	} else {
		t->at->news_asked = t->news_at + 1;
		if (!reply->err && may_be_turned(t->at))
			turn(t->at, &reply->addr);
	}
	walk_on(dp, t->at->hh.prev);
}

void dp_turned_begin(struct dp_port *port)
{
	struct dp_turned *t = &port->dp->turned;

	port->live_ms = loop_now_ms();
	if (!port->dp->config.transparent || !may_be_turned(port))
		return;
	follow_up(port->dp, FOLLOW_UP_MS);
	if (!can_ask(port->dp) || t->again)
		return;
	t->again = true;
	if (t->next_ms < port->live_ms + FIRST_MS)
		t->next_ms = port->live_ms + FIRST_MS;
	if (!t->at)
		walk_later(port->dp);
}

void dp_turned_forget(struct dp_port *port)
{
	struct dataplane *dp = port->dp;

	/* The answer will find another question. */
	if (dp->turned.at == port)
		walk_on(dp, port->hh.prev);
}

void dp_turned_begin_anew(struct dataplane *dp)
{
	loop_remove(dp->turned.timer);
	dp->turned = (struct dp_turned){.news = dp->turned.news,
					.follow_up = dp->turned.follow_up,
					.follow_up_ms = dp->turned.follow_up_ms};
	look(dp);
}

void dp_turned_end(struct dataplane *dp)
{
	loop_remove(dp->turned.timer);
	loop_remove(dp->turned.follow_up);
	dp->turned = (struct dp_turned){.news = dp->turned.news};
}
