/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_BIND_H
#define RINGKIT_DATAPLANE_BIND_H

#include "dataplane/dataplane.h"

/*
 * n sockets bound to the port's address, listening where it is TCP, non-blocking, with the options
 * of a listener set. The kernel spreads connections, and flows of datagrams, over them
 * (SO_REUSEPORT, socket(7)). The descriptors become the caller's.
 * 0, or -errno (EADDRINUSE, EADDRNOTAVAIL, EACCES, EMFILE, ...) and nothing is left open.
 */
int bind_port(const struct port_route *port, int *fds, unsigned n);

#endif
