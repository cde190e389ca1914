/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_OUTWARD_H
#define RINGKIT_DATAPLANE_OUTWARD_H

#include <net/if.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/limits.h"
#include "dataplane/wire.h"

/*
 * The way out of the command's namespace (--net=builtin): what is to be known of it, and the
 * sockets of the router's namespace, ns/router.h. The role "router" makes them (drivers/net/
 * builtin_router.c) and passes them to the parent, which keeps them for every data plane that it
 * starts: so a connection that is just being opened outlives a data plane.
 */
struct dataplane_outward {
	struct dp_outward config;
	unsigned workers;
	char ifname[IFNAMSIZ];	     /* of the interface in the command's namespace */
	int userns_fd;		     /* borrowed */
	int netns_fd;		     /* the router's */
	struct dataplane *dataplane; /* that uses it, while it is open */
	int raw4, raw6;
	uint32_t has;				/* of each worker: enum dp_outward_has */
	int fds[LIMIT_WORKERS][DP_OUTWARD_FDS]; /* by the bit's number; -1: none */
};

/* Nothing is open. */
void outward_init(struct dataplane_outward *o);
void outward_close(struct dataplane_outward *o);

/* Opens the sockets of o->workers workers in the current namespace, which router_set_up has
 * prepared, and notes its cookie in o->config. 0 or -errno. */
int outward_open(struct dataplane_outward *o, bool queue, struct err *e);

/* Sends config and sockets, as the boot channel of a data plane takes them. channels: the worker's
 * end of its socket channel, for each; NULL: none. flags as for sendmsg(2). 0 or -errno. */
int outward_send(const struct dataplane_outward *o, int sock, const int *channels, int flags);

/* Takes what outward_send has sent without channels, for o->workers workers. 0 or -errno; then
 * outward_close is still the caller's. */
int outward_receive(struct dataplane_outward *o, int sock);

#endif
