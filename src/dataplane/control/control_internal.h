/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_CONTROL_CONTROL_INTERNAL_H
#define RINGKIT_DATAPLANE_CONTROL_CONTROL_INTERNAL_H

#include "base/hash.h"
#include "base/limits.h"
#include "base/proc.h"
#include "base/role.h"
#include "dataplane/dataplane.h"
#include "dataplane/stats.h"
#include "dataplane/wire.h"

/*
 * The parent's half of the data plane, in twelve files:
 *   control.c    the interface
 *   port.c       a port's life
 *   channel.c    control channels: messages to workers, their answers
 *   start.c      the first start of all processes
 *   process.c    the processes: start, handshake, end, restart
 *   uring_why.c  why io_uring is not available
 *   brokers.c    what the parent tells the socket brokers
 *   inside.c     listening sockets in the namespace, which the broker makes
 *   turned.c     ports that rules in the namespace turn elsewhere
 *   death.c      what the end of a process means
 *   stats.c      what the workers count
 *   reload.c     replaces the data plane and keeps its flows
 */

/* A message that waits for room in its channel. */
struct dp_queued {
	struct dp_msg msg;
	int fd;	    /* descriptor that goes with the message; -1: none */
	bool owned; /* fd is closed once the message has been sent */
	struct dp_queued *prev, *next;
};

struct dp_channel {
	struct dataplane *dp;
	struct dp_child *plane; /* the data plane that the worker is of */
	unsigned worker;
	int fd; /* the parent's end; -1: there is no data plane */
	struct loop_source *src, *retry;
	uint64_t stuck_ms;	 /* since when descriptors cannot be handed over; 0: they can */
	bool told;		 /* that has been logged */
	struct dp_queued *queue; /* messages that wait for room */
};

enum dp_child_state { DP_CHILD_DOWN, DP_CHILD_STARTING, DP_CHILD_UP };

struct dp_child {
	struct dataplane *dp;
	enum role role;
	const char *name; /* in messages for people */
	enum dp_child_state state;
	struct proc proc;
	int boot_fd;
	struct loop_source *boot_src, *pid_src;
	struct loop_source *timer; /* DOWN: the next start; STARTING: the time limit of the start;
				      UP, of a broker: other channels for the lacking workers */
	unsigned failures;	   /* failures in a row */
	bool given_up;		   /* the parent has killed it */
	uint64_t started_ms;
	uint64_t refs_ms; /* since when its descriptors cannot be handed to it; 0: they can */
	/* Of a data plane, once it is up. */
	enum dataplane_backend backend;
	struct err no_uring; /* why not io_uring; code 0: it is, or was not to be tried */
	char program[32];    /* RINGKIT_VERSION of the program that it runs */
	/* Of a broker. */
	int netns_fd;	 /* the namespace that it joins; borrowed */
	bool known;	 /* a broker has been up: cookie is known, and the namespace is set up */
	uint64_t cookie; /* SO_NETNS_COOKIE of the namespace; 0: the kernel does not tell */
	int channels[LIMIT_WORKERS]; /* the workers' ends of socket channels, until they are handed
					over */
	bool lacking[LIMIT_WORKERS]; /* workers that had no descriptor for their channel */
};

enum dp_reload_state {
	DP_RELOAD_NONE,
	DP_RELOAD_STARTING, /* the new processes are started */
	DP_RELOAD_SETTLING, /* requests about ports that are under way are waited for */
	DP_RELOAD_OFFERING, /* the new workers get the ports */
	DP_RELOAD_MOVING,   /* the flows are handed over; nothing is served */
};

struct dp_reload {
	enum dp_reload_state state;
	struct dp_child plane, broker, router;
	struct dp_channel channels[LIMIT_WORKERS];
	int stats_fd, exe_fd; /* of the new data plane: its statistics file, and the binary that it
				 runs */
	unsigned waiting;     /* answers that are still to come */
	unsigned giving;      /* present workers that have not handed over everything yet */
	uint32_t seq;	      /* number of the requests to hand over and to take over */
	bool torn[2];	      /* a worker of the new, of the present data plane has found the
				 channel between them closed */
	unsigned refused;     /* flows that the new data plane cannot take over */
	uint64_t began_ns;
	struct dataplane_reloaded result;
	struct loop_source *timer; /* time limit of the state */
	dataplane_reloaded_fn *done;
	void *arg;
};

