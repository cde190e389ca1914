/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/tcp_connect.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <utlist.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/sockaddr.h"
#include "dataplane/worker/worker_internal.h"

/* A flow that has not connected after this time watches its client. Nearly all have connected by
 * then. */
#define UNWATCHED_NS (100 * WORKER_NS_PER_MS)

/* A server that refused is tried again after 5, 10, 15, ... 45 ms, as RootlessKit does. So is one
 * for whose connection memory was short. */
#define RETRY_STEP_NS (5 * WORKER_NS_PER_MS)
#define RETRIES_MAX   9

#define COMPLAIN_NS (60000 * WORKER_NS_PER_MS)

void tcp_connect_set_timer(struct worker *w, struct tcp_flow *f)
{
	uint64_t at = f->armed & TCP_ARMED_WATCH(0) ? f->end_ns : w->now_ns + UNWATCHED_NS;

	if (f->limited && f->limit_ns < at)
		at = f->limit_ns;
	tcp_timer_set(w, f, at < f->end_ns ? at : f->end_ns);
}

static void connect_socket(struct worker *w, struct tcp_flow *f)
{
	const struct listener *l = f->listener;
	const union sock_addr *to = f->second ? &l->target2 : &l->target;
	socklen_t len = f->second ? l->target2_len : l->target_len;

	if (f->routed)
		to = &l->routed[f->second];
	if (f->transparent)
		client_address_limit(w, f);
	tcp_flow_set_state(w, f, TCP_FLOW_CONNECTING);
	tcp_connect_set_timer(w, f);
	f->armed |= TCP_ARMED_CONNECT;
	w->io->ops->connect(w->io, f->fd[1], &to->sa, len,
			    tcp_flow_handle(w, f, HANDLE_TCP_CONNECT, 1));
}

static void drop_socket(struct worker *w, struct tcp_flow *f)
{
	if (f->fd[1] >= 0)
		w->io->ops->close_fd(w->io, f->fd[1]);
	f->fd[1] = -1;
}

/* Nobody hands out a socket now. The router's way is only one of several, so the wait for its
 * socket has a limit. */
static void wait_for_socket(struct worker *w, struct tcp_flow *f)
{
	if (f->routed)
		client_address_limit(w, f);
	tcp_flow_set_state(w, f, TCP_FLOW_WAITING);
	tcp_flow_wait_begin(w, f);
	tcp_connect_set_timer(w, f);
}

/* Connects to the target by the next way that is left. */
static void start_connect(struct worker *w, struct tcp_flow *f)
{
	f->limited = false;
	for (;;) {
		enum client_address how =
			handover_holds(w) ? CLIENT_ADDRESS_WAIT : client_address_choose(w, f);

		if (how != CLIENT_ADDRESS_WAIT)
			f->fd[1] = supply_take(w, f->routed ? &w->out.supply : &w->supply,
					       tcp_flow_family(f), SOCK_STREAM);
		if (f->fd[1] < 0) {
			wait_for_socket(w, f);
			return;
		}
		if (how == CLIENT_ADDRESS_NO || client_address_bind(w, f, how) == 0) {
			connect_socket(w, f);
			return;
		}
		drop_socket(w, f); /* the failed bind may have changed the socket */
	}
}

void tcp_accept(struct worker *w, struct listener *l, int fd, const union sock_addr *client)
{
	struct tcp_flow *f = tcp_flow_get(w);
	char text[SOCKADDR_TEXT_BYTES];

	/* There was room when the wait began (accepts_left), and nothing else takes slots. */
	assert(f && w->tcp.count < w->config.tcp_flows_max);
	stats_add(&w->stats->tcp_accepted, 1);
	f->fd[0] = fd;
	f->fd[1] = -1;
	f->client = *client;
	f->listener = l;
	f->dir[0].pipe = f->dir[1].pipe = PIPEPOOL_NONE;
	f->end_ns = w->now_ns + TCP_CONNECT_NS;
	w->tcp.count++;
	flow_opened(w, l);
	DL_APPEND(l->tcp_flows, f);
	stats_add(&w->stats->tcp_flows, 1);
	tcp_flow_debug(w, f, "opened by %s, port %d", sockaddr_format(&f->client.sa, text),
		       l->port_id);
	if (l->tune)
		w->io->ops->tune_accepted(w->io, fd);
	times_accepted(w, fd);
	client_address_begin(w, f);
	start_connect(w, f);
}

void tcp_sockets_ready(struct worker *w, int family, bool routed)
{
	struct tcp_flow **waiting = &w->tcp.waiting[routed][family == AF_INET6], *f = NULL;
	struct tcp_flow *last = *waiting ? (*waiting)->queue_prev : NULL;
	const struct sockpool *pool = tcp_flow_pool(w, family, routed);

	/* Flows that then wait for something else are appended behind last. */
	while (f != last && pool->n > 0 && !handover_holds(w)) {
		f = *waiting;
		tcp_flow_wait_end(w, f);
		start_connect(w, f);
	}
}

