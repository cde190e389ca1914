/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_ANSWERS_H
#define RINGKIT_DATAPLANE_WORKER_ANSWERS_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/wire.h"

/*
 * Answers to the parent. An answer for which the channel has no room waits in a queue until it has:
 * a worker never waits for the parent. The queue cannot overflow, because a request is read only
 * while answers_room() says that its answer will find a place.
 */

struct worker;

/* Places for answers in addition to one for each listener. */
#define ANSWERS_SPARE 256

static_assert(ANSWERS_SPARE >= DP_MSGS_MAX, "requests are read when no answer waits");

struct answer {
	uint32_t type; /* enum dp_msg_type */
	int32_t port_id;
	uint32_t seq;
	int32_t err;
};

struct answers {
	int fd; /* the control channel; -1: none */
	bool polling;
	struct answer *queue; /* ring buffer of max entries */
	struct dp_msg *msgs;  /* DP_MSGS_MAX: those that are being sent */
	unsigned max, head, n;
};

/* The size of the queue for a worker with this many listeners. */
unsigned answers_max(unsigned listeners_max);

/* Tells the parent, at the end of the turn or when there is room, the result of its request seq
 * about a port: err is 0 or -errno. */
void answers_send(struct worker *w, int port_id, uint32_t seq, int err);

/* Tells the parent that there was no descriptor for the channel that came with a message of this
 * type: it opens another one. */
void answers_no_channel(struct worker *w, uint32_t type);

/* Whether the queue has places for the answers to DP_MSGS_MAX more requests. Each closing listener
 * has one reserved. */
bool answers_room(const struct worker *w);

/* At the end of a turn: sends what it has brought. */
void answers_tick(struct worker *w);

/* The channel has room again: sends what waits. */
void answers_event(struct worker *w);

#endif