/* The walk over the ports that asks where each leads. */
struct dp_turned {
	struct dp_port
		*at;  /* the port that the keeper is asked about; NULL: no walk is under way */
	uint32_t seq; /* of that question */
	uint32_t news,
		news_at;   /* how often rules have changed, by now and when at was asked about */
	bool over_all;	   /* this walk is over all ports, not only the fresh ones */
	bool owed;	   /* a walk over all ports is due, as rules have changed */
	bool again;	   /* another walk over the fresh ports is due */
	bool later;	   /* the next is due later, as the keeper could not tell yet */
	uint64_t began_ms; /* later by the time of slow answers */
	uint64_t sent_ms;  /* when at was asked about */
	uint64_t next_ms, all_ms;      /* no walk before, and none over all ports */
	struct loop_source *timer;     /* time limit of the question; or the next walk */
	struct loop_source *follow_up; /* the next look without news, after a new port */
	unsigned follow_up_ms;	       /* the pause before it */
};

struct dataplane {
	struct loop *loop;
	struct dataplane_config config;
	unsigned workers;
	uint32_t transparent; /* mask of what works, ns/transparent.h */
	uint32_t local_ports; /* ports that the namespace has for sockets that connect, as the
				 broker says */
	struct dp_child plane, broker;
	struct dp_child router; /* the broker of the router's namespace, with config.outward */
	struct dp_channel channels[LIMIT_WORKERS];
	int stats_fd;			  /* the statistics file of the data plane that runs */
	uint64_t slots[LIMIT_PORTS / 64]; /* a bit for each slot that is taken */
	unsigned slots_used;		  /* slots from this number on were never used */
	unsigned starts;		  /* data planes started, reloads not counted */
	struct dp_port *ports;		  /* by id */
	bool starting;			  /* the first start: the parent may wait */
	bool closing;			  /* nobody waits for an answer about a port any more */
	unsigned listeners, listeners_max, listeners_plenty;
	unsigned next_worker;
	struct loop_source *look; /* timer: the broker will be told to look */
	struct dp_turned turned;
	bool broker_behind; /* the broker's channel had no room for a request */
	uint32_t seq;
	char *exe_path; /* where our own binary was when the parent started; NULL: unknown */
	int exe_fd; /* the binary that processes run since the last reload; -1: the parent's own */
	struct dp_reload reload;
};

#define DP_SLOT_NONE UINT32_MAX

/* death.c */
/* How many failures in a row this end makes. killed: by SIGKILL. */
unsigned dp_death_failures(const struct dp_child *child, bool killed);
void dp_death_log(const struct dp_child *child, const char *why, unsigned delay_ms);

/* control.c */
/* The default number of workers where the process may use so many CPUs. */
unsigned dp_workers_for_cpus(unsigned cpus);

/* stats.c */
/* Replaces *stats_fd by a new file. Its size is fixed, so that a worker's write to it cannot fail.
 * 0 or -errno. */
int dp_stats_open(const struct dataplane *dp, int *stats_fd);
/* Gives the port a slot. There is always a free one: there are as many slots as ports. */
void dp_slot_get(struct dataplane *dp, struct dp_port *port);
/* Frees the slot. DP_SLOT_NONE is allowed. */
void dp_slot_put(struct dataplane *dp, uint32_t slot);

/* channel.c */
void dp_channels_init(struct dataplane *dp, struct dp_channel *channels, struct dp_child *plane);
/* Takes over the parent's ends in fds. 0 or -errno. */
int dp_channels_open(struct dp_channel *channels, struct dataplane *dp, const int *fds);
void dp_channels_close(struct dp_channel *channels, unsigned n);
/* Puts the channels from in the place of the channels to. from is empty afterwards. */
void dp_channels_adopt(struct dp_channel *to, struct dp_channel *from, unsigned n);
/* Waits for answers and acts on them, outside of the loop. False: none came in time, or none will.
 */
bool dp_channels_wait(struct dataplane *dp, int timeout_ms);
/* Reads the answers that are there. */
void dp_channels_drain(struct dp_channel *channels, unsigned n);
/* Sends a message now, or when there is room. fd stays the caller's unless owned, and must stay
 * open until the answer has come. A message to a data plane that is down is dropped: the next one
 * gets all ports. 0 or -ENOMEM. */
