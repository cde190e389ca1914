/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_SUPPLY_H
#define RINGKIT_DATAPLANE_WORKER_SUPPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/io/handle.h"
#include "dataplane/io/io.h"
#include "dataplane/worker/sockpool.h"

/*
 * Sockets of a namespace that the data plane is not in: the channel to the broker there, and a pool
 * for each family and protocol. A worker has one supply from the command's namespace, with which
 * its flows connect. With a way out it has another from the router's, for answers to datagrams and
 * for connections that bear a client's address (client_address.c).
 */

struct worker;

enum sockpool_index { POOL_TCP4, POOL_TCP6, POOL_UDP4, POOL_UDP6, POOLS };

struct supply {
	enum handle_op op; /* of the events of the channel */
	int channel_fd;
	int next_channel_fd; /* takes over when channel_fd has ended */
	uint32_t gen;
	uint64_t netns_cookie; /* the namespace's; 0: not known */
	struct sockpool pools[POOLS];
};

/* The pool for sockets of this kind. */
struct sockpool *supply_pool(struct supply *s, int family, int type);

void supply_open(struct worker *w, struct supply *s, enum handle_op op, uint64_t netns_cookie);
void supply_close(struct worker *w, struct supply *s);
/* Uses the channel to a new broker; fd becomes the worker's. The earlier broker is read until its
 * channel ends. */
void supply_set_channel(struct worker *w, struct supply *s, int fd);
/* The channel is readable: flows that wait for a socket may find one now. */
void supply_event(struct worker *w, struct supply *s, const struct io_event *ev);
/* Asks the broker for the sockets that the pools want. */
void supply_request(struct worker *w, struct supply *s);
/* Takes a socket of the broker's; -1: there is none, and more have been asked for. */
int supply_take(struct worker *w, struct supply *s, int family, int type);
/* Closes sockets that no pool needed lately. Returns whether another call may find more. */
bool supply_trim(struct supply *s);
/* When a pool asks again after a refusal; UINT64_MAX: none will. */
uint64_t supply_deadline(const struct worker *w, const struct supply *s);

#endif
