/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_OUT_SUPPLY_H
#define RINGKIT_DATAPLANE_WORKER_OUT_SUPPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/worker/supply.h"

struct worker;
struct io_event;

/* Sockets of the router's namespace: for answers to datagrams, and for connections that bear a
 * client's address (client_address.c). */
struct out_supply {
	int channel_fd, next_channel_fd; /* next_channel_fd takes over when channel_fd has ended */
	uint32_t gen;
	struct sockpool pools[POOLS];
};

void out_supply_open(struct worker *w);
void out_supply_close(struct worker *w);
/* Uses the channel to a new router's socket service; fd becomes the worker's. */
void out_supply_set_channel(struct worker *w, int fd);
void out_supply_event(struct worker *w, const struct io_event *ev);
void out_supply_request(struct worker *w);
/* When sockets that flows wait for are asked for again; UINT64_MAX: never. */
uint64_t out_supply_deadline(const struct worker *w);
bool out_supply_trim(struct worker *w);
/* A socket; -1: there is none, and more have been asked for. */
int out_supply_take(struct worker *w, int family, int type);
/* The pool of this family and type. */
struct sockpool *out_supply_pool(struct worker *w, int family, int type);

#endif