int dp_channel_post(struct dp_channel *ch, const struct dp_msg *msg, int fd, bool owned);
/* A worker of this data plane missed a message, since there was no memory for it: the data plane
 * ends, and the next one is told everything. */
void dp_channel_missed(struct dp_child *plane);

/* uring_why.c */
/* Facts about the machine that can explain why io_uring is not available. */
struct uring_host {
	char release[65]; /* the kernel's release, uname(2) */
	int disabled;	  /* kernel.io_uring_disabled; -1: the sysctl does not exist */
	uint64_t memlock; /* RLIMIT_MEMLOCK, bytes */
	unsigned workers; /* each of which wants a ring */
};
void dp_uring_host_read(struct uring_host *host, unsigned workers);
/* Writes to *e what causes err, the -errno of opening a ring, and the remedy. Returns err. */
int dp_uring_why(const struct uring_host *host, int err, struct err *e);

/* start.c */
/* Starts the processes and waits until they are up. 0 or -errno. */
int dp_children_start(struct dataplane *dp, struct err *e);

/* process.c */
/* Time limit for a start. It takes a second under heavy load. */
#define DP_HANDSHAKE_MS 10000
void dp_children_end(struct dataplane *dp);
/* A start, step by step: a process that loads our program; whether it could (waits for that); the
 * data plane's boot message; the answer to a boot message, -EAGAIN until it has come; what that
 * changes; the process's end is noticed from now on. All return 0 or -errno. */
int dp_child_fork(struct dp_child *child, struct err *e);
int dp_child_check(struct dp_child *child, struct err *e);
int dp_plane_boot(struct dataplane *dp);
int dp_child_take_reply(struct dp_child *child, struct err *e);
void dp_child_is_up(struct dp_child *child);
int dp_child_watch(struct dp_child *child);
/* Kills a process that does not do what it should; the loop starts it again. */
void dp_child_give_up(struct dp_child *child, const char *why);
/* The process has closed a channel, so it is ending: kills it. */
void dp_child_hung_up(struct dp_child *child);
/* The process, which is down, is started after all. */
void dp_child_start_over(struct dp_child *child);

bool dp_has_router(const struct dataplane *dp);
void dp_child_init(struct dataplane *dp, struct dp_child *child, enum role role, const char *name,
		   int netns_fd);
/* Closes everything that belongs to the process, and ends it. */
void dp_child_clear(struct dp_child *child);
/* Starts a process of dp->reload; dp_reload_child_up or dp_reload_child_died follows. 0, or -errno
 * with *e. */
int dp_child_start_next(struct dp_child *child, struct err *e);
/* Sends the data plane of dp->reload its boot message. 0 or -errno. */
int dp_plane_boot_next(struct dataplane *dp);
/* Ends the process to, and puts the process from, which is up, in its place. */
void dp_child_adopt(struct dp_child *to, struct dp_child *from);

/* reload.c */
void dp_reload_init(struct dataplane *dp);
void dp_reload_end(struct dataplane *dp);
/* Ends a running reload, without a message to anybody. */
void dp_reload_drop(struct dataplane *dp);
/* Whether requests about ports must wait for a reload. */
bool dp_reload_holds(const struct dataplane *dp);
/* A process of the reload is up. */
void dp_reload_child_up(struct dataplane *dp);
/* A process of the reload has died, or one that it would replace. Does nothing without a reload. */
void dp_reload_child_died(struct dp_child *child, const char *why);
/* The present data plane has ended, and closed its channels. Returns whether that does not matter,
 * as it had handed over everything before. */
bool dp_reload_outlives_plane(struct dataplane *dp);
/* A new worker has answered about a port, or any worker about the hand-over. */
void dp_reload_answer(struct dataplane *dp, const struct dp_channel *ch, const struct dp_msg *msg);
/* A request about a port has been answered. */
void dp_reload_settled(struct dataplane *dp);

/* brokers.c */
/* Whether child is the broker of the command's namespace, which also makes listening sockets, and
 * not the router's. */
