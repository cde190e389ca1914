/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TESTS_WORKER_WORLD_H
#define RINGKIT_TESTS_WORKER_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/array.h"
#include "dataplane/worker/worker_internal.h"
#include "io_sim.h"

/*
 * A worker on the simulated kernel, with a parent and a broker that speak the real protocols
 * (dataplane/wire.h) over simulated channels.
 */

#define MS_NS	  1000000ull
#define SECOND_NS (1000 * MS_NS)

/* Polls of the two channels, which are always in flight. */
#define WORLD_OPS 2

#define WORLD_REQUESTS 16

/* The family of the addresses in a world that is opened. */
extern int world_family;

struct world {
	struct sim *sim;
	int family;	   /* of new ports and their clients, and of what out_world.h makes */
	int target_family; /* of the servers behind new ports */
	struct io *io;
	struct worker *w;
	struct stats stats;
	struct port_stats ports[8];
	struct udp_ports udp_ports;
	int control, broker, router; /* the worker's ends; router: that of the way out */
	uint32_t seq;		     /* of the last request */
	int listener;
	int port_id;
	uint32_t target; /* host of the servers (sim_addr); 0: the loopback address */
	bool no_datagram_sockets;
	bool no_sockets;				/* the broker answers nothing */
	struct broker_request requests[WORLD_REQUESTS]; /* that the broker has not answered */
	unsigned n_requests;
};

void world_open_with(struct world *x, uint64_t seed, unsigned fault_percent, unsigned fds_max);
void world_open(struct world *x, uint64_t seed, unsigned fault_percent);
/* The same in two steps, for a configuration with sockets of the simulation. */
void world_begin(struct world *x, uint64_t seed, unsigned fault_percent);
void world_start(struct world *x, const struct worker_config *usual);
/* Closes the worker: nothing may be left. */
void world_close(struct world *x);

/* One turn of the worker, a millisecond at most. */
void turn(struct world *x);
/* The broker answers the requests that have come. */
void feed_pools(struct world *x);
/* Turns until everything that can happen has happened. */
void settle(struct world *x);
/* Time passes, and the worker has as many turns in it as it wants. */
void pass(struct world *x, uint64_t ns);

/* The parent sends a message, with a descriptor unless fd is -1, at once with those that the worker
 * has not read yet. */
void tell_worker(struct world *x, int control, const struct dp_msg *msg, int fd);
/* The parent sends a request, whose number is x->seq then. */
void ask_add(struct world *x, const struct dp_msg *msg, int fd);
void ask_remove(struct world *x, int port_id);
/* Takes the next answer; false: none has come. */
bool next_answer(struct world *x, struct dp_msg *answer);
/* Turns until an answer comes, which must be this one. */
void expect_answer(struct world *x, int port_id, uint32_t seq, int err);

/* Makes a request to add the next port. */
struct dp_msg port_msg(struct world *x, uint32_t proto, uint16_t target2);
/* Adds the next port, x->port_id, and waits for the answer. */
void add_port(struct world *x, uint32_t proto, uint16_t target2);
/* Asks for the removal of x->port_id. */
void remove_port(struct world *x);

/* The families of the next port and of its servers, at random. */
void draw_families(struct world *x);

/* Runs a group of tests in each family. */
#define WORLD_RUN_BOTH_FAMILIES(tests)                                                             \
	(world_run(AF_INET, tests, ARRAY_SIZE(tests)) +                                            \
	 world_run(AF_INET6, tests, ARRAY_SIZE(tests)))
struct CMUnitTest;
int world_run(int family, const struct CMUnitTest *tests, size_t n);
void world_use(int family);

/* Calls run for some seeds, in either family, with faults of 0, 25 and 50 %. Prints each seed
 * first: WORKER_SEED=n repeats one, WORKER_RUNS=n makes n runs, from WORKER_SEED on if both are
 * set. option is run's own. */
void world_for_seeds(void (*run)(uint64_t seed, bool option, unsigned faults), bool option);

/* Calls run for some seeds. Says each seed first; the environment is as above. */
void world_for_each_seed(void (*run)(uint64_t seed));

/* How many descriptors the worker holds ahead of need, the channels included. */
unsigned pooled(const struct world *x);

#endif
