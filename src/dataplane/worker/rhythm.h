/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_RHYTHM_H
#define RINGKIT_DATAPLANE_WORKER_RHYTHM_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Whether the next wait is likely to be short. Requests and responses, one after the other, make
 * many short waits in a row, and most of such a request's time passes while a process is woken up.
 * A worker that looks for its next event without sleeping is not woken up, and saves what sleeping
 * and waking cost. So it does that for a while, as long as it pays.
 */
struct rhythm {
	uint64_t began_ns; /* when the present wait began */
	uint64_t off_ns;   /* until then the worker does not look */
	uint32_t look_ns;  /* how long the present wait looks before it sleeps; 0: not at all */
	uint8_t row;	   /* short waits in a row */
	uint8_t expected;  /* so many waits will look, as something new has begun */
	uint8_t hits, misses;
};

/* A wait begins. Returns how long to look for events before sleeping. */
uint32_t rhythm_begin(struct rhythm *r, uint64_t now_ns);
/* The wait has ended. cut: the worker lost its processor to somebody else while it looked. */
void rhythm_end(struct rhythm *r, uint64_t now_ns, bool cut);
/* A connection has begun: its first messages are likely to come soon. */
void rhythm_expect(struct rhythm *r);
/* The turn had more to do than to pass on a few messages. */
void rhythm_break(struct rhythm *r);

#endif
