/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_API_API_H
#define RINGKIT_API_API_H

#include "base/err.h"
#include "base/loop.h"
#include "drivers/driver.h"
#include "ports/table.h"

/*
 * The REST API on STATE/api.sock: libmicrohttpd with external polling, driven by the parent's loop.
 * Requests that wait for the data plane are suspended; nothing here blocks.
 */
struct api;

/* POST /v1/reload calls this function of whoever runs the services. 0, then done is called; or
 * -errno with *e. */
typedef int api_reload_fn(void *arg, port_reloaded_fn *done, void *done_arg, struct err *e);

/* What the API reports and changes. Borrowed; must outlive the server. */
struct api_info {
	const char *state_dir;
	pid_t child_pid;
	const struct net_result *net; /* NULL for --net=host */
	struct ports *ports;	      /* NULL: no port driver */
	api_reload_fn *reload;	      /* NULL: nothing can be reloaded */
	void *reload_arg;
	/* Lists facts of the network beside net (COUNTER_DRIVER), and its counters (COUNTER_TOTAL).
	 * 0, or -errno of fn. NULL: there are none. */
	int (*describe_network)(void *arg, port_counter_fn *fn, void *fn_arg);
	/* Lists the counters of a data plane that carries the network and no ports. NULL: there is
	 * none. */
	int (*network_stats)(void *arg, port_counter_fn *fn, void *fn_arg, struct err *e);
	void *network; /* the argument of both functions */
};

/* Makes the socket (mode 0600) in the state directory dir_fd, which must outlive the server, and
 * serves it. 0 or -errno. */
int api_open(struct loop *loop, int dir_fd, const struct api_info *info, struct api **out,
	     struct err *e);

/* Answers the requests in hand with an error, and removes the socket. api may be NULL. */
void api_close(struct api *api);

#endif
