/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_WORKER_H
#define RINGKIT_DATAPLANE_WORKER_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/io/io.h"
#include "dataplane/stats.h"
#include "dataplane/wire.h"
#include "dataplane/worker/out.h"

/*
 * A worker: one thread, one io, and its own listeners, flows, pools and counters. The workers share
 * the statistics file, where each has a block of its own, the counts of ports (struct udp_ports,
 * struct out_ports), and the raw sockets of the way out.
 */
struct worker;
struct udp_ports;

struct worker_config {
	unsigned number;	/* for log lines */
	unsigned tcp_flows_max; /* each takes two descriptors */
	unsigned udp_flows_max; /* each takes one */
	unsigned listeners_max;
	unsigned fds_max; /* descriptors that the worker may hold: its share of the process's */
	unsigned pipes_max;
	struct udp_ports *udp_ports; /* of the namespace; the workers share it */
	uint32_t udp_timeout_ms;
	uint32_t transparent;  /* mask of what works, ns/transparent.h; 0: nothing */
	bool looks;	       /* the worker may look for events before it sleeps (rhythm.h) */
	bool hold;	       /* the worker takes over from another one (handover.h) */
	uint64_t netns_cookie; /* sockets of another namespace are refused; 0: not checked */
	struct stats *stats;   /* zeroed */
	struct port_stats *port_stats; /* one for each slot that a port may have */
	unsigned port_slots;
	struct out_config out;
};

/* Opens a worker and takes all of its memory. io is borrowed. 0 or -ENOMEM. */
int worker_open(const struct worker_config *config, struct io *io, struct worker **out);

/* Closes every descriptor that the worker holds, but not io. Only after worker_run has returned. */
void worker_close(struct worker *w);

/* Gives the worker the two channels of wire.h, which become its own. */
void worker_set_channels(struct worker *w, int control_fd, int broker_fd);

/* Serves until the control channel ends (0) or waiting fails (-errno). */
int worker_run(struct worker *w);

/* Does one turn of worker_run, for tests. Returns 0; 1: the control channel has ended; or -errno.
 */
int worker_turn(struct worker *w);

#endif
