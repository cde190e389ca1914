/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_PORT_BIND_PROBE_H
#define RINGKIT_DRIVERS_PORT_BIND_PROBE_H

#include "base/err.h"
#include "ports/route.h"
#include "ports/spec.h"

/*
 * Whether a program of this user could listen for a port now: binds the address and lets it go. For
 * drivers whose program says too little about why it could not.
 *
 * *out takes the addresses, as port_address_resolve gives them, IPv4 alone where the host has no
 * IPv6. 0, or -errno with RootlessKit's words (`listen tcp 127.0.0.1:80:
 * bind: permission denied`).
 */
int bind_probe(const struct port_spec *spec, struct port_route *out, struct err *e);

#endif
