/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_NFQUEUE_H
#define RINGKIT_NS_NFQUEUE_H

#include <libmnl/libmnl.h>
#include <stdint.h>

/*
 * Requests about a queue of packets that wait for a verdict (linux/netfilter/nfnetlink_queue.h).
 */

/* Starts a request of a type, NFQNL_MSG_..., to which the caller adds attributes. buf has
 * NETLINK_REQUEST_BYTES. The kernel is asked for an answer. */
struct nlmsghdr *nfqueue_request(void *buf, uint16_t type, uint16_t number);

/* Has the kernel send the queue's packets to this socket: up to copy_bytes of each, and no more
 * than packets at a time. 0 or -errno; -EPERM: somebody else has the queue. */
int nfqueue_bind(struct mnl_socket *nl, uint16_t number, uint32_t copy_bytes, uint32_t packets);

#endif
