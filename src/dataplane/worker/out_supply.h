/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_OUT_SUPPLY_H
#define RINGKIT_DATAPLANE_WORKER_OUT_SUPPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/worker/sockpool.h"

struct worker;
struct io_event;

/* Datagram sockets of the router's namespace, by family. */
struct out_supply {
	int channel_fd, next_channel_fd; /* the second takes over when the first has ended */
	uint32_t gen;
	struct sockpool pools[2];
};

void out_supply_open(struct worker *w);
void out_supply_close(struct worker *w);
/* The channel to a new router's socket service; it becomes the worker's. */
void out_supply_set_channel(struct worker *w, int fd);
void out_supply_event(struct worker *w, const struct io_event *ev);
void out_supply_request(struct worker *w);
bool out_supply_trim(struct worker *w);
/* A socket, or -1: none is there, and more have been asked for. */
int out_supply_take(struct worker *w, bool ipv6);

#endif
