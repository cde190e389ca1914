/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_NETLINK_H
#define RINGKIT_NS_NETLINK_H

#include <libmnl/libmnl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * One request, one acknowledgement, by libmnl (netlink(7)). For the files of ns/ alone.
 */

/* Our requests are of one header and a few attributes. */
#define NETLINK_REQUEST_BYTES 256

/* An acknowledgement quotes our request after an error, and may have a text of the kernel; other
 * answers are shorter. */
#define NETLINK_ANSWER_BYTES 4096

/* An IPv4 or IPv6 address as netlink wants it. */
struct netlink_address {
	unsigned char family;
	size_t len;
	unsigned char bytes[sizeof(struct in6_addr)];
};

/* 0 or -EINVAL. */
int netlink_parse_address(const char *text, struct netlink_address *out, struct err *e);

/* bus: NETLINK_ROUTE and the like. NULL with errno set; the caller closes it. */
struct mnl_socket *netlink_open(int bus);
void netlink_close(struct mnl_socket **nl);

#define auto_netlink __attribute__((cleanup(netlink_close)))

/* Starts a request in buf, of NETLINK_REQUEST_BYTES. flags: beside NLM_F_REQUEST and NLM_F_ACK. */
struct nlmsghdr *netlink_request(void *buf, uint16_t type, uint16_t flags);

/* Sends it and waits for the acknowledgement. 0 or the kernel's -errno. */
int netlink_talk(struct mnl_socket *nl, const struct nlmsghdr *nlh);

/* Takes one message of the kernel's into buf. Its bytes or -errno. */
ssize_t netlink_receive(struct mnl_socket *nl, void *buf, size_t size);

/* Whether libmnl may walk over the messages in buf. It takes a length for an int: one that is
 * negative then leads it astray, or round and round. */
bool netlink_lengths_fit(const void *buf, size_t len);

/* Reads an acknowledgement: len bytes that the kernel sent in answer to the message with this
 * number, to the socket with this id (0: any). 0 or the kernel's -errno. */
int netlink_check_ack(const void *buf, size_t len, uint32_t seq, uint32_t portid);

#endif
