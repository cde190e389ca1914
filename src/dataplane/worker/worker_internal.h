/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_WORKER_INTERNAL_H
#define RINGKIT_DATAPLANE_WORKER_WORKER_INTERNAL_H

#include <netinet/in.h>

#include "dataplane/io/handle.h"
#include "dataplane/worker/pipepool.h"
#include "dataplane/worker/sockpool.h"
#include "dataplane/worker/worker.h"

/* Completions taken at a time. */
#define WORKER_EVENTS 256

/* What one recv of a small message takes, and what a flow must fill to count as bulk. Copying
 * this much costs about what two splices cost. */
#define WORKER_COPY_BYTES 16384

/* A flow that could not get a pipe copies this much at a time. */
#define WORKER_BULK_COPY_BYTES 262144

/* Bytes one direction of a flow may move before the others have their turn. */
#define WORKER_FLOW_BUDGET (4u << 20)

/* Datagrams of one flow that one send may take along: the kernel's UDP_MAX_SEGMENTS, udp(7). */
#define UDP_SEGMENTS_MAX 64
/* The largest UDP payload over IPv4. */
#define UDP_PAYLOAD_MAX 65507
/* Datagrams of a flow that has no socket yet. */
#define UDP_PENDING_MAX 4
/* Small ones among them are copied: this many of a worker's, this long. Touched when needed. */
#define UDP_COPIES     1024
#define UDP_COPY_BYTES 2048

struct tcp_flow;
struct udp_flow;

enum listener_state { LISTENER_FREE = 0, LISTENER_OPEN, LISTENER_CLOSING };

struct listener {
	enum listener_state state;
	uint32_t gen;
	int fd;
	int port_id;
	uint32_t proto; /* enum dataplane_proto */
	uint32_t remove_seq;
	struct port_stats *stats;
	int family;	  /* of fd */
	bool armed;	  /* accept or recvmsg is in flight */
	bool stopping;	  /* that is being taken back, to pause */
	bool paused;	  /* to be armed again when descriptors or buffers are there */
	bool tune;	  /* accepted sockets may come with a congestion control that paces */
	bool transparent; /* servers are to see the address of clients from outside */
	bool transparent_worked;
	uint8_t transparent_timeouts; /* since it worked */
	uint8_t transparent_offs;     /* times that they were not, since it worked */
	uint64_t transparent_off_ns;  /* they do not until then; 0: they do */
	union dp_addr target, target2;
	socklen_t target_len, target2_len;
	unsigned n_flows;
	struct tcp_flow *tcp_flows;
	struct udp_flow *udp_flows;   /* the least recently checked first */
	struct listener *prev, *next; /* of the open, or of the free ones */
	struct listener *hash_next;   /* by port_id */
};

/* A side of a TCP flow: 0 the client, 1 the server in the namespace. */
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
	TCP_FLOW_OPEN,
	TCP_FLOW_CLOSING, /* until nothing is in flight */
};

/* One direction: from fd[d] to fd[!d]. */
struct tcp_dir {
	uint32_t in_pipe; /* bytes */
	int16_t pipe;	  /* PIPEPOOL_NONE when it has none */
	bool bulk;	  /* splice rather than copy */
	bool done;	  /* end of stream forwarded, or given up */
	bool hangup;	  /* the last poll saw the end of the stream */
	bool again;	  /* out of budget: in the run queue */
};

struct tcp_flow {
	enum tcp_state state;
	uint32_t gen;
	uint8_t armed;	  /* enum tcp_armed */
	bool abort;	  /* it ends with resets */
	bool second;	  /* target2 is being tried */
	bool queued;	  /* in the run queue */
	bool transparent; /* tries to connect with the client's address, or has done it */
	bool any_port;	  /* but not its port */
	bool limited;	  /* in the list of those that have little time for it */
	uint8_t lost;	  /* enum tcp_lost: the server will not see the client's address */
	uint64_t deadline_ns;
	int fd[2];
	struct tcp_dir dir[2];
	struct listener *listener;
	struct tcp_flow *prev, *next; /* of its listener; free list */
	struct tcp_flow *queue_prev,
		*queue_next; /* of the run queue, of those that wait for a socket, or of tcp_limited
			      */
};

enum udp_state { UDP_FLOW_FREE = 0, UDP_FLOW_WAITING, UDP_FLOW_OPEN, UDP_FLOW_CLOSING };

/* Who wrote to which of our addresses: what a UDP flow is known by. */
struct udp_key {
	struct in6_addr client, local; /* IPv4 as mapped addresses */
	uint32_t client_scope, local_ifindex;
	uint16_t client_port; /* network order */
	uint16_t zero;
	uint32_t listener; /* index */
};

/* A datagram, or a run of them that are segment bytes each (the last may be shorter; 0: one). */
struct udp_payload {
	uint8_t *data;
	uint32_t len;
	uint16_t segment;
	uint16_t buf_id; /* for udp_buf_put */
};

