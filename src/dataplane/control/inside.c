/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "dataplane/control/control_internal.h"
#include "dataplane/sockopt.h"

/*
 * Listening sockets in the namespace. The broker makes and binds them. The parent keeps each beside
 * the port's other sockets and hands it to a worker. So whoever is in the namespace can connect to
 * the port there as well, without a process there that serves it.
 *
 * Requests and answers go over the broker's boot channel.
 */

int dp_inside_ask(struct dataplane *dp, const struct dp_port *port)
{
	struct broker_listen msg = {
		.port_id = port->id, .seq = port->seq, .proto = port->route.proto};
	int code;

	if (dp->broker.state == DP_CHILD_DOWN)
		return -EPIPE;
	memcpy(&msg.addr, &port->route.inside, sizeof(msg.addr));
	code = fdpass_send(dp->broker.boot_fd, &msg, sizeof(msg), NULL, 0, MSG_DONTWAIT);
	return code == -ECONNRESET ? -EPIPE : code; /* the broker has just died */
}

/* The broker runs in a namespace that its user controls, so what it sends is checked. */
bool dp_inside_check(const struct dataplane *dp, const struct dp_port *port, int fd)
{
	bool tcp = port->route.proto == PORT_TCP;

	return sockopt_is(fd, SO_DOMAIN, port->route.inside.ss_family) &&
	       sockopt_is(fd, SO_TYPE, tcp ? SOCK_STREAM : SOCK_DGRAM) &&
	       sockopt_is(fd, SO_PROTOCOL, tcp ? IPPROTO_TCP : IPPROTO_UDP) &&
	       sockopt_is(fd, SO_ACCEPTCONN, tcp) && sockopt_in_netns(fd, dp->broker.cookie);
}

static void take_answer(struct dataplane *dp, const struct broker_listen_reply *reply, int fd)
{
	int err = wire_err(reply->err);

	if (err < 0)
		close_fd(&fd);
	dp_port_inside(dp, reply->port_id, reply->seq, err, fd);
}

/* What the broker may say once it is up. Lengths tell which it is. */
union broker_says {
	struct broker_listen_reply listen;
	struct broker_turned_reply turned;
};

/* Returns whether the message made sense. fd: the descriptor that came with it, or -1. */
static bool take(struct dataplane *dp, const union broker_says *msg, ssize_t len, int fd)
{
	if (len == sizeof(msg->listen)) {
		take_answer(dp, &msg->listen, fd);
		return true;
	}
	close_fd(&fd);
	if (len == sizeof(msg->turned))
		dp_turned_answer(dp, &msg->turned);
	return len == sizeof(msg->turned);
}

/* Returns whether the broker may still answer. */
static bool take_answers(struct dataplane *dp)
{
	for (;;) {
		union broker_says msg;
		int fd = -1;
		size_t n = 1;
		ssize_t len =
			fdpass_recv(dp->broker.boot_fd, &msg, sizeof(msg), &fd, &n, MSG_DONTWAIT);

		if (len == -EAGAIN)
			return true;
		if (len == -EMFILE) {
			/* There was no descriptor for the socket; the message is whole. */
			dp_port_inside(dp, msg.listen.port_id, msg.listen.seq, -EMFILE, -1);
			continue;
		}
		if (!take(dp, &msg, len, n == 1 ? fd : -1))
			return false;
	}
}

void dp_inside_answers(struct dataplane *dp)
{
	if (!take_answers(dp)) {
		loop_remove(dp->broker.boot_src);
		dp->broker.boot_src = NULL;
		dp_child_hung_up(&dp->broker);
	} else if (dp->broker_behind) {
		dp_ports_ask_broker(dp, false);
	}
}
