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
	OUT_CONNECTED,	/* the packet has gone on: the client is about to be accepted */
	OUT_CLOSING,	/* until the connect has ended */
};

/* A connection on its way out that is no flow yet. */
struct out_pending {
	enum out_state state;
	uint32_t gen;
	bool armed; /* the connect is in flight */
	bool held;  /* packet is */
	enum egress_kind kind;
	unsigned resolver; /* EGRESS_DNS: how many have been tried */
	int fd;		   /* outside */
	int client_fd;	   /* accepted already; -1: not yet */
	struct listener *listener;
	uint32_t packet; /* the SYN that waits in the queue */
	uint32_t seq;
	uint64_t begun_ns, seen_ns;	 /* the first and the last SYN */
	union sock_addr client, dest;	 /* as the client sees it */
	union sock_addr to;		 /* outside */
	struct out_pending *prev, *next; /* the oldest first; free list */
	struct out_pending *hash_next;
};

struct out_tcp {
	struct out_pending *table;
	struct out_pending *list, *free;
	struct out_pending **hash;
	uint32_t hash_mask;
	uint64_t hash_seed;
	unsigned used, count; /* slots ever used; taken */
	unsigned flows;
	uint64_t check_ns; /* when those that are pending are looked at for expiry */
};

/* A SYN in the queue. */
void out_tcp_syn(struct worker *w, const struct gate_packet *syn, uint32_t packet);
/* A connection that came to a listener of the router. False: no more should be accepted now. */
bool out_tcp_accept(struct worker *w, struct listener *l, int fd, const union sock_addr *client);
void out_tcp_connect_event(struct worker *w, const struct io_event *ev);
/* A flow is there, with its two descriptors, that another data plane has made. */
void out_tcp_flow_taken_over(struct worker *w);
/* A flow has gone, with its two descriptors. */
void out_tcp_flow_closed(struct worker *w);
/* out_tcp_handover.c: for a hand-over (handover.h). Connects under way are not handed over: the
 * packets that wait for them come again, and are connected anew. */
void out_tcp_rest(struct worker *w);
bool out_tcp_in_flight(const struct worker *w);
void out_tcp_go(struct worker *w);
/* A client that has been accepted, and whose connect begins when all goes on. False: there is no
 * room for it, and its descriptor stays the caller's. */
bool out_tcp_take_over(struct worker *w, struct listener *l, const union sock_addr *client, int fd);
/* The parts of a connect that this needs. begin: asks whether it may be; NULL: it may not, or
 * cannot, and *verdict says how. */
struct out_pending *out_tcp_begin(struct worker *w, const union sock_addr *client,
				  const union sock_addr *dest, enum gate_verdict *verdict);
void out_tcp_begin_connect(struct worker *w, struct out_pending *p);
void out_tcp_arm(struct worker *w, struct out_pending *p);
uint64_t out_tcp_handle(const struct worker *w, const struct out_pending *p);

/* Whether its listeners may accept. */
bool out_tcp_has_room(const struct worker *w);
void out_tcp_tick(struct worker *w);
uint64_t out_tcp_deadline(const struct worker *w);
void out_tcp_close_all(struct worker *w);

#endif
