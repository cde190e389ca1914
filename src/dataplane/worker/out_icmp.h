/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_OUT_ICMP_H
#define RINGKIT_DATAPLANE_WORKER_OUT_ICMP_H

#include <stddef.h>
#include <stdint.h>

#include "base/sockaddr.h"

struct worker;

/* Tells client what became of a datagram that it sent to dest with len bytes of payload: err is an
 * errno, mtu with EMSGSIZE (0: unknown, and nothing is told). Errors that have no ICMP message are
 * passed over. */
void out_icmp_error(struct worker *w, const union sock_addr *client, const union sock_addr *dest,
		    int err, uint32_t mtu, size_t len);

/* An ICMP message to client, from another address. Its checksum is filled in; message has room for
 * len bytes. */
void out_icmp_send(struct worker *w, const union sock_addr *client, const union sock_addr *from,
		   void *message, size_t len);

#endif
