/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_LAUNCH_PARENT_INTERNAL_H
#define RINGKIT_LAUNCH_PARENT_INTERNAL_H

#include <signal.h>

#include "api/api.h"
#include "base/loop.h"
#include "base/proc.h"
#include "cli/options.h"
#include "drivers/driver.h"
#include "launch/spawn.h"
#include "launch/statedir.h"
#include "ports/table.h"

/* Everything that the parent holds, in the order in which it comes; parent_teardown goes backwards.
 */
struct parent {
	const struct options *options;
	struct inherited_fds inherited;
	sigset_t old_mask; /* what we were started with; the command gets it */
	bool listen_fds;   /* LISTEN_PID names us */
	struct loop *loop;
	int signal_fd; /* every signal that can be had */
	int abort_fd;  /* an epoll of what ends the start-up: see supervise.c */
	int abort_signal_fd;
	struct statedir state;
	struct proc child;
	bool told_to_end; /* a signal that ends has been passed on to the child */
	int sock;	  /* to the child */
	int userns_fd, netns_fd;
	const struct net_driver_ops *net_ops;
	struct net_driver *net;
	struct net_result net_result;
	const struct port_driver_ops *port_ops;
	struct port_driver *port;
	struct port_driver *way_out; /* the data plane, where it carries no ports: --net=builtin */
	struct ports *ports;
	struct port_driver_ops implicit_ops; /* with --port-driver=implicit and --net=builtin */
	struct implicit *implicit;
	struct api_info api_info;
	struct api *api;
	struct loop_source *sock_source, *child_source, *signal_source;
	bool child_ready, child_ended;
	int child_status;
	size_t publish_left;	      /* ports of the command line that are not there yet */
	struct err publish_error;     /* of the first that failed */
	char helper_socket[PATH_MAX]; /* where the network's program takes requests, or "" */
};

/* supervise.c: signals and the child. */

/* Blocks the signals, and makes signal_fd and abort_fd. 0 or -errno. */
int supervise_open(struct parent *p, struct err *e);
/* Lets abort_fd tell of the child's end too. 0 or -errno. */
int supervise_child(struct parent *p, struct err *e);
/* 0, or -ECANCELED with *e filled in, when a signal or the child's end stops the start-up. */
int supervise_check(struct parent *p, struct err *e);
/* From now on signals go to the child. 0 or -errno. */
int supervise_start(struct parent *p, struct err *e);
/* Runs the loop until the child has ended: 0. -errno with *e filled in: it cannot be waited for. */
int supervise_run(struct parent *p, struct err *e);
void supervise_close(struct parent *p);

/* services.c: network, ports, API. */

/* Starts the network driver and tells the child what came of it. 0 or -errno. */
int services_start_network(struct parent *p, struct err *e);
/* The port driver, the ports of the command line, the API. Runs the loop until the ports are there.
 * 0 or -errno. */
int services_start_ports(struct parent *p, struct err *e);
int services_start_api(struct parent *p, struct err *e);
/* Starts the data plane anew (rootlessctl reload). 0, and done follows, or -errno. */
int services_reload(struct parent *p, port_reloaded_fn *done, void *arg, struct err *e);
/* Once the child is ready: changes of its address are followed. 0 or -errno. */
int services_follow_network(struct parent *p, struct err *e);
/* Ends all of them, the last one first. */
void services_stop(struct parent *p);

#endif
