/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_PORTS_ADDRESS_H
#define RINGKIT_PORTS_ADDRESS_H

#include "base/err.h"
#include "ports/route.h"
#include "ports/spec.h"

/*
 * From a port spec to addresses: where to listen, as Go's net package does (RootlessKit's scripts
 * depend on it), and where to connect in the namespace, as RootlessKit
 * does but for parent IPs of the host: resolve_target says why.
 */

/* Fills in *port. -EINVAL with RootlessKit's words in *e when the address
 * does not suit the protocol or the protocol is none of ours. */
int port_address_resolve(const struct port_spec *spec, struct port_route *port, struct err *e);

/* An IPv4 address in the form of IPv6 (::ffff:10.0.2.100), as dockerd may send it, in its usual
 * form, written to buf; any other text as it is. For programs that take IPv4 addresses alone. */
const char *port_address_unmapped(const char *ip, char buf[INET_ADDRSTRLEN]);

/* For a host without IPv6 (EAFNOSUPPORT): makes of a dual stack port one of IPv4. False: the port
 * is no dual stack one, and stays as it is. */
bool port_address_without_ipv6(struct port_route *port);

/* Turns the -errno of a failed bind into RootlessKit's words:
 * `listen tcp 127.0.0.1:80: bind: address already in use`; for privileged ports, the sysctl's name
 * and value before it. unprivileged_start: net.ipv4.ip_unprivileged_port_start, < 0: unknown.
 * Returns code. */
int port_address_error(const struct port_spec *spec, int code, long long unprivileged_start,
		       struct err *e);

/* The same for the socket in the namespace, of which RootlessKit has no words. Returns code. */
int port_address_inside_error(const struct port_spec *spec, int code, struct err *e);

/* net.ipv4.ip_unprivileged_port_start of this namespace, -1 when it cannot be read. */
long long port_address_unprivileged_start(void);

#endif
