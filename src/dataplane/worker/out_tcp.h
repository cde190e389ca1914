/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_OUT_TCP_H
#define RINGKIT_DATAPLANE_WORKER_OUT_TCP_H

#include "base/sockaddr.h"
#include "dataplane/worker/egress.h"
#include "dataplane/worker/gate.h"

struct worker;
struct io_event;
struct gate_packet;
struct listener;

enum out_state {
	OUT_FREE = 0,
	OUT_CONNECTING, /* the packet is held, or the client has been accepted */
	OUT_CONNECTED,	/* the packet has gone on: the client will be accepted soon */
	OUT_CLOSING,	/* waits until the connect operation has ended */
};

/* A connection on its way out that is not a flow yet. */
struct out_pending {
	enum out_state state;
	uint32_t gen;
	bool armed; /* the connect operation is in flight */
	bool held;  /* packet waits in the queue */
	enum egress_kind kind;
	unsigned resolver; /* EGRESS_DNS: number of resolvers tried */
	int fd;		   /* the socket outside */
	int client_fd;	   /* the accepted connection; -1: not accepted yet */
	struct listener *listener;
	uint32_t packet; /* id of the SYN that waits in the queue */
	uint32_t seq;
	uint64_t begun_ns, seen_ns;	 /* when the first and the last SYN came */
	union sock_addr client, dest;	 /* addresses as the client sees them */
	union sock_addr to;		 /* destination outside */
	struct out_pending *prev, *next; /* list, the oldest first; or free list */
	struct out_pending *hash_next;
};

struct out_tcp {
	struct out_pending *table;
	struct out_pending *list, *free;
	struct out_pending **hash;
	uint32_t hash_mask;
	uint64_t hash_seed;
	unsigned used, count; /* slots used so far; slots taken */
	unsigned flows;
	uint64_t check_ns; /* next look for expired connections */
};

/* Changes the state. The only place that does, and it asserts that the state may follow. */
void out_tcp_set_state(struct out_pending *p, enum out_state state);

/* Acts on a SYN from the queue. */
void out_tcp_syn(struct worker *w, const struct gate_packet *syn, uint32_t packet);
/* Acts on a connection to a listener of the router. Returns false when no more should be accepted
 * now. */
bool out_tcp_accept(struct worker *w, struct listener *l, int fd, const union sock_addr *client);
void out_tcp_connect_event(struct worker *w, const struct io_event *ev);
/* A flow of an earlier data plane has been taken over, with its two descriptors. */
void out_tcp_flow_taken_over(struct worker *w);
/* For a hand-over (handover.h), in out_tcp_handover.c. Connects under way are not handed over: the
 * packets that wait for them come again, and are connected anew. */
void out_tcp_rest(struct worker *w);
bool out_tcp_in_flight(const struct worker *w);
void out_tcp_go(struct worker *w);
/* Takes over a client that was accepted. Its connect begins when the worker is told to go. False:
 * there is no room, and fd stays the caller's. */
bool out_tcp_take_over(struct worker *w, struct listener *l, const union sock_addr *client, int fd);
/* Parts of a connect that out_tcp_handover.c needs, too. out_tcp_begin decides whether the
 * connection is allowed; NULL: it is not, or cannot be made, and *verdict says how to answer. */
struct out_pending *out_tcp_begin(struct worker *w, const union sock_addr *client,
				  const union sock_addr *dest, enum gate_verdict *verdict);
void out_tcp_begin_connect(struct worker *w, struct out_pending *p);
void out_tcp_arm(struct worker *w, struct out_pending *p);
uint64_t out_tcp_handle(const struct worker *w, const struct out_pending *p);

void out_tcp_tick(struct worker *w);
uint64_t out_tcp_deadline(const struct worker *w);
void out_tcp_close_all(struct worker *w);

#endif
