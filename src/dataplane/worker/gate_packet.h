/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_GATE_PACKET_H
#define RINGKIT_DATAPLANE_WORKER_GATE_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/wire.h"

/*
 * Packets that a netfilter queue shows: opened connections and echo requests. Whoever is root in
 * the command's namespace wrote them, so nothing in them is believed before it is checked. No
 * allocation, no system call.
 */

enum gate_kind { GATE_SYN, GATE_ECHO };

struct gate_packet {
	enum gate_kind kind;
	union sock_addr source, dest; /* with ports for GATE_SYN, else 0 */
	uint32_t seq;		      /* GATE_SYN: the initial sequence number, host order */
	/* GATE_ECHO: the ICMP message from its header on, at least 8 bytes; into data. */
	const uint8_t *icmp;
	size_t icmp_len;
};

/* An IPv4 or IPv6 packet of len bytes. Whether it is one of the kinds, whole, and no fragment. */
bool gate_packet_parse(const uint8_t *data, size_t len, struct gate_packet *out);

/* A message of the queue's socket. */
struct gate_message {
	uint32_t id; /* for the verdict */
	const uint8_t *packet;
	size_t len; /* 0: there is no packet in it, but a verdict is owed */
};

/* The messages of a datagram of len bytes, one after the other: *at is where the next one begins, 0
 * at first. Those that are no packets of a queue (errors, for one) are passed over. False: no
 * more. data is aligned as a struct nlmsghdr. */
bool gate_message_next(const void *data, size_t len, size_t *at, struct gate_message *out);

#endif
