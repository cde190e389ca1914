/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_UDP_H
#define RINGKIT_DATAPLANE_WORKER_UDP_H

#include "base/limits.h"
#include "dataplane/worker/flow.h"
#include "dataplane/worker/udp_message.h"

/* The most that one receive may bring: a run of datagrams, udp(7), UDP_GRO. */
#define UDP_RUN_BYTES 65535
/* Copies are kept in blocks of this size: most first datagrams fit into one. */
#define UDP_BLOCK_BYTES 512
#define UDP_BLOCKS	(LIMIT_UDP_PENDING_BYTES / UDP_BLOCK_BYTES)
#define UDP_NO_COPY	0xffff

enum udp_state { UDP_FLOW_FREE = 0, UDP_FLOW_WAITING, UDP_FLOW_OPEN, UDP_FLOW_CLOSING };

/* What identifies a UDP flow: who wrote to which of our addresses. */
struct udp_key {
	struct in6_addr client, local; /* IPv4 as mapped addresses */
	uint32_t client_scope, local_ifindex;
	uint16_t client_port; /* in network order */
	uint16_t zero;
	uint32_t listener; /* index of the listener */
};

struct udp_flow {
	enum udp_state state;
	uint32_t gen;
	int fd;
	bool armed;
	bool paused;	/* waits for receive buffers */
	bool plain;	/* the kernel does not segment for this socket */
	bool routed;	/* its socket is of the router's namespace and bears the client's address */
	bool both;	/* target and target2 have been tried since the router's way was */
	bool second;	/* its server is, or may be, at the listener's target2 */
	bool undecided; /* the server may be at the other address: what is sent is also kept as a
			   copy */
	bool unreachable; /* an address could not be connected to */
	bool refused;	  /* nobody is there: the client's next datagram begins another flow */
	uint8_t ways;	  /* number of ways to its server: the router's, and the targets */
	uint16_t copy_first, copy_last; /* its first and last copy, if it has any */
	uint16_t n_pending;		/* number of copies */
	unsigned blocks;		/* blocks that the copies take */
	struct udp_key key;
	uint64_t last_ns; /* time of its last datagram */
	uint64_t seek_ns; /* an ICMP error before that does not make it refused */
	struct listener *listener;
	struct udp_flow *prev, *next;		/* list of its listener; or free list */
	struct udp_flow *age_prev, *age_next;	/* list by last_ns */
	struct udp_flow *wait_prev, *wait_next; /* waiting for a socket or buffers */
	struct udp_flow *keep_prev, *keep_next; /* list of open flows with copies, by keep_ns */
	uint64_t keep_ns;			/* until when the copies are kept */
	struct udp_flow *hash_next;
};

/* A block of a copy. The fields that describe the whole copy are those of its first block. */
struct udp_block {
	uint32_t len;
	uint16_t segment;
	uint16_t next_copy; /* the flow's next copy */
	uint16_t next;	    /* next block of the copy; or free list */
	uint8_t sent;	    /* by how many ways the copy was sent already */
};

/* Copies of datagrams; see udp_copy.c. */
struct udp_store {
	uint8_t *data;
	struct udp_block *blocks;
	unsigned used, free; /* blocks used so far; blocks that are free */
	uint16_t free_first;
};

/* Datagrams that leave as one message. */
struct udp_batch {
	struct udp_flow *flow; /* NULL: the batch is empty */
	bool to_client;
	bool counted; /* the datagrams were counted before: they are sent again */
	struct udp_message message;
};

/* A worker's UDP flows. */
struct udp_table {
	struct udp_flow *flows;
	struct udp_flow *free;
	struct udp_flow **hash;
	uint32_t hash_mask;
	uint64_t hash_seed;
	unsigned used, count, slots; /* slots used so far; live flows; slots taken */
	struct udp_flow *ages;	     /* list of live flows, the least recently used first */
	struct udp_flow *waiting[2]; /* those that wait for a socket, by family: IPv4, IPv6 */
	struct udp_flow *keeping;
	struct udp_flow *paused; /* receiving ended for want of a buffer */
	struct udp_store store;
	unsigned ports;		 /* ports of the namespace that open flows take */
	uint64_t ports_retry_ns; /* when the kernel is asked for a port again */
	struct udp_batch batch;
};

/* Changes a flow's state. The only place that does, and it asserts that the state may follow. */
void udp_set_state(struct udp_flow *f, enum udp_state state);

void udp_from_client(struct worker *w, struct listener *l, const struct io_datagram *dgram);
void udp_flow_event(struct worker *w, const struct io_event *ev);
void udp_sockets_ready(struct worker *w, int family);
/* Arms flows that had no buffers, and ends idle ones. */
void udp_tick(struct worker *w);
/* When udp_tick must be called next. */
uint64_t udp_deadline(const struct worker *w);
/* For a hand-over (handover.h): cancels operations; returns whether any is in flight; receives
 * again. */
void udp_rest(struct worker *w);
bool udp_in_flight(const struct worker *w);
void udp_go(struct worker *w);
/* Takes over a flow of an earlier data plane with its socket; the flow is at rest. fd -1: it has no
 * socket, and must wait for one (udp_wait). NULL: there is no room, or such a flow exists. */
struct udp_flow *udp_take_over(struct worker *w, struct listener *l, const struct udp_key *key,
			       int fd);
void udp_wait(struct worker *w, struct udp_flow *f);
void udp_close_listener_flows(struct worker *w, struct listener *l);
void udp_close_all(struct worker *w);

#endif
