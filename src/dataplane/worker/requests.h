/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_REQUESTS_H
#define RINGKIT_DATAPLANE_WORKER_REQUESTS_H

#include <stdbool.h>

struct worker;

/* The parent's requests: ports to add and to remove, and the next broker's channel. */
struct requests {
	bool waiting; /* not read, until there is room for answers */
	bool ended;   /* there will be no more */
};

/* Listens to the control channel. */
void requests_open(struct worker *w);

/* The channel has something. */
void requests_event(struct worker *w);

/* Reads on if there is room for answers again. */
void requests_resume(struct worker *w);

#endif
