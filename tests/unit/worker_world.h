/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TESTS_WORKER_WORLD_H
#define RINGKIT_TESTS_WORKER_WORLD_H

#include <stdbool.h>
#include <stdint.h>

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

struct world {
	struct sim *sim;
	struct io *io;
	struct worker *w;
	struct stats stats;
	struct port_stats ports[8];
	struct udp_ports udp_ports;
	int control, broker; /* the worker's ends */
	uint32_t seq;	     /* of the last request */
	int listener;
	int port_id;
	uint32_t target; /* address of the servers; 0: a loopback address */
	bool no_datagram_sockets;
	bool no_sockets;				/* the broker answers nothing */
	struct broker_request requests[WORLD_REQUESTS]; /* that the broker has not answered */
	unsigned n_requests;
};

void world_open_with(struct world *x, uint64_t seed, unsigned fault_percent, unsigned fds_max);
void world_open(struct world *x, uint64_t seed, unsigned fault_percent);
/* The same in two steps, for a configuration that has sockets of the simulation in it. */
void world_begin(struct world *x, uint64_t seed, unsigned fault_percent);
void world_start(struct world *x, const struct worker_config *usual);
/* Closes the worker: nothing may be left. */
void world_close(struct world *x);

/* One turn of the worker, a millisecond at most. */
void turn(struct world *x);
/* The broker answers what it has been asked for. */
void feed_pools(struct world *x);
/* Turns until everything that can happen has happened. */
void settle(struct world *x);
/* Time passes, with as many turns as the worker wants in it. */
void pass(struct world *x, uint64_t ns);

/* The parent. Requests are on their way when these return, and seq is x->seq. */
void ask_add(struct world *x, const struct dp_msg *msg, int fd);
void ask_remove(struct world *x, int port_id);
/* The next answer; false: none has come. */
bool next_answer(struct world *x, struct dp_msg *answer);
/* Turns until an answer comes, and expects it to be this. */
void expect_answer(struct world *x, int port_id, uint32_t seq, int err);

/* A request to add the next port, as a parent would make it. */
struct dp_msg port_msg(struct world *x, uint32_t proto, uint16_t target2);
/* Adds the next port, x->port_id, and waits for the answer. */
void add_port(struct world *x, uint32_t proto, uint16_t target2);
/* Asks for the removal of x->port_id. */
void remove_port(struct world *x);

/* Calls run for some seeds, with faults of 0, 25 and 50 %. A seed that fails has been printed:
 * WORKER_SEED=n runs it alone, WORKER_RUNS=n runs so many of them, from WORKER_SEED on if both are
 * there. option is run's own. */
void world_for_seeds(void (*run)(uint64_t seed, bool option, unsigned faults), bool option);

/* Descriptors that the worker holds ahead of need, and the channels. */
unsigned pooled(const struct world *x);

#endif
