/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_PORT_H
#define RINGKIT_DATAPLANE_PORT_H

#include <stdint.h>

#include "base/sockaddr.h"
#include "ports/port.h"
#include "ports/route.h"

/*
 * The data plane's part of a published port (struct port). Only src/dataplane/control uses the
 * fields; others need only its size.
 */

enum dp_port_state {
	DP_PORT_BINDING, /* the broker is asked to bind the socket in the namespace */
	DP_PORT_ADDING,
	DP_PORT_LIVE,
	DP_PORT_UNDOING, /* a worker refused the port: the others are told to close it */
	DP_PORT_REMOVING,
};

struct dp_port {
	struct dataplane *dp;
	struct port *port; /* the port that this is a part of */
	int id;		   /* the port's id, as the key of the data plane's table */
	enum dp_port_state state;
	struct port_route route;
	union sock_addr turned; /* where rules in the namespace turn what comes in for the route's
				   target; sa_family 0: not known to be turned */
	uint32_t news_asked;	/* is known since this change of rules, plus 1; 0: not at all */
	uint64_t live_ms;	/* since when the port is live, loop_now_ms() */
	uint32_t slot;		/* slot in the statistics file */
	bool slot_used;		/* an earlier port has used the slot */
	uint32_t held; /* type of a request (enum dp_msg_type) that waits until a reload has ended;
			  0: none */
	int *fds;      /* the listening sockets */
	unsigned n_fds;
	bool asked;	   /* BINDING: the broker has been asked */
	uint64_t asked_ms; /* since when the broker is asked, loop_now_ms() */
	bool inside;	   /* the last of fds is the socket in the namespace */
	unsigned
		worker; /* the worker that has the first socket; the next workers have the others */
	unsigned waiting; /* answers that are still to come */
	unsigned lives;	  /* how many data planes the port was offered to while ADDING */
	uint32_t seq;
	enum port_settler by; /* who reported err */
	int err;
	struct loop_source *timer; /* settles the port outside of the call that asked for it */
	UT_hash_handle hh;	   /* by id */
};

#endif
