/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_PORTS_ADDRESS_H
#define RINGKIT_PORTS_ADDRESS_H

#include <netinet/in.h>

#include "base/err.h"
#include "ports/route.h"
#include "ports/spec.h"

/*
 * From a port spec to addresses. The address to listen on follows Go's net package, since
 * RootlessKit's scripts depend on it. The address to connect to in the namespace follows
 * RootlessKit, except for a parent IP of the host: resolve_target says why.
 */

/* Fills in *port. -EINVAL with RootlessKit's words in *e when the address does not suit the
 * protocol or the protocol is unknown. */
int port_address_resolve(const struct port_spec *spec, struct port_route *port, struct err *e);

/* Writes an IPv4-mapped IPv6 address (::ffff:10.0.2.100), which dockerd may send, to buf as plain
 * IPv4, and returns buf. Returns any other text as it is. For programs that take IPv4 addresses
 * alone. */
const char *port_address_unmapped(const char *ip, char buf[INET_ADDRSTRLEN]);

/* For a host without IPv6 (EAFNOSUPPORT): turns a dual-stack port into an IPv4 port. Returns false,
 * and changes nothing, when the port is not dual-stack. */
bool port_address_without_ipv6(struct port_route *port);

/* Turns the -errno of a failed bind into RootlessKit's words:
 * `listen tcp 127.0.0.1:80: bind: address already in use`
 * For a privileged port the sysctl's name and value come first. unprivileged_start:
 * net.ipv4.ip_unprivileged_port_start, < 0: unknown. Returns code. */
int port_address_error(const struct port_spec *spec, int code, long long unprivileged_start,
		       struct err *e);

/* The same for the socket in the namespace. The words are our own: RootlessKit has no such socket.
 * Returns code. */
int port_address_inside_error(const struct port_spec *spec, int code, struct err *e);

/* net.ipv4.ip_unprivileged_port_start of the caller's network namespace, -1 when it cannot be read.
 */
long long port_address_unprivileged_start(void);

#endif
