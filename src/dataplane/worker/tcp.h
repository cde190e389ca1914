/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_TCP_H
#define RINGKIT_DATAPLANE_WORKER_TCP_H

#include "dataplane/worker/flow.h"

/* Sides of a TCP flow: 0 is the client, 1 the server in the namespace. On the way out 0 is the
 * client in the namespace, 1 the server outside. */
enum tcp_armed {
	TCP_ARMED_READ0 = 1 << 0, /* these are shifted left by the side */
	TCP_ARMED_WRITE0 = 1 << 2,
	TCP_ARMED_WATCH0 = 1 << 4,
	TCP_ARMED_CONNECT = 1 << 6,
};

enum tcp_state {
	TCP_FLOW_FREE = 0,
	TCP_FLOW_WAITING, /* waits for a socket */
	TCP_FLOW_CONNECTING,
	TCP_FLOW_RETRYING, /* the server refused: it may not listen yet */
	TCP_FLOW_OPEN,
	TCP_FLOW_DRAINING, /* one side is lost; its data is on the way to the other */
	TCP_FLOW_CLOSING,  /* waits until nothing is in flight */
};

/* How long a flow may take to be connected. The namespace's kernel would try for two minutes
 * (tcp_syn_retries). Clients rarely wait for more than half a minute. */
#define TCP_CONNECT_NS (30000 * WORKER_NS_PER_MS)

/* How long a connection whose last bytes are on their way may go without progress. */
#define TCP_DRAIN_STALL_NS (60000 * WORKER_NS_PER_MS)

/* One direction of a flow: from fd[d] to fd[!d]. */
struct tcp_dir {
	uint32_t in_pipe;  /* bytes in the pipe */
	int16_t pipe;	   /* PIPEPOOL_NONE: it has none */
	bool bulk;	   /* splice instead of copying */
	bool done;	   /* end of stream was forwarded, or the direction was given up */
	bool hangup;	   /* the last poll saw the end of the stream */
	bool again;	   /* its budget was used up: it is in the run queue */
	bool flowing;	   /* its output took a whole budget, and was not full since */
	uint64_t stall_ns; /* since when its output does not take what the pipe has; 0: it does */
	bool stalled;	   /* that has lasted: the pipe counts as stalled */
};

struct tcp_flow {
	enum tcp_state state;
	uint32_t gen;
	uint8_t armed;	    /* enum tcp_armed */
	bool abort;	    /* the flow ends with resets */
	bool second;	    /* target2 is being tried */
	bool queued;	    /* the flow is in the run queue */
	bool routed;	    /* goes by way of the router's namespace, with the client's address */
	bool routed_left;   /* the router's way is left as the last one to try */
	bool transparent;   /* tries to connect with the client's address, or has done so */
	bool any_port;	    /* with the client's address, but any port */
	bool limited;	    /* the attempt may last until limit_ns */
	bool connect_ended; /* at rest (handover.h): the connect has ended with connect_res */
	int32_t connect_res;
	uint8_t lost;	    /* enum tcp_lost: why the server will not see the client's address */
	uint8_t tries;	    /* attempts that the server has refused */
	uint8_t survivor;   /* DRAINING: the side that is left */
	uint32_t timer_pos; /* tcp_timer.c: position in the heap; 0: no timer */
	uint32_t unsent;    /* DRAINING: bytes that the last look found unacknowledged */
	uint64_t timer_ns;
	uint64_t limit_ns;
	uint64_t end_ns; /* unless OPEN: when the flow is given up */
	int fd[2];
	uint64_t silent_ns[2];	/* tcp_sweep.c: since when that side is silent; 0: it is not */
	union sock_addr client; /* IPv4 is not mapped */
	struct tcp_dir dir[2];
	struct listener *listener;
	struct tcp_flow *prev, *next;		  /* list of its listener; or free list */
	struct tcp_flow *queue_prev, *queue_next; /* run queue, or those that wait for a socket */
};

/* A worker's TCP flows. */
struct tcp_table {
	struct tcp_flow *flows;
	struct tcp_flow *free;
	unsigned used, count; /* slots used so far; slots taken, except by the way out */
	struct tcp_flow *run_queue;
	/* Flows that wait for a socket, by its namespace (the command's, the router's) and family.
	 */
	struct tcp_flow *waiting[2][2];
	unsigned retrying; /* flows in state RETRYING */
	uint32_t accepts;  /* connections accepted so far, for times.c */
	uint32_t *timers;  /* tcp_timer.c */
	unsigned n_timers;
	unsigned sweep_at;    /* tcp_sweep.c: next slot to look at */
	uint64_t sweep_ns;    /* when that is due; 0: not set yet */
	uint64_t complain_ns; /* earliest time of the next log line about ports running out */
};

/* Makes a flow of a new connection. There must be room for it (budget_connections). */
void tcp_accept(struct worker *w, struct listener *l, int fd, const union sock_addr *client);
/* Makes a flow of two connected sockets, for the way out. There must be a slot for it. */
void tcp_join(struct worker *w, struct listener *l, int client_fd, int server_fd);
void tcp_event(struct worker *w, const struct io_event *ev);
/* The flow's connect has ended with res, 0 or -errno. */
void tcp_connect_ended(struct worker *w, struct tcp_flow *f, int res);
/* Puts direction d into the run queue. */
void tcp_requeue(struct worker *w, struct tcp_flow *f, unsigned d);
/* There are sockets of this family for flows that wait; routed: of the router's namespace. */
void tcp_sockets_ready(struct worker *w, int family, bool routed);
void tcp_run_queue(struct worker *w);
void tcp_close_listener_flows(struct worker *w, struct listener *l);
void tcp_close_all(struct worker *w);
/* Acts on flows whose timers have expired. */
void tcp_tick(struct worker *w);

#endif
