/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_EGRESS_H
#define RINGKIT_DATAPLANE_WORKER_EGRESS_H

#include "dataplane/wire.h"

/*
 * Who may be reached on the way out, and at which address. This is decided in the data plane, which
 * root of the command's namespace cannot influence. No system call.
 */

enum egress {
	EGRESS_ALLOWED,
	EGRESS_PROHIBITED, /* denied by a rule, or the address is out of bounds */
	EGRESS_REFUSED,	   /* the gateway or the name server does not serve this port */
};

enum egress_kind {
	EGRESS_WORLD,
	EGRESS_HOST, /* the gateway's address: stands for the host's loopback address */
	EGRESS_DNS,  /* the name server's address: stands for the host's resolvers */
	EGRESS_KINDS,
};

/* Decides about a connection or datagram to dest. If it is allowed, *to is the address outside; for
 * EGRESS_DNS that of the resolver with this index. For ICMP the port is 0. */
enum egress egress_decide(const struct dp_outward *config, const union sock_addr *dest,
			  unsigned resolver, union sock_addr *to, enum egress_kind *kind);

#endif
