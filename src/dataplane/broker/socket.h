/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_BROKER_SOCKET_H
#define RINGKIT_DATAPLANE_BROKER_SOCKET_H

/*
 * The sockets that the broker makes: close-on-exec, non-blocking, unbound, unconnected.
 *   TCP: no Nagle delay, keep-alive as Go's net package has it, congestion control without
 *        pacing, urgent data in line.
 *   UDP: runs of datagrams at a time (GRO), large buffers.
 * family AF_INET or AF_INET6, proto IPPROTO_TCP or IPPROTO_UDP. The descriptor, or -errno.
 */
int broker_socket_open(int family, int proto);

#endif
