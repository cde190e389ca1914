/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_DATAPLANE_H
#define RINGKIT_DATAPLANE_DATAPLANE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "dataplane/port.h"

/*
 * The interface of the data plane; this half runs in the parent. It starts the data plane and the
 * socket broker (our own binary, executed again), binds and keeps every listening socket, hands
 * copies to the data plane, and starts either process again when it dies, with the same sockets.
 *
 * Only the drivers called builtin, and main() for the two roles, may include this header
 * (tests/layers.py).
 */
struct dataplane;

struct dataplane_outward;

enum dataplane_backend { DATAPLANE_AUTO, DATAPLANE_URING, DATAPLANE_EPOLL };

struct dataplane_config {
	int userns_fd, netns_fd; /* of the namespaces that the broker joins; borrowed */
	unsigned workers;	 /* 0: as dataplane_worker_count says */
	enum dataplane_backend backend;
	bool sandbox;
	bool transparent; /* servers see the addresses of clients from outside, if possible */
	uint32_t udp_timeout_ms; /* 0: DEFAULT_UDP_TIMEOUT_MS */
	bool debug;
	/* The way out of the namespace, for as many workers; NULL: none. Borrowed (outward.h). */
	struct dataplane_outward *outward;
	/* With outward: waits until its sockets are there. Called once, by dataplane_open, when the
	 * processes have been started. 0 or -errno. */
	int (*await_outward)(void *arg, struct err *e);
	void *await_arg;
};

/* How many workers there will be when asked workers are asked for. 0: one for every two CPUs that
 * this process may use, rounded up. */
unsigned dataplane_worker_count(unsigned asked);

/* The name servers in config->outward have changed: tells the workers. */
void dataplane_resolvers_changed(struct dataplane *dp);

/* Starts the data plane and the brokers, and waits until they are up. There is no port yet. 0 or
 * -errno. */
int dataplane_open(struct loop *loop, const struct dataplane_config *config, struct dataplane **out,
		   struct err *e);
/* Ends the processes and closes the sockets. Adds and removes under way are not settled any more.
 * NULL is allowed. */
void dataplane_close(struct dataplane *dp);

/*
 * Binds a port's route and hands it to the workers. The port's own part must be a struct dp_port.
 * port->settled is called once for each add and each remove, perhaps from within, by:
 * - PORT_BY_PARENT: the sockets cannot be had (EADDRINUSE, EACCES, EADDRNOTAVAIL, EMFILE, ...);
 * - PORT_BY_BROKER: the socket in the namespace cannot be had. When only the namespace lacks the
 *   address, the port goes without that socket: nobody in there can ask for it;
 * - PORT_BY_WORKER: every worker has the port, or one refused it;
 * - PORT_BY_DATA_PLANE: there is no data plane, and none is expected soon; or it died over this
 *   port.
 */
void dataplane_port_add(struct dataplane *dp, struct port *port, const struct port_route *route);

/* Closes a live port and its flows. The remove is settled when every worker has closed its socket,
 * so that the address can be bound again. */
void dataplane_port_remove(struct dataplane *dp, struct port *port);

/*
 * The result of a reload. New processes, data plane and brokers, are started from the binary that
 * is now where ours was, and take over ports, flows and counters. When the new ones do not come up,
 * do not understand the old ones, or cannot take over every flow, the old ones go on as if nothing
 * had been asked. The parent itself is not replaced.
 */
struct dataplane_reloaded {
	unsigned flows;	     /* flows that were taken over */
	uint64_t pause_us;   /* how long nothing was forwarded */
	const char *program; /* the version that serves now */
};

/* e: NULL, or why the old processes go on. */
typedef void dataplane_reloaded_fn(void *arg, const struct dataplane_reloaded *result,
				   const struct err *e);

/* Starts a reload. Returns 0, and done follows, from the loop or from dataplane_close; or -errno
 * with *e: a reload is under way, or there is nothing to reload. */
int dataplane_reload(struct dataplane *dp, dataplane_reloaded_fn *done, void *arg, struct err *e);

/* The version of the program that the data plane runs. */
const char *dataplane_program(const struct dataplane *dp);

/* The counters of the data plane that runs now. Reading them does not disturb the workers. */
struct stats;
struct port_stats;

/* A worker's counters. 0 or -errno. */
int dataplane_stats_worker(const struct dataplane *dp, unsigned worker, struct stats *out);
/* Adds the counters in one to those in sum. */
void dataplane_stats_sum(struct stats *sum, const struct stats *one);

/* Calls fn for each live port with the sum of what all workers have counted for it. Stops when fn
 * returns nonzero, and returns that; -errno when the counters cannot be read. */
typedef int dataplane_port_stats_fn(void *arg, int id, const struct port_stats *stats);
int dataplane_stats_ports(const struct dataplane *dp, dataplane_port_stats_fn *fn, void *arg);

/* How many data planes have been started: 1 when none has died. A reload does not count. */
unsigned dataplane_starts(const struct dataplane *dp);

/* The back end in use: "io_uring" or "epoll". */
const char *dataplane_backend_name(const struct dataplane *dp);
/* Why that back end is in use: a sentence for people. The text is valid until the next data plane
 * starts. */
const char *dataplane_backend_reason(const struct dataplane *dp);
/* SO_NETNS_COOKIE (socket(7)) of the namespace that ports lead to; 0: the kernel does not tell, and
 * no port can listen there. */
uint64_t dataplane_netns_cookie(const struct dataplane *dp);
unsigned dataplane_workers(const struct dataplane *dp);

/* Entry points of the two roles. main() calls them in the re-executed process and exits with what
 * they return. Descriptor 3 is the boot channel (wire.h). */
int dataplane_main(void);
int broker_main(int argc, char **argv);

#endif
