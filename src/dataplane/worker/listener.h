/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_LISTENER_H
#define RINGKIT_DATAPLANE_WORKER_LISTENER_H

#include "dataplane/worker/flow.h"

enum listener_kind { LISTENERS_TCP, LISTENERS_UDP, LISTENERS_OUTWARD, LISTENER_KINDS };

/* A worker's listeners. */
struct listeners {
	struct listener *table;
	struct listener *free;
	struct listener *paused[LISTENER_KINDS]; /* those that wait to be armed */
	struct listener *settled;		 /* those to close at the end of the turn */
	struct listener **hash;			 /* by port_id */
	uint32_t *held;				 /* each port's n_flows, for io->accepts_held */
	unsigned used;				 /* slots used so far */
	unsigned count, n_closing;		 /* counts of ports */
	bool flow_closed;	    /* a flow ended in this turn: a paused listener may have room */
	uint64_t resume_ns;	    /* latest time to arm the paused ones */
	uint64_t complain_ns;	    /* earliest time of the next log line */
	uint64_t complain_share_ns; /* the same for ports that have their share */
};

/* Adds a port. fd becomes the worker's, also on failure. 0 or -errno. */
int listener_add(struct worker *w, const struct dp_msg *msg, int fd);
/* Adds a listening socket of the router's. fd becomes the worker's, also on failure. 0 or -errno.
 */
int listener_add_outward(struct worker *w, int fd, int family, struct port_stats *stats);
/* Removes a port. 0: the answer to seq follows when the flows have ended and the socket is closed;
 * -ENOENT. */
int listener_remove(struct worker *w, int port_id, uint32_t seq);
/* The port leads elsewhere from now on. Connections that are made stay, attempts that follow go
 * there. A port that there is not, and targets of another family, are ignored: a worker need not
 * have a socket of each port. */
void listener_set_target(struct worker *w, const struct dp_msg *msg);
void listener_accept_event(struct worker *w, const struct io_event *ev);
void listener_udp_event(struct worker *w, const struct io_event *ev);
/* At the end of a turn: closes settled listeners, and arms paused ones that have room again. */
void listener_tick(struct worker *w);
/* The latest time at which paused listeners are tried again. */
uint64_t listener_deadline(const struct worker *w);
/* The listener of this port; negative: of its socket in the namespace. NULL: there is none. */
struct listener *listener_find(struct worker *w, int port_id);
/* For a hand-over (handover.h): cancels operations; returns whether any is in flight; arms
 * listeners again. */
void listener_rest(struct worker *w);
bool listener_in_flight(const struct worker *w);
void listener_go(struct worker *w);
void listener_close_all(struct worker *w);

#endif