static inline unsigned udp_datagrams(const struct udp_payload *p)
{
	return p->segment ? (p->len + p->segment - 1) / p->segment : 1;
}

struct udp_flow {
	enum udp_state state;
	uint32_t gen;
	int fd;
	bool armed;
	bool paused; /* waits for receive buffers */
	bool plain;  /* the kernel would not segment for it */
	uint8_t n_pending;
	struct udp_payload pending[UDP_PENDING_MAX];
	struct udp_key key;
	uint64_t last_ns;
	uint64_t check_ns; /* when it is looked at for expiry */
	struct listener *listener;
	struct udp_flow *prev, *next;		/* of its listener; free list */
	struct udp_flow *age_prev, *age_next;	/* by check_ns */
	struct udp_flow *wait_prev, *wait_next; /* those that wait for a socket or for buffers */
	struct udp_flow *hash_next;
};

/* Datagrams that go out as one message. */
struct udp_batch {
	struct udp_flow *flow; /* NULL: empty */
	bool to_client;
	bool closed; /* a short one came: nothing may follow */
	size_t segment;
	size_t bytes;
	unsigned n;
	struct iovec iov[UDP_SEGMENTS_MAX];
	uint16_t buf_ids[UDP_SEGMENTS_MAX];
	unsigned datagrams;
};

enum sockpool_index { POOL_TCP4, POOL_TCP6, POOL_UDP4, POOL_UDP6, POOLS };

struct worker {
	struct worker_config config;
	struct io *io;
	struct stats *stats;
	uint64_t now_ns; /* of this turn */
	int control_fd, broker_fd;
	int next_broker_fd; /* takes the place of broker_fd when that has ended */
	uint32_t broker_gen;
	bool ended;

	struct listener *listeners; /* the table */
	struct listener *listeners_open, *listeners_free, *listeners_closing;
	struct listener **listener_hash;
	unsigned listeners_used; /* slots ever used */
	unsigned n_listeners;
	unsigned n_paused;    /* listeners that wait to be armed */
	uint64_t resume_ns;   /* when they are armed at the latest */
	uint64_t complain_ns; /* no complaint before */

	struct tcp_flow *tcp; /* the table */
	struct tcp_flow *tcp_free;
	unsigned tcp_used, tcp_count;
	struct tcp_flow *run_queue;
	struct tcp_flow *tcp_waiting[2]; /* by family: IPv4, IPv6 */
	struct tcp_flow *tcp_limited;	 /* the earliest deadline first */
	int probe_fd[2];      /* by family: unconnected datagram sockets of the namespace, or -1 */
	bool probe_wanted[2]; /* one is on its way */

	struct udp_flow *udp;
	struct udp_flow *udp_free;
	struct udp_flow **udp_hash;
	uint32_t udp_hash_mask;
	uint64_t udp_hash_seed;
	unsigned udp_used, udp_count, udp_slots; /* ever used; live; taken */
	struct udp_flow *udp_ages;
	struct udp_flow *udp_waiting[2];
	struct udp_flow *udp_paused; /* receive ended for want of buffers */
	unsigned udp_held;	     /* receive buffers in pending */
	uint8_t *udp_copies;	     /* UDP_COPIES of UDP_COPY_BYTES */
	uint16_t udp_copies_free[UDP_COPIES];
	unsigned udp_copies_free_n, udp_copies_used;
	struct udp_batch batch;

	struct pipepool pipes;
	struct sockpool pools[POOLS];
	uint64_t trim_ns;

	uint8_t *copy; /* WORKER_BULK_COPY_BYTES */
	void *mapping;
	size_t mapping_bytes;
	struct io_event events[WORKER_EVENTS];
};

#define WORKER_NS_PER_MS 1000000ull

static inline uint32_t listener_index(const struct worker *w, const struct listener *l)
{
	return (uint32_t)(l - w->listeners);
}

/* listener.c */
int listener_add(struct worker *w, const struct dp_msg *msg, int fd);
int listener_remove(struct worker *w, int port_id, uint32_t seq);
void listener_accept_event(struct worker *w, const struct io_event *ev);
void listener_udp_event(struct worker *w, const struct io_event *ev);
void listener_flow_opened(struct listener *l);
/* Accepts no more until a flow has ended, or some time has passed. */
void listener_pause(struct worker *w, struct listener *l);
/* A flow of it has gone. */
void listener_flow_closed(struct worker *w, struct listener *l);
/* Arms listeners that were paused; those of TCP if there are descriptors again. */
void listener_resume(struct worker *w);
void listener_close_all(struct worker *w);

