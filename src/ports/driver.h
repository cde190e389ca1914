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
 * What the table of ports asks of a port driver. The drivers are in src/drivers/port;
 * src/drivers/registry.c lists them. A driver knows nothing of options or the API.
 */

/* A number that a driver has counted, or a fact about the driver (text). */
enum counter_scope { COUNTER_DRIVER, COUNTER_TOTAL, COUNTER_WORKER, COUNTER_PORT };

struct port_counter {
	enum counter_scope scope;
	int index;	   /* COUNTER_WORKER: from 0; COUNTER_PORT: the port's id */
	const char *group; /* counters that belong together; NULL: none */
	const char *name;
	uint64_t value;
	const char *text; /* the value of a fact; NULL: value is a number */
};

/* Takes one counter. Counters of the same scope, index and group come one after another. Returns 0,
 * or -errno, which ends the list. */
typedef int port_counter_fn(void *arg, const struct port_counter *counter);

/* The result of a reload: how many connections and UDP clients the new processes took over, how
 * long nothing was forwarded, and which version serves now. */
struct port_reload {
	unsigned flows;
	uint64_t pause_us;
	const char *program;
};

/* e: NULL, or why the reload failed and the old processes go on. */
typedef void port_reloaded_fn(void *arg, const struct port_reload *result, const struct err *e);

struct port_params {
	struct loop *loop;
	pid_t child_pid;
	int userns_fd, netns_fd;	 /* of the command's namespaces; borrowed */
	char child_ip[INET6_ADDRSTRLEN]; /* the command's address in its namespace, from the network
					    driver; "": there is none */
	const char *state_dir;
	const char *helper_socket; /* socket of the network driver's program: slirp4netns's API,
				      pasta's --conf-path */
	const char *pesto_binary;
	bool ipv6; /* the user has asked for IPv6 in the network */
	bool disable_host_loopback;
	bool source_ip_transparent;
	const char *dataplane; /* "auto", "io_uring", "epoll" */
	int workers;	       /* 0: one for every two CPUs */
	int udp_timeout_ms;
	bool dataplane_sandbox;
	bool debug;
	struct dataplane_outward *outward; /* the network driver's way out, or NULL */
	/* With outward: waits until it can be used. A driver that uses it calls this once, and can
	 * start processes before. 0 or -errno. */
	int (*await_outward)(void *arg, struct err *e);
	void *await_arg;
};

struct port_driver_ops {
	const char *name;	   /* as in --port-driver */
	const char *const *protos; /* NULL at the end */
	/* Optional. The protocols of this instance, where options change them. */
	const char *const *(*protos_now)(const struct port_driver *drv);
	bool disallow_loopback_child_ip;
	/* How many adds of one request the driver may have to settle at a time, and so how many
	 * ports a request may hold. 0: one request, one port. */
	unsigned batch_max;
	bool takes_child_listen_ip; /* accepts a port spec's childListenIP */
	bool carries_outward;	    /* uses struct port_params.outward */
	size_t port_size;	    /* size of the driver's part of struct port */
	int (*start)(const struct port_params *params, struct port_driver **out, struct err *e);
	/* add and remove both end with port->settled. When an add fails, the driver keeps nothing
	 * of the port. */
	void (*add)(struct port *port);
	/* Once a remove is settled, the port's address is free and its connections are closed. */
	void (*remove)(struct port *port);
	/* Lets go of all ports. Adds and removes that are under way are not settled any more. */
	void (*stop)(struct port_driver *drv);
	/* Optional. Replaces the driver's processes by new ones of the program that is on disk now,
	 * without breaking a connection. Returns 0, and done follows; or -errno with *e. */
	int (*reload)(struct port_driver *drv, port_reloaded_fn *done, void *arg, struct err *e);
	/* Optional. Lists facts about the driver that its ops do not say, as COUNTER_DRIVER. */
	int (*describe)(const struct port_driver *drv, port_counter_fn *fn, void *arg);
	/* Optional. Lists what the driver has counted: facts about the driver, then the sum over
	 * all workers, each worker, and each live port. Returns 0, or -errno with *e filled in. */
	int (*stats)(const struct port_driver *drv, port_counter_fn *fn, void *arg, struct err *e);
};

#endif
