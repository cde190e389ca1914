/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_PORT_BUILTIN_ADDR_H
#define RINGKIT_DRIVERS_PORT_BUILTIN_ADDR_H

#include "base/err.h"
#include "base/portspec.h"
#include "dataplane/dataplane.h"

/*
 * From a port spec to addresses: where to listen, as Go's net package does (RootlessKit's scripts
 * depend on it), and where to connect in the namespace, as RootlessKit does.
 */

/* Fills in everything of port but the id. -EINVAL with RootlessKit's words in *e when the address
 * does not suit the protocol or the protocol is none of ours.
 * host_ip: from builtin_addr_host_ip. */
int builtin_addr_resolve(const struct port_spec *spec, const char *host_ip,
			 struct dataplane_port *port, struct err *e);

/* What to try when the host has no IPv6 (EAFNOSUPPORT): true when port was dual stack and is now
 * IPv4 alone. */
bool builtin_addr_without_ipv6(struct dataplane_port *port);

/* Turns the -errno of a failed bind into RootlessKit's words:
 * `listen tcp 127.0.0.1:80: bind: address already in use`; for privileged ports, the sysctl's name
 * and value before it. unprivileged_start: net.ipv4.ip_unprivileged_port_start, < 0: unknown.
 * Returns code. */
int builtin_addr_error(const struct port_spec *spec, int code, long long unprivileged_start,
		       struct err *e);

/* The same for the socket in the namespace, of which RootlessKit has no words. Returns code. */
int builtin_addr_inside_error(const struct port_spec *spec, int code, struct err *e);

/* net.ipv4.ip_unprivileged_port_start of this namespace, -1 when it cannot be read. */
long long builtin_addr_unprivileged_start(void);

/* The host's first IPv4 address that is not loopback into buf; "" when it has none, or where this
 * port goes does not depend on it. Returns buf. */
const char *builtin_addr_host_ip(const struct port_spec *spec, char *buf, size_t size);

#endif
