/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/bind.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>

#include "base/fd.h"
#include "base/fdpass.h"
#include "base/sockaddr.h"
#include "dataplane/sockopt.h"

/*
 * Binding so that theft and conflicts show.
 *
 * Sockets of one user that all set SO_REUSEPORT share an address silently: a second instance would
 * take half of the first one's connections. So the first socket takes the address without it, as
 * any program would, and gets EADDRINUSE if the address is taken. It sets SO_REUSEPORT once the
 * address is its own, and only then do the other sockets join.
 *
 * TCP listeners set SO_REUSEADDR, as connections in TIME_WAIT would block the address otherwise.
 * Two sockets with that option may both be bound, and listen(2) decides between them: so the first
 * socket listens before it sets SO_REUSEPORT. The kernel makes it a member of the group when the
 * second joins. Two UDP sockets without SO_REUSEADDR cannot both be bound; with it they would share
 * the address. So UDP sockets do not set it.
 */

static int family_of(const struct port_route *port)
{
	return port->listen.ss_family;
}

static int set_tcp(int fd, const struct port_route *port)
{
	int code = sockopt_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);

	if (!code)
		code = sockopt_tcp(fd);
	if (sockaddr_is_loopback((const struct sockaddr *)&port->listen))
		sockopt_no_pacing(fd);
	return code;
}

/* Answers must come from the address that the client wrote to: the kernel is asked to tell that
 * address with each datagram. */
static int set_udp(int fd, const struct port_route *port)
{
	int code;

	sockopt_udp(fd);
	if (family_of(port) == AF_INET)
		return sockopt_set(fd, IPPROTO_IP, IP_PKTINFO, 1);
	code = sockopt_set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	if (!code && !port->v6only)
		code = sockopt_set(fd, IPPROTO_IP, IP_PKTINFO, 1);
	return code;
}

static int set_options(int fd, const struct port_route *port)
{
	int code = 0;

	if (family_of(port) == AF_INET6)
		code = sockopt_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, port->v6only);
	if (!code)
		code = port->proto == PORT_TCP ? set_tcp(fd, port) : set_udp(fd, port);
	return code;
}

static int bind_one(const struct port_route *port, bool first)
{
	bool tcp = port->proto == PORT_TCP;
	int type = (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, code;
	auto_fd int fd = socket(family_of(port), type, tcp ? IPPROTO_TCP : IPPROTO_UDP);

	if (fd < 0)
		return -errno;
	code = set_options(fd, port);
	if (!code && !first)
		code = sockopt_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (code < 0)
		return code;
	if (bind(fd, (const struct sockaddr *)&port->listen,
		 sockaddr_len((const struct sockaddr *)&port->listen)) < 0)
		return -errno;
	/* The kernel cuts the backlog to net.core.somaxconn. */
	if (tcp && listen(fd, INT_MAX) < 0)
		return -errno;
	return steal_fd(&fd);
}

int bind_port(const struct port_route *port, int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		int code = fds[i] = bind_one(port, i == 0);

		if (code >= 0 && i == 0 && n > 1)
			code = sockopt_set(fds[0], SOL_SOCKET, SO_REUSEPORT, 1);
		if (code < 0) {
			fdpass_close(fds, fds[i] < 0 ? i : i + 1);
			return code;
		}
	}
	return 0;
}
