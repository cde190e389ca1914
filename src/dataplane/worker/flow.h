/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_FLOW_H
#define RINGKIT_DATAPLANE_WORKER_FLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/io/io.h"
#include "dataplane/stats.h"
#include "dataplane/wire.h"

/*
 * The listener, and what TCP and UDP flows do to the one they belong to. A flow knows its listener
 * but calls nothing of it: a flow that ends leaves a mark here, and listener_tick acts on the marks
 * at the end of the turn.
 */

struct worker;
struct tcp_flow;
struct udp_flow;

enum listener_state {
	LISTENER_FREE = 0,
	LISTENER_OPEN,	  /* accepts, or receives datagrams */
	LISTENER_PAUSED,  /* nothing is in flight; opens again when there is room */
	LISTENER_CLOSING, /* waits until its operation and its flows have ended */
	LISTENER_SETTLED, /* both have ended: is closed at the end of the turn */
};

/* What a port has learnt about connections that bear their clients' addresses. */
struct client_tries {
	bool worked;
	uint8_t timeouts;	/* clients that have stopped trying since an address last worked */
	uint8_t routed_misses;	/* clients without an answer by the router since the last answer */
	uint8_t offs;		/* how often trying was stopped since it last worked */
	uint32_t network;	/* of the last client that was counted among these */
	uint64_t off_ns;	/* no client's address is tried until then; 0: it is */
	uint64_t routed_off_ns; /* the router's way is not tried first until then */
};

struct listener {
	enum listener_state state;
	uint32_t gen;
	int fd;
	int port_id;
	uint32_t proto; /* enum port_proto */
	uint32_t remove_seq;
	struct port_stats *stats;
	int family;	  /* address family of fd */
	bool armed;	  /* the accept or recvmsg operation is in flight */
	bool stopping;	  /* the operation is being cancelled, in order to pause */
	bool tune;	  /* accepted sockets may come with a congestion control that paces */
	bool outward;	  /* a listener of the router: its flows leave the namespace */
	bool transparent; /* servers are to see the address of clients from outside */
	struct client_tries tries[2]; /* those of clients from outside, and of those whose addresses
					 are also in the namespace's own networks */
	uint32_t targets_seen;	      /* how often its targets have changed */
	union sock_addr target, target2;
	bool literal;		   /* the user named the address of target */
	bool turned;		   /* rules turn what comes in for the loopback address target2
				      to target */
	union sock_addr routed[2]; /* addresses of target and target2 by way of the router;
				      sa_family 0: none */
	socklen_t target_len, target2_len;
	unsigned n_flows;
	struct tcp_flow *tcp_flows;
	uint64_t udp_second_ns;	      /* until then UDP flows begin at target2 */
	struct udp_flow *udp_flows;   /* the least recently used first */
	struct listener *prev, *next; /* in the list of paused, settled or free listeners */
	struct listener *hash_next;   /* in the chain of the hash by port_id */
};

/* Counts a new flow of the listener. */
void flow_opened(struct worker *w, struct listener *l);

/* Counts a flow of the listener that an earlier data plane has counted as opened (handover.h). */
void flow_taken_over(struct worker *w, struct listener *l);

/* Counts the end of a flow of the listener. */
void flow_closed(struct worker *w, struct listener *l);

/* Moves a closing listener to the settled ones if neither flow nor operation is left. */
void flow_settle(struct worker *w, struct listener *l);

/* Logs a line for debugging about a flow, with its slot and the slot's generation. */
void flow_log(const struct worker *w, const char *proto, uint32_t index, uint32_t gen,
	      const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Changes a listener's state. The only place that does, and it asserts that the state may follow.
 */
void flow_set_listener_state(struct listener *l, enum listener_state state);

#endif
