/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_PORT_BIND_PROBE_H
#define RINGKIT_DRIVERS_PORT_BIND_PROBE_H

#include "base/err.h"
#include "ports/route.h"
#include "ports/spec.h"

/*
 * Checks whether a program of this user could listen for a port now: binds the address and releases
 * it. This is for drivers whose program says too little about why it could not.
 *
 * *out gets the addresses, as port_address_resolve gives them, only IPv4 where the host has no
 * IPv6. 0, or -errno with RootlessKit's words (`listen tcp 127.0.0.1:80: bind: permission denied`).
 */
int bind_probe(const struct port_spec *spec, struct port_route *out, struct err *e);

#endif
