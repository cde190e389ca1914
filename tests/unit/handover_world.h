/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TEST_HANDOVER_WORLD_H
#define RINGKIT_TEST_HANDOVER_WORLD_H

#include "dataplane/dataplane.h"
#include "worker_world.h"

/* Hand-over: two workers on one simulated kernel (worker_world.h). The test is
 * the parent of both. */

/* The worker that takes over. */
struct other {
	struct worker *w;
	struct stats stats;
	struct port_stats ports[8];
	struct udp_ports udp_ports;
	int control, broker;
	struct broker_request requests[WORLD_REQUESTS];
	unsigned n_requests;
	int from, to; /* the channel between the workers, its two ends */
};

/* Everything of one worker goes where the other one's is. */
void exchange(struct world *x, struct other *o);
/* The other one is there, has its channels, and waits to be told what it is for. */
void begin_other(struct world *x, struct other *o);
/* The other one gets the port too. */
void offer(struct world *x, struct other *o, struct dp_msg msg, int listener);
/* A message of the parent's. */
void tell(struct world *x, int control, uint32_t type, int fd);
/* The worker of x is killed: nothing that it has in common with the other ends by that. */
void kill(struct world *x);
/* A worker with a port. */
void open_world(struct world *x, uint64_t seed, uint32_t proto, struct dp_msg *msg);

#endif
