/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TESTS_OUT_QUEUE_H
#define RINGKIT_TESTS_OUT_QUEUE_H

#include "out_world.h"

/*
 * The kernel's half of the netfilter queue: a packet stays until it is judged. A worker that begins
 * may have all packets sent through the rules again; they come back with other ids.
 */

#define QUEUE_MAX 256

struct held {
	uint32_t id;
	int owner; /* the test's number for it */
	size_t len;
	uint8_t packet[128];
};

struct out_queue {
	struct held held[QUEUE_MAX];
	unsigned n;
	unsigned repeated;
	/* A packet of owner's has been judged. */
	void (*judged)(void *ctx, int owner, uint32_t verdict, uint32_t mark);
	void *ctx;
};

/* The packet that was put last waits in the queue. */
void out_queue_hold(struct out_queue *q, const struct out_world *o, int owner);
/* Acts on all that the worker has sent. */
void out_queue_run(struct out_queue *q, struct out_world *o);

#endif
