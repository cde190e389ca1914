/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_PORT_SLIRP4NETNS_API_H
#define RINGKIT_DRIVERS_PORT_SLIRP4NETNS_API_H

#include <stdbool.h>

#include "base/loop.h"
#include "drivers/port/slirp4netns_answer.h"

/*
 * The client of slirp4netns's API socket, on the parent's loop; it never blocks. slirp4netns serves
 * one connection at a time, so the requests go out one after the other, in order.
 */
struct slirp4netns_api;

/* Called exactly once for each request, from the loop or from within the call. answer is NULL when
 * e says why there is none: -ECONNREFUSED (slirp4netns is gone), -ETIMEDOUT or -EPROTO (it may have
 * carried out the request all the same), -ENOMEM and the like. Both are valid during the call. */
typedef void slirp4netns_api_fn(void *arg, const struct slirp4netns_answer *answer,
				const struct err *e);

/* path is copied. 0 or -ENOMEM. */
int slirp4netns_api_open(struct loop *loop, const char *path, struct slirp4netns_api **out);

/* Drops the requests under way, without calling fn. api may be NULL. */
void slirp4netns_api_close(struct slirp4netns_api *api);

/* Queues a request. text: the request as JSON; it is taken over and freed in every case (NULL
 * counts as out of memory). urgent: before those that wait. 0, or -errno and then fn is not
 * called. */
int slirp4netns_api_call(struct slirp4netns_api *api, enum slirp4netns_request request, char *text,
			 bool urgent, slirp4netns_api_fn *fn, void *arg);

#endif
