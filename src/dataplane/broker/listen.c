/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/broker/listen.h"

#include <errno.h>
#include <string.h>

#include "base/fd.h"
#include "base/fdpass.h"
#include "dataplane/bind.h"

/* The descriptor or -errno. */
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

/* Sending waits if it must: the parent takes answers at any time. */
int broker_listen_answer(int boot_fd, const struct broker_listen *msg)
{
	auto_fd int fd = bind_as_asked(msg);
	struct broker_listen_reply reply = {
		.port_id = msg->port_id, .seq = msg->seq, .err = fd < 0 ? fd : 0};
	int code = fdpass_send(boot_fd, &reply, sizeof(reply), &fd, fd >= 0, 0);

	if (code == -ETOOMANYREFS) {
		/* unix(7): too many descriptors of this user are in flight. */
		reply.err = code;
		code = fdpass_send(boot_fd, &reply, sizeof(reply), NULL, 0, 0);
	}
	return code;
}
