/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_ANSWERS_H
#define RINGKIT_DATAPLANE_WORKER_ANSWERS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Answers to the parent. What its channel does not take now waits in a queue and goes out when the
 * channel has room: a worker never waits for the parent. The queue cannot run over, because a
 * request is only read while answers_room() says that its answer will find a place.
 */

struct worker;

/* Answers that may wait beside one for each listener. */
#define ANSWERS_SPARE 256

struct answer {
	int32_t port_id;
	uint32_t seq;
	int32_t err;
};

struct answers {
	int fd; /* the control channel; -1: none */
	bool polling;
	struct answer *queue; /* a ring of max */
	unsigned max, head, n;
};

/* How many may wait, for a worker of this many listeners. */
unsigned answers_max(unsigned listeners_max);

/* The parent hears, now or later, that its request seq about a port came to err (0 or -errno). */
void answers_send(struct worker *w, int port_id, uint32_t seq, int err);

/* Whether the answer to one more request has a place. Each closing listener has one reserved. */
bool answers_room(const struct worker *w);

/* The channel has room again. */
void answers_event(struct worker *w);

#endif
