/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TEST_HANDOVER_WORLD_H
#define RINGKIT_TEST_HANDOVER_WORLD_H

#include "dataplane/dataplane.h"
#include "worker_world.h"

/* Hand-over: two workers on one simulated kernel (worker_world.h). The test is the parent of both,
 * and the channel between them. */

/* The worker that takes over. struct world has the one that hands over. */
struct other {
	struct worker *w;
	struct stats stats;
	struct port_stats ports[8];
	struct udp_ports udp_ports;
	int control, broker, router;
	struct broker_request requests[WORLD_REQUESTS];
	unsigned n_requests;
	int from, to; /* the two ends of the channel between the workers */
};

/* Swaps the two workers: the functions of worker_world.h are about the one in x. */
void exchange(struct world *x, struct other *o);
/* Opens the other worker, with its channels. It waits for the parent's orders. out: its part of the
 * way out; NULL: it has none. */
void begin_other(struct world *x, struct other *o, const struct out_config *out);
/* The other worker gets the port, too. */
void offer(struct world *x, struct other *o, struct dp_msg msg, int listener);
/* The parent sends a message. */
void tell(struct world *x, int control, uint32_t type, int fd);
/* Kills the worker of x. What it shares with the other one stays open. */
void kill(struct world *x);
/* Opens a worker with a port. */
void open_world(struct world *x, uint64_t seed, uint32_t proto, struct dp_msg *msg);

/* The parent's orders: the worker of x gives, the other one takes. */
void begin_move(struct world *x, struct other *o);
/* Whether the worker with this control channel has said that it has done its part. */
bool moved(struct world *x, int control, struct dp_msg *answer);
/* One of the workers has a turn, or a message arrives. */
void step(struct world *x, struct other *o);
/* The other worker serves from now on, and is that of x. */
void commit(struct world *x, struct other *o);
/* The hand-over is given up: the other worker is killed, and that of x goes on. */
void give_up(struct world *x, struct other *o);

/* Bytes between two far ends. */
#define STREAM_MOST 60000

struct stream {
	int from, to;
	size_t written, read, most;
	bool ended;
};

/* A connection; the far ends are -1 as long as they are not there. */
struct streams {
	unsigned number; /* decides what the bytes are */
	int client, server;
	struct stream up, down;
};

/* Both far ends are there: chooses how much each writes. */
void streams_begin(struct world *x, struct streams *f, unsigned number);
/* Clients and servers write and read something. What is read must be what was written. slow: hardly
 * anybody reads, so that pipes fill. */
void traffic(struct world *x, struct streams *flows, unsigned n, bool slow);
/* All has been read, and both ends have seen the end. */
bool all_done(struct world *x, struct streams *flows, unsigned n);

#endif
