/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_LISTENER_H
#define RINGKIT_DATAPLANE_WORKER_LISTENER_H

#include "dataplane/worker/flow.h"

enum listener_kind { LISTENERS_TCP, LISTENERS_UDP, LISTENERS_OUTWARD, LISTENER_KINDS };

/* The ports of a worker. */
struct listeners {
	struct listener *table;
	struct listener *free;
	struct listener *paused[LISTENER_KINDS]; /* they wait to be armed */
	struct listener *settled;		 /* to be closed at the end of the turn */
	struct listener **hash;			 /* by port_id */
	uint32_t *held;				 /* the n_flows of each, for io->accepts_held */
	unsigned used;				 /* slots ever used */
	unsigned count, n_closing;		 /* of ports */
	bool flow_closed;	    /* in this turn: there may be room for what is paused */
	uint64_t resume_ns;	    /* when they are armed at the latest */
	uint64_t complain_ns;	    /* no complaint before */
	uint64_t complain_share_ns; /* nor of a port that has its share */
};

/* A new port; fd becomes the worker's, also on failure. 0 or -errno. */
int listener_add(struct worker *w, const struct dp_msg *msg, int fd);
/* A listening socket of the router's; fd becomes the worker's, also on failure. 0 or -errno. */
int listener_add_outward(struct worker *w, int fd, int family, struct port_stats *stats);
/* 0, and the answer to seq follows when the flows are gone and the socket is closed; -ENOENT. */
int listener_remove(struct worker *w, int port_id, uint32_t seq);
void listener_accept_event(struct worker *w, const struct io_event *ev);
void listener_udp_event(struct worker *w, const struct io_event *ev);
/* At the end of a turn: closes what has settled, arms what was paused and has room again. */
void listener_tick(struct worker *w);
/* When paused listeners are tried again at the latest. */
uint64_t listener_deadline(const struct worker *w);
/* The one of this port, negative: its socket in the namespace. NULL: there is none. */
struct listener *listener_find(struct worker *w, int port_id);
/* For a hand-over (handover.h): takes back what is in flight; whether anything still is; listens
 * again. */
void listener_rest(struct worker *w);
bool listener_in_flight(const struct worker *w);
void listener_go(struct worker *w);
void listener_close_all(struct worker *w);

#endif
