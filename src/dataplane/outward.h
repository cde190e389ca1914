/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_OUTWARD_H
#define RINGKIT_DATAPLANE_OUTWARD_H

#include <net/if.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/limits.h"
#include "dataplane/wire.h"

/*
 * The way out of the command's namespace (--net=builtin): its configuration, and the sockets of the
 * router's namespace (ns/router.h). The role "router" (drivers/net/builtin_router.c) makes the
 * sockets and passes them to the parent, which keeps them for every data plane that it starts. So a
 * connection that is just being opened outlives a data plane.
 */
struct dataplane_outward {
	struct dp_outward config;
	unsigned workers;
	char ifname[IFNAMSIZ];	     /* the interface in the command's namespace */
	int userns_fd;		     /* borrowed */
	int netns_fd;		     /* the router's */
	struct dataplane *dataplane; /* the data plane that uses it; NULL: none */
	int raw4, raw6;
	uint32_t has; /* the sockets that each worker has: enum dp_outward_has */
	int fds[LIMIT_WORKERS][DP_OUTWARD_FDS]; /* indexed by the bit's number; -1: none */
};

/* Initialises *o: nothing is open. */
void outward_init(struct dataplane_outward *o);
void outward_close(struct dataplane_outward *o);

/* Opens the sockets for o->workers workers in the current namespace, which router_set_up has
 * prepared, and stores the namespace's cookie in o->config. 0 or -errno. */
int outward_open(struct dataplane_outward *o, bool queue, struct err *e);

/* Sends configuration and sockets to a data plane, over its boot channel. channels: each worker's
 * end of its channel to the router's socket service; NULL: none. flags: of sendmsg(2). 0 or -errno.
 */
int outward_send(const struct dataplane_outward *o, int sock, const int *channels, int flags);

/* Receives what outward_send has sent, for o->workers workers. 0 or -errno; *o, which outward_init
 * has initialised, owns the descriptors that came in either case. */
int outward_receive(struct dataplane_outward *o, int sock);

#endif
