/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_BROKER_SOCKET_H
#define RINGKIT_DATAPLANE_BROKER_SOCKET_H

/*
 * Sockets that the broker makes: close-on-exec, non-blocking, unbound, unconnected.
 *   TCP: no Nagle delay, keep-alive as in Go's net package, congestion control without pacing,
 *        urgent data in line.
 *   UDP: runs of datagrams in one receive (GRO), large buffers.
 * family AF_INET or AF_INET6, proto IPPROTO_TCP or IPPROTO_UDP. Returns the descriptor, or -errno.
 */
int broker_socket_open(int family, int proto);

#endif