bool dp_is_broker(const struct dp_child *child);
/* A port has come whose servers are to see the addresses of its clients. */
void dp_broker_look(struct dataplane *dp);
/* Flags for messages with descriptors: the parent may wait at the first start. */
int dp_send_flags(const struct dataplane *dp);
/* Sends a newly started broker its boot message. 0 or -errno. */
int dp_broker_prepare(struct dp_child *broker);
/* Reads a broker's answer to the boot message. 0; -EAGAIN: it has not come; or -errno with *e. */
int dp_broker_take_reply(struct dp_child *broker, struct err *e);
/* Opens socket channels for the workers of a new data plane, in broker->channels. 0 or -errno. */
int dp_broker_add_channels(struct dp_child *broker);
/* A new broker has come: sends the running workers their channels to it. */
void dp_broker_announce(struct dp_child *broker);
/* A worker that serves had no descriptor for its channel to the broker: opens another one, soon. */
void dp_broker_repeat(struct dp_child *broker, unsigned worker);
/* Socket pairs for channels. 0 or -errno. */
int dp_socketpair_open(int *ours, int *theirs);
int dp_pairs_open(int *a, int *b, unsigned n);
void dp_fds_init(int *fds, size_t n);
void dp_fds_close(int *fds, size_t n);

/* inside.c */
/* Asks the broker for the port's socket in the namespace; dp_port_inside takes the answer. 0;
 * -EPIPE: there is no broker, ask the next one; -EAGAIN: ask again after the broker's next answer;
 * other -errno. */
int dp_inside_ask(struct dataplane *dp, const struct dp_port *port);
/* Whether the socket is what was ordered for the port. */
bool dp_inside_check(const struct dataplane *dp, const struct dp_port *port, int fd);
/* Reads the broker's answers. */
void dp_inside_answers(struct dataplane *dp);

/* turned.c */
/* The port is live: asks where it leads, if there is something to ask about it. */
void dp_turned_begin(struct dp_port *port);
/* The keeper has answered, or tells that rules have changed. */
void dp_turned_answer(struct dataplane *dp, const struct broker_turned_reply *reply);
/* The port is going. */
void dp_turned_forget(struct dp_port *port);
/* A new broker, which has not been asked anything. */
void dp_turned_begin_anew(struct dataplane *dp);
/* Ends the walk and its timer. */
void dp_turned_end(struct dataplane *dp);
/* Writes where the port leads to the message. */
void dp_turned_targets(const struct dp_port *port, struct dp_msg *msg);

/* port.c */
/* Removes every port from the workers, and waits a moment for that. */
void dp_ports_let_go(struct dataplane *dp);
/* Frees everything that the parent has of its ports. */
void dp_ports_clear(struct dataplane *dp);
/* The broker has answered about port id: err 0 with fd, which this takes over, or err -errno with
 * fd -1. */
void dp_port_inside(struct dataplane *dp, int id, uint32_t seq, int err, int fd);
/* Asks the broker for the sockets that it was not asked for. anew: the broker is new, and was asked
 * for none. */
void dp_ports_ask_broker(struct dataplane *dp, bool anew);
/* No broker is expected soon: ports that wait for one are refused. */
void dp_ports_broker_hopeless(struct dataplane *dp);
void dp_ports_answer(struct dataplane *dp, unsigned worker, const struct dp_msg *msg);
/* Whether a request may be dropped when its descriptor cannot be sent for long: an add of a port
 * that is not live yet. A live port must get to the workers. dp_port_give_up then acts as if the
 * worker had answered with err. */
bool dp_port_may_give_up(const struct dataplane *dp, const struct dp_msg *msg);
void dp_port_give_up(struct dataplane *dp, unsigned worker, const struct dp_msg *msg, int err);
/* A new data plane is up: offers it all ports. */
void dp_ports_offer(struct dataplane *dp);
/* Sends a request to every worker of channels that has, or should have, a socket of the port.
 * False: out of memory for a message. */
bool dp_port_post_to(struct dp_port *port, enum dp_msg_type type, struct dp_channel *channels);
/* The same to the workers that serve, now or when a reload has ended. */
void dp_port_post(struct dp_port *port, enum dp_msg_type type);
/* The data plane has died, with every flow. hopeless: no other is expected soon. */
void dp_ports_plane_died(struct dataplane *dp, bool hopeless);

#endif