static uint64_t *counter_of(struct stats *stats, int err)
{
	switch (-err) {
	case ECONNREFUSED:
		return &stats->tcp_refused;
	case EHOSTUNREACH:
	case ENETUNREACH:
		return &stats->tcp_unreachable;
	case ETIMEDOUT:
		return &stats->tcp_timed_out;
	default:
		return &stats->tcp_failed;
	}
}

static void connect_gave_up(struct worker *w, struct tcp_flow *f, int err)
{
	stats_add(counter_of(w->stats, err), 1);
	stats_add(&f->listener->stats->errors, 1);
	tcp_flow_close(w, f, true, strerror(-err));
}

/* The namespace has no free port left for connections to this server, mostly because of TIME_WAIT.
 */
static void complain_of_ports(struct worker *w, const struct tcp_flow *f)
{
	stats_add(&w->stats->tcp_no_port, 1);
	if (w->now_ns < w->tcp.complain_ns)
		return;
	w->tcp.complain_ns = w->now_ns + COMPLAIN_NS;
	log_warning(
		"worker %u: port %d: no free port in the namespace for another connection to the "
		"server: new ones wait; net.ipv4.ip_local_port_range there is too small",
		w->config.number, f->listener->port_id);
}

/* Whether the server should be tried again soon, from the first way on. If so, sets the timer. */
static bool retry(struct worker *w, struct tcp_flow *f, int err)
{
	unsigned step = f->tries < RETRIES_MAX ? f->tries + 1u : RETRIES_MAX;
	const char *why = strerror(-err);

	if (fd_is_shortage(err))
		err = -ECONNREFUSED; /* counts as that: it passes */
	if (err == -EADDRNOTAVAIL)
		complain_of_ports(w, f);
	else if (err != -ECONNREFUSED || f->tries >= RETRIES_MAX ||
		 w->tcp.retrying >= LIMIT_TCP_RETRYING)
		return false;
	f->tries = (uint8_t)step;
	stats_add(&w->stats->tcp_retried, 1);
	tcp_flow_debug(w, f, "tried again in a moment: %s", why);
	tcp_flow_set_state(w, f, TCP_FLOW_RETRYING);
	tcp_flow_arm_watch(w, f, 0);
	tcp_timer_set(w, f, w->now_ns + step * RETRY_STEP_NS);
	return true;
}

static void connect_anew(struct worker *w, struct tcp_flow *f)
{
	f->second = f->any_port = f->transparent = f->routed = f->routed_left = false;
	f->lost = TCP_LOST_NOT;
	client_address_begin(w, f);
	start_connect(w, f);
}

static void connect_failed(struct worker *w, struct tcp_flow *f, int err)
{
	drop_socket(w, f);
	if (f->transparent) {
		client_address_failed(w, f, err);
	} else if (!f->second && f->listener->target2_len) {
		f->second = true;
		f->routed = false;
	} else if (!client_address_last(f)) {
		if (!retry(w, f, err))
			connect_gave_up(w, f, err);
		return;
	}
	start_connect(w, f);
}

bool tcp_connect_done(struct worker *w, struct tcp_flow *f, int res)
{
	f->limited = false;
	tcp_timer_clear(w, f);
	/* When an ICMP error has come while connect(2) was at work, as one from this host does, the
	 * ring's result is 0. Only SO_ERROR tells, while the socket goes on trying. */
	if (res == 0)
		res = w->io->ops->error_of(w->io, f->fd[1]);
	if (res < 0) {
		connect_failed(w, f, res);
		return false;
	}
	/* If the client has gone, the server must not hear it under another address. */
	if (f->lost && w->io->ops->is_reset(w->io, f->fd[0])) {
		tcp_flow_close(w, f, true, "the client has gone");
		return false;
	}
	tcp_flow_set_state(w, f, TCP_FLOW_OPEN);
	stats_add(&w->stats->tcp_connected, 1);
	times_connected(w, w->now_ns + TCP_CONNECT_NS - f->end_ns);
	tcp_flow_debug(w, f, "connected%s", f->transparent ? " with the client's address" : "");
	client_address_connected(w, f);
	return true;
}

/* The wait for a socket has reached its limit, and counts as an attempt. */
static void no_socket_came(struct worker *w, struct tcp_flow *f)
{
	tcp_flow_wait_end(w, f);
	tcp_flow_set_state(w, f, TCP_FLOW_CONNECTING);
	connect_failed(w, f, f->transparent ? -ECANCELED : -ETIMEDOUT);
}

/* The timer of a flow that is not connected: the attempt is over, or the whole flow, or its client
 * is watched from now on. */
void tcp_connect_timer(struct worker *w, struct tcp_flow *f)
{
	if (w->now_ns >= f->end_ns) {
		connect_gave_up(w, f, -ETIMEDOUT);
		return;
	}
	if (f->state == TCP_FLOW_RETRYING) {
		connect_anew(w, f);
		return;
	}
	if (f->limited && w->now_ns >= f->limit_ns && f->state == TCP_FLOW_WAITING) {
		no_socket_came(w, f);
		return;
	}
	if (f->limited && w->now_ns >= f->limit_ns) {
		f->limited = false;
		tcp_flow_cancel_connect(w, f);
	}
	client_address_slow(w, f);
	tcp_flow_arm_watch(w, f, 0);
	tcp_connect_set_timer(w, f);
}
