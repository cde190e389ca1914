/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_TCP_H
#define RINGKIT_DATAPLANE_WORKER_TCP_H

#include "dataplane/worker/flow.h"

/* A side of a TCP flow: 0 the client, 1 the server in the namespace. On the way out: 0 the client
 * in the namespace, 1 the server. */
enum tcp_armed {
	TCP_ARMED_READ0 = 1 << 0, /* shifted left by the side */
	TCP_ARMED_WRITE0 = 1 << 2,
	TCP_ARMED_WATCH0 = 1 << 4,
	TCP_ARMED_CONNECT = 1 << 6,
};

enum tcp_state {
	TCP_FLOW_FREE = 0,
	TCP_FLOW_WAITING, /* for a socket of the broker */
	TCP_FLOW_CONNECTING,
	TCP_FLOW_RETRYING, /* the server refused, and may not listen yet */
	TCP_FLOW_OPEN,
	TCP_FLOW_DRAINING, /* one side is lost; what it sent is on its way to the other */
	TCP_FLOW_CLOSING,  /* until nothing is in flight */
};

/* A direction of a flow: from fd[d] to fd[!d]. */
struct tcp_dir {
	uint32_t in_pipe;  /* bytes */
	int16_t pipe;	   /* PIPEPOOL_NONE when it has none */
	bool bulk;	   /* splice rather than copy */
	bool done;	   /* end of stream forwarded, or given up */
	bool hangup;	   /* the last poll saw the end of the stream */
	bool again;	   /* out of budget: in the run queue */
	bool flowing;	   /* its output took all of a budget; not full since */
	uint64_t stall_ns; /* since then it holds a pipe that its output does not take; 0: no */
	bool stalled;	   /* holds a pipe that its output does not take */
};

struct tcp_flow {
	enum tcp_state state;
	uint32_t gen;
	uint8_t armed;	    /* enum tcp_armed */
	bool abort;	    /* it ends with resets */
	bool second;	    /* target2 is being tried */
	bool queued;	    /* in the run queue */
	bool routed;	    /* by way of the router's namespace, with the client's address */
	bool routed_left;   /* that is still to be tried, at last */
	bool transparent;   /* tries to connect with the client's address, or has done it */
	bool any_port;	    /* but not its port */
	bool limited;	    /* this attempt may last until limit_ns */
	bool connect_ended; /* at rest (handover.h), with connect_res */
	int32_t connect_res;
	uint8_t lost;	    /* enum tcp_lost: the server will not see the client's address */
	uint8_t tries;	    /* of a server that refused */
	uint8_t survivor;   /* DRAINING: the side that is still there */
	uint32_t timer_pos; /* tcp_timer.c; 0: it has none */
	uint32_t unsent;    /* DRAINING: bytes that were still to go at the last look */
	uint64_t timer_ns;
	uint64_t limit_ns;
	uint64_t end_ns; /* it is given up then: not OPEN only */
	int fd[2];
	uint64_t silent_ns[2];	/* tcp_sweep.c: since when that end is silent; 0: it is not */
	union sock_addr client; /* IPv4 as such, not mapped */
	struct tcp_dir dir[2];
	struct listener *listener;
	struct tcp_flow *prev, *next;		  /* of its listener; free list */
	struct tcp_flow *queue_prev, *queue_next; /* of the run queue, or of those that wait for a
						     socket */
};

/* The TCP flows of a worker. */
struct tcp_table {
	struct tcp_flow *flows;
	struct tcp_flow *free;
	unsigned used, count; /* slots ever used; taken, but for those of the way out */
	struct tcp_flow *run_queue;
	/* For a socket, by where it is to be of (the command's namespace, the router's) and family.
	 */
	struct tcp_flow *waiting[2][2];
	unsigned retrying; /* flows in that state */
	uint32_t accepts;  /* so far; times.c */
	uint32_t *timers;  /* tcp_timer.c */
	unsigned n_timers;
	unsigned sweep_at;    /* tcp_sweep.c: the next slot */
	uint64_t sweep_ns;    /* and when; 0: not yet */
	uint64_t complain_ns; /* of ports that have run out: no complaint before */
};

/* A new connection: there is room for it (budget_connections). */
void tcp_accept(struct worker *w, struct listener *l, int fd, const union sock_addr *client);
/* A flow of two connected sockets: of the way out. There is a slot for it. */
void tcp_join(struct worker *w, struct listener *l, int client_fd, int server_fd);
void tcp_event(struct worker *w, const struct io_event *ev);
/* The connect has ended with res, 0 or -errno. */
void tcp_connect_ended(struct worker *w, struct tcp_flow *f, int res);
/* Direction d has its turn in the run queue. */
void tcp_requeue(struct worker *w, struct tcp_flow *f, unsigned d);
/* A socket of this family is there for whoever waits; routed: of the router's namespace. */
void tcp_sockets_ready(struct worker *w, int family, bool routed);
void tcp_run_queue(struct worker *w);
void tcp_close_listener_flows(struct worker *w, struct listener *l);
void tcp_close_all(struct worker *w);
/* Looks at flows whose time has come. */
void tcp_tick(struct worker *w);

#endif
