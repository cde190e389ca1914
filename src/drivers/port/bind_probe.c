/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/port/bind_probe.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "ports/address.h"

static int try_bind(const struct port_route *port)
{
	bool tcp = port->proto == PORT_TCP;
	auto_fd int fd =
		socket(port->listen.ss_family, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
	int v6only = port->v6only, on = 1;

	if (fd < 0)
		return -errno;
	if (port->listen.ss_family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only)) < 0)
		return -errno;
	/* For TCP, so that connections in TIME_WAIT are no obstacle. With UDP it would let the
	 * probe share the port. */
	if (tcp && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&port->listen, sizeof(port->listen)) < 0)
		return -errno;
	return 0;
}

int bind_probe(const struct port_spec *spec, struct port_route *out, struct err *e)
{
	int code = port_address_resolve(spec, out, e);

	if (code)
		return code;
	code = try_bind(out);
	if (code == -EAFNOSUPPORT && port_address_without_ipv6(out))
		code = try_bind(out);
	return code ? port_address_error(spec, code, port_address_unprivileged_start(), e) : 0;
}
