/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_DATAPLANE_H
#define RINGKIT_DATAPLANE_DATAPLANE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/loop.h"
#include "dataplane/port.h"

/*
 * The door to the data plane; this half runs in the parent. It starts the data plane and the socket
 * broker (re-exec of our own binary), binds and keeps every listening socket, hands them over, and
 * starts either process again when it dies, with the same sockets.
 *
 * tests/layers.py says who includes this header: the drivers that are called builtin, and main()
 * for the two roles.
 */
struct dataplane;

struct dataplane_outward;

enum dataplane_backend { DATAPLANE_AUTO, DATAPLANE_URING, DATAPLANE_EPOLL };

struct dataplane_config {
	int userns_fd, netns_fd; /* where the broker goes; borrowed */
	unsigned workers;	 /* 0: online CPUs this process may use */
	enum dataplane_backend backend;
	bool sandbox;
	bool transparent; /* servers see the addresses of TCP clients from outside, where possible
			   */
	uint32_t udp_timeout_ms; /* 0: DEFAULT_UDP_TIMEOUT_MS */
	bool debug;
	/* The way out of the namespace, with as many workers; NULL: none. Borrowed (outward.h). */
	struct dataplane_outward *outward;
};

/* How many workers there will be when so many are asked for (0: one for each CPU). */
unsigned dataplane_worker_count(unsigned asked);

/* The name servers of config->outward are others now. */
void dataplane_resolvers_changed(struct dataplane *dp);

/* 0 or -errno, with both processes up and no port. */
int dataplane_open(struct loop *loop, const struct dataplane_config *config, struct dataplane **out,
		   struct err *e);
/* Ends both processes, closes the sockets. Ports that are under way are not settled any more. NULL
 * is allowed. */
void dataplane_close(struct dataplane *dp);

/*
 * A port's route, bound and handed over. The port's own part is a struct dp_port; port->settled is
 * called once for each of these, perhaps from within:
 * - PORT_BY_PARENT: the sockets cannot be had (EADDRINUSE, EACCES, EADDRNOTAVAIL, EMFILE, ...);
 * - PORT_BY_BROKER: the socket in the namespace cannot be had. An address that the namespace does
 *   not have is done without: nobody there can ask for it;
 * - PORT_BY_WORKER: every worker has it, or one refused it;
 * - PORT_BY_DATA_PLANE: there is none, and not soon; or it died of this port.
 */
void dataplane_port_add(struct dataplane *dp, struct port *port, const struct port_route *route);

/* Closes a live port and its flows. It is settled when every worker has let go, so that the address
 * can be bound again. */
void dataplane_port_remove(struct dataplane *dp, struct port *port);

/*
 * Data plane and brokers are started anew, from the binary that is on disk now where ours was, and
 * take over all that the present ones have: ports, flows, counters. When the new ones do not come
 * up or do not understand the present ones, these go on as if nothing had been asked. This process
 * stays what it is.
 */
struct dataplane_reloaded {
	unsigned flows, lost; /* taken over; not taken over, and so ended */
	uint64_t pause_us;    /* for so long nothing was forwarded */
	const char *program;  /* the version that serves now */
};

/* e: NULL, or why the present ones go on. */
typedef void dataplane_reloaded_fn(void *arg, const struct dataplane_reloaded *result,
				   const struct err *e);

/* 0, and done follows, from the loop or from dataplane_close; or -errno with *e:
 * one is under way, or there is nothing to be reloaded. */
int dataplane_reload(struct dataplane *dp, dataplane_reloaded_fn *done, void *arg, struct err *e);

/* The version of the program that the data plane is of. */
const char *dataplane_program(const struct dataplane *dp);

/* The counters of the data plane that runs. Reading them disturbs nobody. */
struct stats;
struct port_stats;

/* A worker's counters. 0 or -errno. */
int dataplane_stats_worker(const struct dataplane *dp, unsigned worker, struct stats *out);
/* Adds one to sum, field by field. */
void dataplane_stats_sum(struct stats *sum, const struct stats *one);

/* Calls fn for each live port with what all workers have counted for it. Stops when fn returns
 * nonzero and returns that; -errno when the counters cannot be read. */
typedef int dataplane_port_stats_fn(void *arg, int id, const struct port_stats *stats);
int dataplane_stats_ports(const struct dataplane *dp, dataplane_port_stats_fn *fn, void *arg);

/* How many data planes there have been: 1 when none has died. */
unsigned dataplane_starts(const struct dataplane *dp);

/* The back end that runs: "io_uring" or "epoll". */
const char *dataplane_backend_name(const struct dataplane *dp);
/* Why that one: a sentence for people. The text lives until the next data plane. */
const char *dataplane_backend_reason(const struct dataplane *dp);
/* SO_NETNS_COOKIE (socket(7)) of the namespace that ports lead to; 0: the kernel does not tell, and
 * no port can listen there. */
uint64_t dataplane_netns_cookie(const struct dataplane *dp);
unsigned dataplane_workers(const struct dataplane *dp);

/* The roles' entries: main() calls these in the re-executed process and they do not return to it
 * but with its exit code. Descriptor 3 is the boot channel (wire.h). */
int dataplane_main(void);
int broker_main(int argc, char **argv);

#endif
