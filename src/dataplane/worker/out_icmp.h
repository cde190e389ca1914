/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_OUT_ICMP_H
#define RINGKIT_DATAPLANE_WORKER_OUT_ICMP_H

#include <stddef.h>
#include <stdint.h>

#include "base/sockaddr.h"

struct worker;

/* Tells client the fate of a datagram of len bytes that it sent to dest. err is an errno; mtu goes
 * with EMSGSIZE (0: unknown, and nothing is sent). An errno that no ICMP message expresses is
 * ignored. */
void out_icmp_error(struct worker *w, const union sock_addr *client, const union sock_addr *dest,
		    int err, uint32_t mtu, size_t len);

/* Sends an ICMP message of len bytes to client, from another address, with its checksum filled in.
 */
void out_icmp_send(struct worker *w, const union sock_addr *client, const union sock_addr *from,
		   void *message, size_t len);

#endif
