/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_GATE_PACKET_H
#define RINGKIT_DATAPLANE_WORKER_GATE_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/sockaddr.h"

/*
 * Packets from a netfilter queue: those that open connections, and echo requests. Root in the
 * command's namespace may have written them, so every field is checked. No allocation, no system
 * call.
 */

enum gate_kind { GATE_SYN, GATE_ECHO };

struct gate_packet {
	enum gate_kind kind;
	union sock_addr source, dest; /* with ports for GATE_SYN; otherwise the ports are 0 */
	uint32_t seq;		      /* GATE_SYN: the initial sequence number, host order */
	/* GATE_ECHO: the ICMP message with its header, at least 8 bytes; points into data. */
	const uint8_t *icmp;
	size_t icmp_len;
};

/* Parses an IPv4 or IPv6 packet of len bytes. False: it is not complete, is a fragment, or is of no
 * known kind. */
bool gate_packet_parse(const uint8_t *data, size_t len, struct gate_packet *out);

/* A message from the queue's socket. */
struct gate_message {
	uint32_t id; /* the packet's id, for the verdict */
	const uint8_t *packet;
	size_t len; /* 0: the message has no packet, but needs a verdict */
};

/* Finds the next message in a datagram of len bytes. *at is its offset, 0 at first. Messages that
 * are not packets of a queue, such as errors, are skipped. Returns false when there is no more.
 * data must be aligned as a struct nlmsghdr. */
bool gate_message_next(const void *data, size_t len, size_t *at, struct gate_message *out);

#endif
