/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_NETLINK_H
#define RINGKIT_NS_NETLINK_H

#include <libmnl/libmnl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Sends one request and waits for one acknowledgement, by libmnl (netlink(7)). For the files of
 * ns/, and for the data plane's reader of packet queues.
 */

/* Room for any of our requests, which have one header and a few attributes. */
#define NETLINK_REQUEST_BYTES 256

/* Room for an answer. An acknowledgement of an error quotes our request and may add a text of the
 * kernel's; other answers are shorter. */
#define NETLINK_ANSWER_BYTES 4096

/* An IPv4 or IPv6 address in the form that netlink wants. */
struct netlink_address {
	unsigned char family;
	size_t len;
	unsigned char bytes[sizeof(struct in6_addr)];
};

/* Parses an address in text. 0 or -EINVAL with *e. */
int netlink_parse_address(const char *text, struct netlink_address *out, struct err *e);

/* Opens a netlink socket. bus: NETLINK_ROUTE and the like. NULL with errno set; the caller closes
 * it. */
struct mnl_socket *netlink_open(int bus);
void netlink_close(struct mnl_socket **nl);

/* Opens a socket of NETLINK_ROUTE, and finds the number of the interface. 0 or -errno with *e; the
 * caller closes *nl either way. */
int netlink_open_interface(const char *ifname, struct mnl_socket **nl, unsigned *ifindex,
			   struct err *e);

#define auto_netlink __attribute__((cleanup(netlink_close)))

/* Starts a request in buf, of NETLINK_REQUEST_BYTES. flags are added to NLM_F_REQUEST and
 * NLM_F_ACK. */
struct nlmsghdr *netlink_request(void *buf, uint16_t type, uint16_t flags);

/* Sends the request and waits for the acknowledgement. 0 or the kernel's -errno. */
int netlink_talk(struct mnl_socket *nl, const struct nlmsghdr *nlh);

/* Receives one message of the kernel's into buf. Its length or -errno. */
ssize_t netlink_receive(struct mnl_socket *nl, void *buf, size_t size);

/* Throws away what has come: an answer that could not be read, or further errors of a request that
 * failed. They would be taken for the answers to the next requests. */
void netlink_drain(const struct mnl_socket *nl);

/* Whether libmnl can safely walk over the messages in buf. libmnl holds lengths in an int: a length
 * that is negative as an int leads it astray, or round and round. */
bool netlink_lengths_fit(const void *buf, size_t len);

/* The number of bytes from the attribute to the end of the message: what is left for mnl_attr_ok.
 * libmnl's own end of a message is aligned, and may be beyond the real one. */
int netlink_left(const struct nlmsghdr *nlh, const struct nlattr *attr);

/* mnl_attr_parse(), but no attribute may be longer than its message: calls fn for each behind the
 * message's own header, of header_len bytes. What fn returned last, or MNL_CB_OK. */
int netlink_attributes(const struct nlmsghdr *nlh, unsigned header_len, mnl_attr_cb_t fn,
		       void *arg);

/* Has libmnl call fn for each message in buf, len bytes that the kernel sent to the socket with
 * this id in answer to the message with this number (0: any). fn may be NULL. 0 or -errno: that of
 * an error that is among the messages, or of fn. */
int netlink_read(const void *buf, size_t len, uint32_t seq, uint32_t portid, mnl_cb_t fn,
		 void *arg);

/* Sends a request, and receives one message of the kernel's into buf. Its length or -errno. */
ssize_t netlink_ask(struct mnl_socket *nl, const struct nlmsghdr *nlh, void *buf, size_t size);

/* Reads an acknowledgement: the len bytes that the kernel sent to the socket with this id (0: any)
 * in answer to the message with this number. 0 or the kernel's -errno. */
int netlink_check_ack(const void *buf, size_t len, uint32_t seq, uint32_t portid);

#endif
