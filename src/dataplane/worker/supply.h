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
 * protocol, and datagram sockets (probes) with which the worker asks the kernel for the way to an
 * address.
 */

struct worker;

enum sockpool_index { POOL_TCP4, POOL_TCP6, POOL_UDP4, POOL_UDP6, POOLS };

/* The pool for sockets of this kind, and the kind of sockets in a pool. */
unsigned supply_index(int family, int type);
int supply_family(unsigned pool);
int supply_proto(unsigned pool);

struct supply {
	int broker_fd;
	int next_broker_fd; /* takes the place of broker_fd when that has ended */
	uint32_t broker_gen;
	struct sockpool pools[POOLS];
	int probe_fd[2]; /* by family: unconnected datagram sockets of the namespace; -1: none */
	bool probe_wanted[2]; /* a probe has been asked for */
};

/* Reads the next answer from a service of sockets, the broker's or the router's. 1: an answer, with
 * *n sockets in fds (FDPASS_MAX at most). 0: there is none now. -ECONNRESET: the channel has ended,
 * or what came makes no sense. */
int supply_receive(struct worker *w, int channel_fd, struct broker_reply *reply, int *fds,
		   size_t *n);
/* Puts the sockets of an answer into the pool, if they are of the right kind and namespace: who
 * made them runs in a namespace that its user controls. Others are closed. pool: NULL when nothing
 * of the kind was asked for. */
void supply_fill(struct worker *w, struct sockpool *pool, const struct broker_reply *reply,
		 uint64_t netns_cookie, int *fds, size_t n);

void supply_open(struct worker *w);
void supply_close(struct worker *w);
/* Uses the channel to a new broker; fd becomes the worker's. The earlier broker is read until its
 * channel ends. */
void supply_set_broker(struct worker *w, int fd);
/* The channel is readable: flows that wait for a socket may find one now. */
void supply_event(struct worker *w, const struct io_event *ev);
/* Asks the broker for the sockets that the pools want. */
void supply_request(struct worker *w);
/* Takes a socket of the broker's; -1: there is none, and more have been asked for. */
int supply_take(struct worker *w, int family, int type);
/* Closes sockets that no pool needed lately. Returns whether another call may find more. */
bool supply_trim(struct worker *w);
/* When a pool asks again after a refusal; UINT64_MAX: none will. */
uint64_t supply_deadline(const struct worker *w);
/* Takes a datagram socket as probe_fd, or asks for one. */
void supply_want_probe(struct worker *w, bool ipv6);

#endif
