/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/broker/listen.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/fdpass.h"
#include "dataplane/bind.h"

/* Makes and binds the socket. Returns the descriptor or -errno. */
static int bind_as_asked(const struct broker_listen *msg)
{
	struct port_route port = {.proto = (enum port_proto)msg->proto, .v6only = true};
	int fd = -1, code;

	if (msg->proto > PORT_UDP ||
	    (msg->addr.sa.sa_family != AF_INET && msg->addr.sa.sa_family != AF_INET6))
		return -EINVAL;
	memcpy(&port.listen, &msg->addr, sizeof(msg->addr));
	code = bind_port(&port, &fd, 1);
	return code < 0 ? code : fd;
}

/* Waits for room, which the parent will make. Does not wait when too many descriptors are in flight
 * (ETOOMANYREFS), as workers want sockets meanwhile. */
static int send_answer(int boot_fd, const struct broker_listen_reply *reply, int fd)
{
	struct pollfd room = {.fd = boot_fd, .events = POLLOUT};
	int code;

	while ((code = fdpass_send(boot_fd, reply, sizeof(*reply), &fd, fd >= 0, MSG_DONTWAIT)) ==
	       -EAGAIN)
		poll(&room, 1, -1);
	return code;
}

int broker_listen_answer(int boot_fd, const struct broker_listen *msg)
{
	auto_fd int fd = bind_as_asked(msg);
	struct broker_listen_reply reply = {
		.port_id = msg->port_id, .seq = msg->seq, .err = fd < 0 ? fd : 0};
	int code = send_answer(boot_fd, &reply, fd);

	if (code == -ETOOMANYREFS || fd_is_shortage(code)) {
		reply.err = code;
		code = send_answer(boot_fd, &reply, -1);
	}
	return code;
}
