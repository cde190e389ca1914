/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_TURNED_H
#define RINGKIT_NS_TURNED_H

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sockaddr.h"

/*
 * Asks the kernel where the rules of a network namespace turn connections that come in (DNAT), as
 * Docker's do for the port of a container. Nothing is read from the rules themselves: iptables,
 * nftables and whoever writes them differ too much. A packet goes through them instead, and is
 * dropped as soon as its destination is known.
 */
struct turned {
	int packet_fd; /* puts packets on lo; -1: there is nothing to ask with */
	struct mnl_socket *queue, *rules;
	bool ready;	 /* the queue is bound, and the rule has been added */
	bool by_target;	 /* the rule has the queue of iptables, as the kernel lacks that of nftables
			  */
	bool hopeless;	 /* the kernel lacks both, or packet queues */
	uint16_t number; /* of the last question */
	unsigned foreign; /* messages of the queue, since it was asked, that were not its answer */
};

/* Call this in the namespace, with CAP_NET_RAW and CAP_NET_ADMIN over it, while sockets of any kind
 * can be made. The caller closes *t. 0 or -errno; after an error turned_ask only fails. */
int turned_open(struct turned *t, struct err *e);
void turned_close(struct turned *t);

/*
 * Where does a connection end that comes in for the address at (of lo), or a datagram? proto:
 * IPPROTO_TCP or IPPROTO_UDP. Needs CAP_NET_ADMIN. 0 and *to, which is at where no rule turns it
 * elsewhere; -ETIMEDOUT: the rules drop such a packet; -ENOSYS: the kernel lacks what it takes;
 * -EAGAIN: another process asks, or sends many packets that look like a question; other -errno. An
 * answer takes some 50 us, a missing one TURNED_ASK_MS.
 */
int turned_ask(struct turned *t, int proto, const union sock_addr *at, union sock_addr *to);

#define TURNED_ASK_MS 250

/* For turned_ask and the tests. */

/* Room for the packet of a question. */
#define TURNED_PACKET_BYTES 64

/* Writes the packet of question number to buf. Its length. */
size_t turned_packet(uint8_t buf[TURNED_PACKET_BYTES], int proto, const union sock_addr *at,
		     uint16_t number);

/* Reads a packet that the queue has shown. Whether it is that of question number about proto and a
 * family; if so, *to is its destination. */
bool turned_read(const uint8_t *packet, size_t len, int proto, int family, uint16_t number,
		 union sock_addr *to);

/* Reads the queue's messages in buf, which is aligned as a netlink header is. Returns whether the
 * packet of that question was among them. *last: the id of the last packet; 0: there was none. */
bool turned_find(const void *buf, size_t len, int proto, int family, uint16_t number,
		 union sock_addr *to, uint32_t *last);

#endif
