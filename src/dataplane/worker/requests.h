/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_REQUESTS_H
#define RINGKIT_DATAPLANE_WORKER_REQUESTS_H

#include <stdbool.h>

struct worker;
struct dp_msg;

/* The parent's requests (enum dp_msg_type). */
struct requests {
	struct dp_msg *msgs; /* DP_MSGS_MAX: those that are being obeyed */
	bool waiting;	     /* none is read until there is room for answers */
	bool ended;	     /* the channel has ended */
};

/* Listens to the control channel. */
void requests_open(struct worker *w);

/* The channel is readable. */
void requests_event(struct worker *w);

/* Reads on if there is room for answers again. */
void requests_resume(struct worker *w);

#endif
