/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_UDP_H
#define RINGKIT_DATAPLANE_WORKER_UDP_H

#include "base/limits.h"
#include "dataplane/worker/flow.h"
#include "dataplane/worker/udp_message.h"

/* What one receive may bring: a run of datagrams, udp(7), UDP_GRO. */
#define UDP_RUN_BYTES 65535
/* Copies lie in blocks of this size: most first datagrams fit into one. */
#define UDP_BLOCK_BYTES 512
#define UDP_BLOCKS	(LIMIT_UDP_PENDING_BYTES / UDP_BLOCK_BYTES)
#define UDP_NO_COPY	0xffff

enum udp_state { UDP_FLOW_FREE = 0, UDP_FLOW_WAITING, UDP_FLOW_OPEN, UDP_FLOW_CLOSING };

/* Who wrote to which of our addresses: what a UDP flow is known by. */
struct udp_key {
	struct in6_addr client, local; /* IPv4 as mapped addresses */
	uint32_t client_scope, local_ifindex;
	uint16_t client_port; /* network order */
	uint16_t zero;
	uint32_t listener; /* index */
};

struct udp_flow {
	enum udp_state state;
	uint32_t gen;
	int fd;
	bool armed;
	bool paused;	/* waits for receive buffers */
	bool plain;	/* the kernel would not segment for it */
	bool routed;	/* its socket is of the router's namespace and bears the client's address */
	bool both;	/* target and target2 have been tried since that */
	bool second;	/* its server is, or may be, at target2 of the listener */
	bool undecided; /* or at the other one: what is sent is kept as a copy, too */
	bool unreachable;		/* one could not be connected to */
	uint8_t ways;			/* to its server: the router's, the targets */
	uint16_t copy_first, copy_last; /* of its copies, if there are any */
	uint16_t n_pending;		/* copies */
	unsigned blocks;		/* that they take */
	struct udp_key key;
	uint64_t last_ns; /* of its last datagram */
	struct listener *listener;
	struct udp_flow *prev, *next;		/* of its listener; free list */
	struct udp_flow *age_prev, *age_next;	/* by last_ns */
	struct udp_flow *wait_prev, *wait_next; /* those that wait for a socket or for buffers */
	struct udp_flow *keep_prev, *keep_next; /* open, with copies, by keep_ns */
	uint64_t keep_ns;			/* until when that is kept */
	struct udp_flow *hash_next;
};

/* A block of a copy. What a copy is stands at its first. */
struct udp_block {
	uint32_t len;
	uint16_t segment;
	uint16_t next_copy; /* of the flow */
	uint16_t next;	    /* block of the copy; free list */
	uint8_t sent;	    /* by so many ways has it been sent already */
};

/* Copies of datagrams, see udp_copy.c. */
struct udp_store {
	uint8_t *data;
	struct udp_block *blocks;
	unsigned used, free; /* ever used; left */
	uint16_t free_first;
};

/* What leaves next. */
struct udp_batch {
	struct udp_flow *flow; /* NULL: nothing */
	bool to_client;
	bool counted; /* as moved: it is sent once more */
	struct udp_message message;
};

/* The UDP flows of a worker. */
struct udp_table {
	struct udp_flow *flows;
	struct udp_flow *free;
	struct udp_flow **hash;
	uint32_t hash_mask;
	uint64_t hash_seed;
	unsigned used, count, slots; /* ever used; live; taken */
	struct udp_flow *ages;	     /* the least recently used first */
	struct udp_flow *waiting[2]; /* for a socket, by family: IPv4, IPv6 */
	struct udp_flow *keeping;
	struct udp_flow *paused; /* receive ended for want of buffers */
	struct udp_store store;
	unsigned ports;		 /* of the namespace that open flows have */
	uint64_t ports_retry_ns; /* when the next one is tried for */
	struct udp_batch batch;
};

void udp_from_client(struct worker *w, struct listener *l, const struct io_datagram *dgram);
void udp_flow_event(struct worker *w, const struct io_event *ev);
void udp_sockets_ready(struct worker *w, int family);
/* Arms flows that had no buffers, ends those that are past their time. */
void udp_tick(struct worker *w);
/* When it has something to do next. */
uint64_t udp_deadline(const struct worker *w);
/* For a hand-over (handover.h): takes back what is in flight; whether anything still is; all
 * receive again. */
void udp_rest(struct worker *w);
bool udp_in_flight(const struct worker *w);
void udp_go(struct worker *w);
/* A flow that another data plane has had, with its socket, at rest; fd -1: it has none, and is to
 * wait for one (udp_wait). NULL: there is no room, or one like it. */
struct udp_flow *udp_take_over(struct worker *w, struct listener *l, const struct udp_key *key,
			       int fd);
void udp_wait(struct worker *w, struct udp_flow *f);
void udp_close_listener_flows(struct worker *w, struct listener *l);
void udp_close_all(struct worker *w);

#endif
