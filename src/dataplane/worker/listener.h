/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_LISTENER_H
#define RINGKIT_DATAPLANE_WORKER_LISTENER_H

#include "dataplane/worker/flow.h"

/* The ports of a worker. */
struct listeners {
	struct listener *table;
	struct listener *open, *free, *closing;
	struct listener **hash; /* by port_id */
	unsigned used;		/* slots ever used */
	unsigned count;
	unsigned n_paused;    /* that wait to be armed */
	uint64_t resume_ns;   /* when they are armed at the latest */
	uint64_t complain_ns; /* no complaint before */
};

int listener_add(struct worker *w, const struct dp_msg *msg, int fd);
int listener_remove(struct worker *w, int port_id, uint32_t seq);
void listener_accept_event(struct worker *w, const struct io_event *ev);
void listener_udp_event(struct worker *w, const struct io_event *ev);
void listener_flow_opened(struct listener *l);
/* Accepts no more until a flow has ended, or some time has passed. */
void listener_pause(struct worker *w, struct listener *l);
/* A flow of it has gone. */
void listener_flow_closed(struct worker *w, struct listener *l);
/* Arms listeners that were paused; those of TCP if there are descriptors again. */
void listener_resume(struct worker *w);
void listener_close_all(struct worker *w);

#endif
