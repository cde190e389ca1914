/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_NET_DHCP_H
#define RINGKIT_DRIVERS_NET_DHCP_H

#include <net/ethernet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * DHCP messages as Ethernet frames: RFC 2131, options of RFC 2132. Frames are used because a client
 * without an address cannot rely on a UDP socket, and because vpnkit takes nothing else. Pure
 * functions. Addresses are in network byte order, times in seconds.
 */

enum dhcp_type {
	DHCP_DISCOVER = 1,
	DHCP_OFFER = 2,
	DHCP_REQUEST = 3,
	DHCP_DECLINE = 4,
	DHCP_ACK = 5,
	DHCP_NAK = 6,
	DHCP_RELEASE = 7,
};

#define DHCP_FRAME_MAX 350
#define DHCP_DNS_MAX   4

/* A message from a client. */
struct dhcp_query {
	enum dhcp_type type;
	uint32_t xid;
	uint8_t mac[ETH_ALEN];
	uint8_t server_mac[ETH_ALEN]; /* its destination, with unicast */
	bool unicast;		      /* sent from ciaddr to server; else by broadcast */
	in_addr_t ciaddr;	      /* the address that the client has; 0: none yet */
	in_addr_t requested, server;  /* options; 0: absent */
};

/* A message from a server. Members that it does not have are 0. */
struct dhcp_answer {
	enum dhcp_type type;
	uint32_t xid;
	uint8_t mac[ETH_ALEN]; /* the client that it is for */
	uint8_t server_mac[ETH_ALEN];
	in_addr_t address, server, router;
	in_addr_t dns[DHCP_DNS_MAX];
	int prefix_len; /* -1: absent */
	uint32_t lease_s, t1_s, t2_s;
	char text[128]; /* option 56, printable characters only */
};

/* Builds the frame in buf of DHCP_FRAME_MAX bytes; returns its length. */
size_t dhcp_build(const struct dhcp_query *q, uint8_t *buf);

/*
 * Reads a frame. 0; -ENOMSG when it is no DHCP message to a client (most frames are not); -EBADMSG
 * when it is malformed. The UDP checksum is not checked: between interfaces of one host it is not
 * filled in, and the options are checked anyway.
 */
int dhcp_parse(const uint8_t *frame, size_t len, struct dhcp_answer *out);

/* Whether a host may have this address: not "this network", loopback, multicast or reserved (RFC
 * 6890). */
bool dhcp_is_for_hosts(in_addr_t address);

/* Whether an answer is from the same server as an earlier one. There may be several on a bridge,
 * and an answer of a server that was not asked must be ignored. An answer has to name its server
 * (RFC 2131, table 3); when it does not, its Ethernet address is compared. */
bool dhcp_same_server(const struct dhcp_answer *a, const struct dhcp_answer *b);

#endif
