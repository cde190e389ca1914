/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_FLOW_H
#define RINGKIT_DATAPLANE_WORKER_FLOW_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "dataplane/io/io.h"
#include "dataplane/stats.h"
#include "dataplane/wire.h"

/*
 * The listener, and what TCP and UDP flows do to the one they belong to. A flow knows its listener,
 * but never calls it: a flow that ends leaves a mark here, and the listeners act on the marks when
 * the turn is over (listener_tick).
 */

struct worker;
struct tcp_flow;
struct udp_flow;

enum listener_state {
	LISTENER_FREE = 0,
	LISTENER_OPEN,	  /* accepts, or receives datagrams */
	LISTENER_PAUSED,  /* has nothing in flight; opens again when there is room */
	LISTENER_CLOSING, /* waits for its operation and its flows to end */
	LISTENER_SETTLED, /* has neither: to be closed at the end of the turn */
};

struct listener {
	enum listener_state state;
	uint32_t gen;
	int fd;
	int port_id;
	uint32_t proto; /* enum port_proto */
	uint32_t remove_seq;
	struct port_stats *stats;
	int family;	  /* of fd */
	bool armed;	  /* accept or recvmsg is in flight */
	bool stopping;	  /* that is being taken back, to pause */
	bool tune;	  /* accepted sockets may come with a congestion control that paces */
	bool outward;	  /* of the router: its flows leave the namespace */
	bool transparent; /* servers are to see the address of clients from outside */
	bool transparent_worked;
	uint8_t transparent_timeouts; /* since it worked */
	uint8_t transparent_offs;     /* times that they were not, since it worked */
	uint64_t transparent_off_ns;  /* they do not until then; 0: they do */
	uint64_t routed_off_ns;	      /* nor by way of the router until then */
	union sock_addr target, target2;
	bool literal;		   /* target was asked for by its address */
	union sock_addr routed[2]; /* what they are by way of the router; sa_family 0: nothing */
	socklen_t target_len, target2_len;
	unsigned n_flows;
	struct tcp_flow *tcp_flows;
	uint64_t udp_second_ns;	      /* UDP servers are at target2, until then */
	struct udp_flow *udp_flows;   /* the least recently used first */
	struct listener *prev, *next; /* of the paused, the settled, or the free ones */
	struct listener *hash_next;   /* by port_id */
};

/* The listener has another flow. */
void flow_opened(struct worker *w, struct listener *l);

/* The same for one that another data plane has counted (handover.h). */
void flow_taken_over(struct worker *w, struct listener *l);

/* The listener has one flow less. */
void flow_closed(struct worker *w, struct listener *l);

/* Moves a closing listener that nothing holds any more to the settled ones. */
void flow_settle(struct worker *w, struct listener *l);

/* A line of the debug log about a flow: its slot, and which life of it. */
void flow_log(const struct worker *w, const char *proto, uint32_t index, uint32_t gen,
	      const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Every change of a listener's state goes through here: it must be one that may follow. */
void flow_set_listener_state(struct listener *l, enum listener_state state);

#endif
