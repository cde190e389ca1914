/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_BIND_H
#define RINGKIT_DATAPLANE_BIND_H

#include "dataplane/dataplane.h"

/*
 * Binds n sockets to the port's address. They are non-blocking, have the options of a listener, and
 * listen if the port is TCP. The kernel spreads connections, and flows of datagrams, over them
 * (SO_REUSEPORT, socket(7)). The descriptors become the caller's. Returns 0, or -errno (EADDRINUSE,
 * EADDRNOTAVAIL, EACCES, EMFILE, ...) with nothing left open.
 */
int bind_port(const struct port_route *port, int *fds, unsigned n);

#endif
