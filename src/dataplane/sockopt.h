/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_SOCKOPT_H
#define RINGKIT_DATAPLANE_SOCKOPT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Socket options that listening sockets (bind.c) and the broker's sockets (broker/socket.c) share,
 * and checks of sockets that the broker has sent. An option that a kernel may lack or refuse is set
 * without an error.
 */

/* 0 or -errno. */
int sockopt_set(int fd, int level, int option, int value);

/* Whether an option of SOL_SOCKET has this value; false also when it cannot be read. */
bool sockopt_is(int fd, int option, int want);

/* SO_NETNS_COOKIE (socket(7)): a unique number of the network namespace that the socket belongs to.
 * *cookie is 0 where the kernel cannot tell: before Linux 5.14. 0 or -errno. */
int sockopt_netns_cookie(int fd, uint64_t *cookie);
/* Whether the socket belongs to the network namespace with this cookie. False for cookie 0. */
bool sockopt_in_netns(int fd, uint64_t cookie);

/* TCP_NODELAY, SO_KEEPALIVE after 15 s every 15 s as Go's net package does, SO_OOBINLINE.
 * Accepted sockets inherit all of these from their listener (socket(7), tcp(7)). 0 or -errno. */
int sockopt_tcp(int fd);

/* Switches pacing off: a congestion control such as BBR paces on loopback, too, which halves the
 * throughput there. reno is in every kernel, and everybody may choose it (tcp(7)). */
void sockopt_no_pacing(int fd);

/* Lets the socket receive runs of datagrams (UDP_GRO, udp(7)) into buffers that hold bursts. */
void sockopt_udp(int fd);

/* The same as sockopt_udp, and ICMP errors are kept for MSG_ERRQUEUE (ip(7), IP_RECVERR): otherwise
 * an unconnected socket hears of none. 0 or -errno. */
int sockopt_outside_udp(int fd, int family);

#endif
