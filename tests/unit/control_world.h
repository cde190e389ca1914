/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TEST_CONTROL_WORLD_H
#define RINGKIT_TEST_CONTROL_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/control/control_internal.h"

/*
 * The parent's half of the data plane, with workers and a broker that the test plays: real sockets
 * and channels, but no processes. What process.c does is in
 * control_world.c instead.
 */

#define WORKERS	  2
#define PORTS_MAX 64

struct control_far {
	int control[WORKERS]; /* the workers' ends */
	int next[WORKERS];    /* those of the workers of a reload; -1: there are none */
	int broker;	      /* the broker's end of its boot channel */
	bool may_start;	      /* a reload's processes can be started */
	unsigned gave_up, hung_up, started_over;
};
extern struct control_far far;

/* Close-on-exec. */
int socket_of(int family, int type);
/* Of this network namespace; 0: the kernel has none. */
uint64_t own_cookie(void);
/* The next data plane's channels are there; the data plane has died. */
void plane_up(struct dataplane *dp);
void plane_down(struct dataplane *dp, bool hopeless);

struct world {
	struct loop *loop;
	struct dataplane *dp;
	uint16_t port;
	unsigned fds; /* descriptors that were open before the test */
};

/* How a port was settled. */
struct outcome {
	unsigned calls;
	enum port_settler by;
	int err;
	char message[sizeof(((struct err *)NULL)->msg)];
};

/* Returns the port with this id. o gets how it is settled. */
struct port *port_of(int id, struct outcome *o);
void take_away(struct world *x, int id, struct outcome *o);
unsigned open_fds(void);
void world_open(struct world *x);
/* Closes the data plane without workers, so that nobody waits for their answers. No descriptor may
 * be left. */
void world_close(struct world *x);
/* Runs the parent's loop until nothing is left to do. */
void turns(struct world *x);
/* A route from the last port's address to the same address inside. inside: with a socket in the
 * namespace. */
struct port_route route_to(struct world *x, bool inside);
/* Adds a port at an address that is free. */
void add(struct world *x, int id, bool inside, struct outcome *o);
/* What the worker with this end of its channel is told next; type 0: nothing. Its descriptor is
 * closed, and had to be there or not. */
struct dp_msg told_at(int end);
struct dp_msg told(unsigned worker);
struct dp_msg expect_told(unsigned worker, enum dp_msg_type type, int id);
void expect_silence(void);
void answer(struct world *x, unsigned worker, const struct dp_msg *to, int err);
/* Both workers that serve are told this, and answer with err. */
void expect_all(struct world *x, enum dp_msg_type type, int id, int err);
bool address_is_free(const struct world *x);
/* Adds a port, and all workers take it. */
void add_live(struct world *x, int id);

#endif
