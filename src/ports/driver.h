/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_PORTS_DRIVER_H
#define RINGKIT_PORTS_DRIVER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/loop.h"
#include "ports/port.h"

/*
 * What the table of ports asks of a port driver. The drivers are in src/drivers/port, and
 * src/drivers/registry.c has the list of them. A driver knows nothing of options or the API.
 */

/* A counter of a driver, or something that it says of itself. */
enum counter_scope { COUNTER_DRIVER, COUNTER_TOTAL, COUNTER_WORKER, COUNTER_PORT };

struct port_counter {
	enum counter_scope scope;
	int index;	   /* COUNTER_WORKER: from 0; COUNTER_PORT: the port's id */
	const char *group; /* counters that belong together; NULL: none */
	const char *name;
	uint64_t value;
	const char *text; /* not NULL: instead of the value */
};

/* Takes one of them. Those of the same scope, index and group come one after another. 0 or -errno,
 * which ends the list. */
typedef int port_counter_fn(void *arg, const struct port_counter *counter);

/* What came of a reload: how many connections and UDP clients the new processes have taken over and
 * not, for how long nothing was forwarded, and which version serves now. */
struct port_reload {
	unsigned flows, lost;
	uint64_t pause_us;
	const char *program;
};

/* e: NULL, or why everything goes on as it was. */
typedef void port_reloaded_fn(void *arg, const struct port_reload *result, const struct err *e);

struct port_params {
	struct loop *loop;
	pid_t child_pid;
	int userns_fd, netns_fd;	 /* borrowed; the namespaces of the command */
	char child_ip[INET6_ADDRSTRLEN]; /* the network driver's, "" when there is none */
	const char *state_dir;
	const char *helper_socket; /* of the network's program: slirp4netns's API, pasta's
				      --conf-path */
	const char *pesto_binary;
	bool ipv6; /* was asked for, for the network */
	bool disable_host_loopback;
	bool source_ip_transparent;
	const char *dataplane; /* "auto", "io_uring", "epoll" */
	int workers;	       /* 0: as many as there are CPUs */
	int udp_timeout_ms;
	bool dataplane_sandbox;
	bool debug;
	struct dataplane_outward *outward; /* the network driver's, or NULL */
};

struct port_driver_ops {
	const char *name;	   /* as in --port-driver */
	const char *const *protos; /* NULL at the end */
	/* Optional: those of this one, where options decide. */
	const char *const *(*protos_now)(const struct port_driver *drv);
	bool disallow_loopback_child_ip;
	/* How many adds may wait for the driver at a time on behalf of one request, and so how
	 * many ports a request may hold; 0: one request, one port. */
	unsigned batch_max;
	bool takes_child_listen_ip; /* of a port spec: it can listen in the namespace */
	bool carries_outward;	    /* struct port_params.outward */
	size_t port_size;	    /* of the driver's part of struct port */
	int (*start)(const struct port_params *params, struct port_driver **out, struct err *e);
	/* Both end with port->settled. When an add fails, the driver has nothing of the port left.
	 */
	void (*add)(struct port *port);
	/* Once a remove is settled, the port's address is free and its connections are closed. */
	void (*remove)(struct port *port);
	/* Lets go of all ports. What is under way is not settled any more. */
	void (*stop)(struct port_driver *drv);
	/* Optional. Starts the driver's processes anew, of the program that is on disk now, without
	 * a connection noticing. 0, and done follows, or -errno with *e. */
	int (*reload)(struct port_driver *drv, port_reloaded_fn *done, void *arg, struct err *e);
	/* Optional. Lists what there is to say of the driver beside its ops, as COUNTER_DRIVER. */
	int (*describe)(const struct port_driver *drv, port_counter_fn *fn, void *arg);
	/* Optional. Lists what has been counted: facts of the driver, all workers together, each
	 * worker, each live port. 0 or -errno with *e filled in. */
	int (*stats)(const struct port_driver *drv, port_counter_fn *fn, void *arg, struct err *e);
};

#endif
