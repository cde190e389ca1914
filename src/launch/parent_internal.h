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

/* Everything that the parent holds, in the order in which it is made. parent_teardown goes
 * backwards. */
struct parent {
	const struct options *options;
	struct inherited_fds inherited;
	sigset_t old_mask; /* the mask that we were started with; the command gets it */
	bool listen_fds;   /* LISTEN_PID names us */
	struct loop *loop;
	int signal_fd; /* receives every signal that can be caught */
	int abort_fd;  /* an epoll of what ends the start-up: see supervise.c */
	int abort_signal_fd;
	int ended_by; /* the signal that interrupted the start-up; 0: none */
	struct statedir state;
	struct proc child;
	bool told_to_end; /* the child was sent a signal that asks it to end */
	int sock;	  /* to the child */
	int userns_fd, netns_fd;
	const struct net_driver_ops *net_ops;
	struct net_driver *net;
	struct net_result net_result;
	const struct port_driver_ops *port_ops;
	struct port_driver *port;
	struct port_driver *way_out; /* the data plane of --net=builtin, when it carries no ports */
	struct ports *ports;
	struct port_driver_ops implicit_ops; /* with --port-driver=implicit and --net=builtin */
	struct implicit *implicit;
	struct api_info api_info;
	struct api *api;
	struct loop_source *sock_source, *child_source, *signal_source;
	bool child_ready, child_ended;
	int child_status;
	size_t publish_left;	      /* ports of the command line that are not there yet */
	struct err publish_error;     /* why the first port failed */
	char helper_socket[PATH_MAX]; /* where the network's helper program takes requests, or "" */
};

/* supervise.c: signals and the child. */

/* Blocks the signals, and makes signal_fd and abort_fd. 0 or -errno. */
int supervise_open(struct parent *p, struct err *e);
/* Makes abort_fd report the child's end as well. 0 or -errno. */
int supervise_child(struct parent *p, struct err *e);
/* Checks whether a signal or the child's end stops the start-up: then -ECANCELED with *e filled in,
 * else 0. */
int supervise_check(struct parent *p, struct err *e);
/* Forwards signals to the child from now on. 0 or -errno. */
int supervise_start(struct parent *p, struct err *e);
/* Runs the loop until the child has ended: 0. Or -errno with *e filled in, when the loop fails. */
int supervise_run(struct parent *p, struct err *e);
void supervise_close(struct parent *p);

/* services.c: network, ports, API. */

/* Starts the network driver, and sends the child the result; with a driver whose set-up goes on,
 * services_start_ports does that. 0 or -errno. */
int services_start_network(struct parent *p, struct err *e);
/* Starts the port driver and publishes the ports of the command line. Runs the loop until the ports
 * are there. 0 or -errno. */
int services_start_ports(struct parent *p, struct err *e);
int services_start_api(struct parent *p, struct err *e);
/* Starts the data plane anew (rootlessctl reload). 0, then done is called; or -errno, which it has
 * logged. */
int services_reload(struct parent *p, port_reloaded_fn *done, void *arg, struct err *e);
/* Follows changes of the child's address. Call it when the child is ready. 0 or -errno. */
int services_follow_network(struct parent *p, struct err *e);
/* Ends all services, the last one first. */
void services_stop(struct parent *p);

#endif
