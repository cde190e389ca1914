/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_EGRESS_H
#define RINGKIT_DATAPLANE_WORKER_EGRESS_H

#include "dataplane/wire.h"

/*
 * Who may be reached on the way out, and by which address. Decided here, in the data plane, where
 * root of the command's namespace has no say. No system call.
 */

enum egress {
	EGRESS_ALLOWED,
	EGRESS_PROHIBITED, /* by a rule, or an address that is nobody's to reach */
	EGRESS_REFUSED,	   /* the gateway or the name server does not serve that */
};

enum egress_kind {
	EGRESS_WORLD,
	EGRESS_HOST, /* the gateway's address, which stands for the host's loopback address */
	EGRESS_DNS,  /* the name server's address, which stands for the host's resolvers */
	EGRESS_KINDS,
};

/* Decides about a connection or datagram to dest. When it is allowed, *to is where it goes
 * outside; for EGRESS_DNS with the resolver of this index. ICMP: a port of 0. */
enum egress egress_decide(const struct dp_outward *config, const union sock_addr *dest,
			  unsigned resolver, union sock_addr *to, enum egress_kind *kind);

#endif
