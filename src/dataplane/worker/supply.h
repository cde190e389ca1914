/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_SUPPLY_H
#define RINGKIT_DATAPLANE_WORKER_SUPPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/io/io.h"
#include "dataplane/wire.h"
#include "dataplane/worker/sockpool.h"

/*
 * The sockets that a worker connects with: the channel to the broker, a pool for each family and
 * protocol, and the datagram sockets with which the kernel is asked for the way to an address.
 */

struct worker;

enum sockpool_index { POOL_TCP4, POOL_TCP6, POOL_UDP4, POOL_UDP6, POOLS };

/* Which pool has sockets of this kind, and which kind a pool has. */
unsigned supply_index(int family, int type);
int supply_family(unsigned pool);
int supply_proto(unsigned pool);

struct supply {
	int broker_fd;
	int next_broker_fd; /* takes the place of broker_fd when that has ended */
	uint32_t broker_gen;
	struct sockpool pools[POOLS];
	int probe_fd[2];      /* by family: unconnected datagram sockets of the namespace, or -1 */
	bool probe_wanted[2]; /* one is on its way */
};

/* A service of sockets, also the router's, answers on its channel. Takes the next answer, with *n
 * sockets (FDPASS_MAX at most) in fds: 1. 0: there is none now. -ECONNRESET: the channel has ended,
 * or makes no sense. */
int supply_receive(struct worker *w, int channel_fd, struct broker_reply *reply, int *fds,
		   size_t *n);
/* Puts an answer's sockets into the pool, those that are of the kind and the namespace that was
 * asked for: who made them runs in a namespace that its user rules. pool: NULL when nothing of the
 * kind was asked for. */
void supply_fill(struct worker *w, struct sockpool *pool, const struct broker_reply *reply,
		 uint64_t netns_cookie, int *fds, size_t n);

void supply_open(struct worker *w);
void supply_close(struct worker *w);
/* The channel to a broker; it becomes the worker's. The broker before serves until it ends. */
void supply_set_broker(struct worker *w, int fd);
/* The channel has something: whoever waits for a socket may find one now. */
void supply_event(struct worker *w, const struct io_event *ev);
/* Asks for what the pools want. */
void supply_request(struct worker *w);
/* A socket of the broker's, or -1: none is there and more have been asked for. */
int supply_take(struct worker *w, int family, int type);
/* Closes what no pool needed lately. Whether another call may find more. */
bool supply_trim(struct worker *w);
/* When a pool asks again after a refusal, or UINT64_MAX. */
uint64_t supply_deadline(const struct worker *w);
/* Takes a datagram socket for probe_fd, or has one asked for. */
void supply_want_probe(struct worker *w, bool ipv6);

#endif
