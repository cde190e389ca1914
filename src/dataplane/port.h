/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_PORT_H
#define RINGKIT_DATAPLANE_PORT_H

#include <stdint.h>

#include "ports/port.h"
#include "ports/route.h"

/*
 * The data plane's part of a published port (struct port). src/dataplane/control has it; others
 * need only its size.
 */

enum dp_port_state {
	DP_PORT_BINDING, /* the broker is to bind the socket in the namespace */
	DP_PORT_ADDING,
	DP_PORT_LIVE,
	DP_PORT_UNDOING, /* a worker refused it: the others give it up */
	DP_PORT_REMOVING,
};

struct dp_port {
	struct dataplane *dp;
	struct port *port; /* whose part it is */
	int id;		   /* port's, as the key of the data plane's table */
	enum dp_port_state state;
	struct port_route route;
	uint32_t slot;	/* in the statistics file */
	bool slot_used; /* by an earlier port */
	uint32_t held;	/* a request that waits for a reload's end: enum dp_msg_type; 0: none */
	int *fds;	/* the listening sockets */
	unsigned n_fds;
	bool asked;	   /* BINDING: the broker knows */
	uint64_t asked_ms; /* since when it is asked, loop_now_ms() */
	bool inside;	   /* the last of them is the one in the namespace */
	unsigned worker;   /* of the first; the others go to those after it */
	unsigned waiting;  /* answers to come */
	unsigned lives;	   /* data planes that it was offered to while ADDING */
	uint32_t seq;
	enum port_settler by; /* whose error it is */
	int err;
	struct loop_source *timer; /* to be finished outside the call that asked for it */
	UT_hash_handle hh;	   /* by id */
};

#endif
