/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/broker/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "dataplane/sockopt.h"

int broker_socket_open(int family, int proto)
{
	int type = proto == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM, code;
	auto_fd int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, proto);

	if (fd < 0)
		return -errno;
	if (proto == IPPROTO_TCP) {
		code = sockopt_tcp(fd);
		if (code < 0)
			return code;
		sockopt_no_pacing(fd);
	} else {
		/* A connected UDP socket reports without any option that its server refused
		 * (udp(7)). IP_RECVERR would make temporary errors fatal, too. */
		sockopt_udp(fd);
	}
	return steal_fd(&fd);
}