/* tcp.c */
void tcp_accept(struct worker *w, struct listener *l, int fd);
void tcp_event(struct worker *w, const struct io_event *ev);
/* A socket of this family is there for whoever waits. */
void tcp_sockets_ready(struct worker *w, int family);
void tcp_run_queue(struct worker *w);
void tcp_close_listener_flows(struct worker *w, struct listener *l);
void tcp_close_all(struct worker *w);
/* Takes back the connect that is in flight. */
void tcp_cancel_connect(struct worker *w, struct tcp_flow *f);

/* client_address.c */
/* Why a server does not see its client's address. */
enum tcp_lost {
	TCP_LOST_NOT = 0, /* it does, or the client is on this host */
	TCP_LOST_FAMILY,
	TCP_LOST_SCOPE,
	TCP_LOST_SETUP,
	TCP_LOST_NETWORK,
	TCP_LOST_FAILED,
	TCP_LOST_TIMEOUT,
	TCP_LOST_OFF,
};
/* With the client's address, with it and the mark, or when there is a socket to ask the kernel
 * with. */
enum client_address {
	CLIENT_ADDRESS_NO,
	CLIENT_ADDRESS_YES,
	CLIENT_ADDRESS_MARKED,
	CLIENT_ADDRESS_WAIT,
};
/* A flow that has just been accepted: whether it is to try, and with which target. */
void client_address_begin(struct worker *w, struct tcp_flow *f);
/* How it is to be connected now. May end its trying. */
enum client_address client_address_choose(struct worker *w, struct tcp_flow *f);
/* Gives its fd[1] the client's address. 0, or -errno and client_address_failed has been called. */
int client_address_bind(struct worker *w, struct tcp_flow *f, enum client_address how);
/* It did not work: the next attempt is to be another. */
void client_address_failed(struct tcp_flow *f, int err);
/* It is connected, one way or the other. */
void client_address_connected(struct worker *w, struct tcp_flow *f);
/* From now on its time is limited, or not any more. */
void client_address_limit(struct worker *w, struct tcp_flow *f);
void client_address_unlimit(struct worker *w, struct tcp_flow *f);
uint64_t client_address_deadline(const struct worker *w);
void client_address_tick(struct worker *w);
/* A listener whose clients will be tried with: gets what that takes. */
void client_address_prepare(struct worker *w, const struct listener *l);
/* There are datagram sockets of this family. */
void client_address_probe_ready(struct worker *w, int family);

/* tcp_pump.c */
enum tcp_pump {
	PUMP_MOVED, /* go on */
	PUMP_WAIT_READ,
	PUMP_WAIT_WRITE,
	PUMP_BUDGET, /* has more, but others wait */
	PUMP_END,    /* end of stream */
	PUMP_READ_ERROR,
	PUMP_WRITE_ERROR,
};
/* Moves what can be moved from fd[d] to fd[!d]. */
enum tcp_pump tcp_pump(struct worker *w, struct tcp_flow *f, unsigned d);
/* Gives up the direction's pipe, and what is in it. */
void tcp_drop_pipe(struct worker *w, struct tcp_dir *dir);

/* udp.c */
void udp_from_client(struct worker *w, struct listener *l, const struct io_datagram *dgram);
/* l: of the port they were for; NULL: it has gone. */
void udp_count_dropped(struct worker *w, struct listener *l, unsigned datagrams);
void udp_flow_event(struct worker *w, const struct io_event *ev);
void udp_sockets_ready(struct worker *w, int family);
/* Arms flows that had no buffers, ends those that are past their time. */
void udp_tick(struct worker *w);
void udp_close_listener_flows(struct worker *w, struct listener *l);
void udp_close_all(struct worker *w);

/* udp_send.c */
/* Sends it, soon; its buffer goes back by itself. */
void udp_send(struct worker *w, struct udp_flow *f, bool to_client, const struct udp_payload *p);
void udp_flush(struct worker *w);

/* udp_pending.c */
/* Gives back what a datagram lies in: a receive buffer, or a copy. */
void udp_buf_put(struct worker *w, uint16_t buf_id);
/* Keeps it until the flow has a socket, or drops it. */
void udp_pending_add(struct worker *w, struct udp_flow *f, const struct udp_payload *p);
void udp_pending_send(struct worker *w, struct udp_flow *f);
void udp_pending_drop(struct worker *w, struct udp_flow *f);

/* worker.c */
/* Whether there are descriptors for another flow, beside those that are held and those that the
 * flows under way will need: one that has only one of its two must get the other. LOW: yes, but
 * accepting should pause. */
enum worker_fds { WORKER_FDS_PLENTY, WORKER_FDS_LOW, WORKER_FDS_OUT };
enum worker_fds worker_fds(const struct worker *w);
void worker_send_done(struct worker *w, int port_id, uint32_t seq, int err);
/* A socket of the broker's, or -1: none is there and more have been asked for. */
int worker_take_socket(struct worker *w, int family, int type);

#endif
