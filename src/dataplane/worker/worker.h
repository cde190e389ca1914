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
 * A worker: one thread, one io, its own listeners, flows, pools and counters. Nothing in it is
 * shared with another worker but the statistics file, of which it has a block of its own.
 */
struct worker;
struct udp_ports;

struct worker_config {
	unsigned number;	/* for log lines */
	unsigned tcp_flows_max; /* each takes two descriptors */
	unsigned udp_flows_max; /* each takes one */
	unsigned listeners_max;
	unsigned fds_max; /* descriptors it may hold: its share of the process's */
	unsigned pipes_max;
	struct udp_ports *udp_ports; /* of the namespace, for all workers */
	uint32_t udp_timeout_ms;
	uint32_t transparent;	       /* mask of what works, ns/transparent.h; 0: nothing */
	bool hold;		       /* it is to take over from another one (handover.h) */
	uint64_t netns_cookie;	       /* sockets of another namespace are rejected; 0: no check */
	struct stats *stats;	       /* zeroed */
	struct port_stats *port_stats; /* one for each slot that a port may have */
	unsigned port_slots;
	struct out_config out;
};

/* io is borrowed. 0 or -ENOMEM. All memory is taken here. */
int worker_open(const struct worker_config *config, struct io *io, struct worker **out);

/* Closes every descriptor the worker holds, not io. Only after worker_run has returned. */
void worker_close(struct worker *w);

/* The two channels of wire.h; owned by the worker from now on. */
void worker_set_channels(struct worker *w, int control_fd, int broker_fd);

/* Serves until the control channel ends (0) or waiting fails (-errno). */
int worker_run(struct worker *w);

/* A turn of worker_run. Returns 0, 1 when the control channel has ended, or -errno. For tests. */
int worker_turn(struct worker *w);

#endif
