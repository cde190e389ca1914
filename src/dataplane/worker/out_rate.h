/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_OUT_RATE_H
#define RINGKIT_DATAPLANE_WORKER_OUT_RATE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A limit on something expensive: a burst, then so many per millisecond. What costs the sender
 * nothing and the worker a socket must not take all of the worker's time, since published ports
 * wait meanwhile.
 */
struct out_rate {
	unsigned burst, per_ms;
	unsigned left;
	uint64_t at_ns; /* when left was last updated; 0: never */
};

static inline bool out_rate_take(struct out_rate *r, uint64_t now_ns)
{
	uint64_t ms = (now_ns - r->at_ns) / 1000000;

	if (r->at_ns == 0 || ms >= r->burst) {
		r->left = r->burst;
		r->at_ns = now_ns;
	} else if (ms > 0) {
		r->left += (unsigned)ms * r->per_ms;
		r->left = r->left < r->burst ? r->left : r->burst;
		r->at_ns += ms * 1000000;
	}
	if (r->left == 0)
		return false;
	r->left--;
	return true;
}

#endif
