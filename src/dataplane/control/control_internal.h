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
 * The parent's half of the data plane, in ten files:
 *   control.c  the door
 *   port.c     what becomes of a port
 *   channel.c  control channels: messages to workers, their answers
 *   process.c  the processes: start, handshake, end, start again
 *   uring_why.c  why io_uring cannot be had
 *   brokers.c  what it tells the socket brokers
 *   inside.c   listening sockets in the namespace, which the broker makes
 *   death.c    what the end of a process means
 *   stats.c    what the workers count
 *   reload.c   another data plane takes the flows over
 */

/* A message that did not go out at once. */
struct dp_queued {
	struct dp_msg msg;
	int fd;	    /* goes with it; -1: none */
	bool owned; /* fd is closed when it has gone */
	struct dp_queued *prev, *next;
};

struct dp_channel {
	struct dataplane *dp;
	struct dp_child *plane; /* whose worker it is */
	unsigned worker;
	int fd; /* -1: there is no data plane */
	struct loop_source *src, *retry;
	uint64_t stuck_ms;	 /* since when descriptors cannot be handed over; 0: they can */
	bool told;		 /* that it is so */
	struct dp_queued *queue; /* empty unless the channel is full */
};

enum dp_child_state { DP_CHILD_DOWN, DP_CHILD_STARTING, DP_CHILD_UP };

struct dp_child {
	struct dataplane *dp;
	enum role role;
	const char *name; /* for people */
	enum dp_child_state state;
	struct proc proc;
	int boot_fd;
	struct loop_source *boot_src, *pid_src;
	struct loop_source *timer; /* DOWN: the next start; STARTING: the end of patience */
	unsigned failures;	   /* in a row */
	bool given_up;		   /* we have killed it */
	uint64_t started_ms;
	uint64_t refs_ms; /* since when it cannot be handed its descriptors; 0: it can */
	/* A data plane's, once it is up. */
	enum dataplane_backend backend;
	struct err no_uring; /* why that is not io_uring, if it might have been */
	char program[32];    /* RINGKIT_VERSION of what it is */
	/* A broker's. */
	int netns_fd;		     /* where it goes; borrowed */
	bool known;		     /* one has been up: cookie is known, the namespace set up */
	uint64_t cookie;	     /* of that namespace; 0: the kernel does not tell */
	int channels[LIMIT_WORKERS]; /* the workers' ends of socket channels, until they go out */
};

enum dp_reload_state {
	DP_RELOAD_NONE,
	DP_RELOAD_STARTING, /* the new processes */
	DP_RELOAD_SETTLING, /* until no request about a port is under way */
	DP_RELOAD_OFFERING, /* the ports to the new workers */
	DP_RELOAD_MOVING,   /* the flows; nothing is served */
};

struct dp_reload {
	enum dp_reload_state state;
	struct dp_child plane, broker, router;
	struct dp_channel channels[LIMIT_WORKERS];
	int stats_fd, exe_fd; /* what the processes are of */
	unsigned waiting;     /* answers to come */
	uint64_t began_ns;
	struct dataplane_reloaded result;
	struct loop_source *timer; /* the end of patience */
	dataplane_reloaded_fn *done;
	void *arg;
};

struct dataplane {
	struct loop *loop;
	struct dataplane_config config;
	unsigned workers;
	uint32_t transparent; /* mask of what works, ns/transparent.h */
	uint32_t local_ports; /* of the namespace, as the broker says */
	struct dp_child plane, broker;
	struct dp_child router; /* the broker of the router's namespace, with config.outward */
	struct dp_channel channels[LIMIT_WORKERS];
	int stats_fd;			  /* the statistics file of the data plane that runs */
	uint64_t slots[LIMIT_PORTS / 64]; /* taken ones have their bit set */
	unsigned slots_used;		  /* those above never were */
	unsigned starts;		  /* data planes so far */
	struct dp_port *ports;		  /* by id */
	bool starting;			  /* for the first time: the parent may wait */
	bool closing;			  /* nobody waits for a port any more */
	unsigned listeners, listeners_max, listeners_plenty;
	unsigned next_worker;
	struct loop_source *look; /* the broker is going to be told to look */
	bool broker_behind;	  /* its channel had no room for a request */
	uint32_t seq;
	char *exe_path; /* where our own binary lay when we were started; NULL: not known */
	int exe_fd;	/* what the processes are of since the last reload; -1: as we are */
	struct dp_reload reload;
};

#define DP_SLOT_NONE UINT32_MAX

/* death.c */
/* Failures in a row, with this one. killed: by SIGKILL. */
unsigned dp_death_failures(const struct dp_child *child, bool killed);
void dp_death_log(const struct dp_child *child, const char *why, unsigned delay_ms);

/* stats.c */
/* Another file in place of *stats_fd, of a fixed size, so that a worker that writes to it cannot
 * fail. 0 or -errno. */
int dp_stats_open(const struct dataplane *dp, int *stats_fd);
/* Gives the port a slot; there is one, as there are as many as ports. */
void dp_slot_get(struct dataplane *dp, struct dp_port *port);
/* DP_SLOT_NONE is allowed. */
void dp_slot_put(struct dataplane *dp, uint32_t slot);

/* channel.c */
void dp_channels_init(struct dataplane *dp, struct dp_channel *channels, struct dp_child *plane);
/* Takes the parent's ends. 0 or -errno. */
int dp_channels_open(struct dp_channel *channels, struct dataplane *dp, const int *fds);
void dp_channels_close(struct dp_channel *channels, unsigned n);
/* Those of from become those of to, with what waits in them. 0 or -errno. */
int dp_channels_adopt(struct dp_channel *to, struct dp_channel *from, unsigned n);
/* Takes the next answers without the loop. False when there are none in time, or none will come. */
bool dp_channels_wait(struct dataplane *dp, int timeout_ms);
/* Sends, now or when there is room. fd stays the caller's, unless owned; it must live until the
 * answer has come. A message to a data plane that is not there is dropped: what comes up next gets
 * all ports. 0 or -ENOMEM. */
int dp_channel_post(struct dp_channel *ch, const struct dp_msg *msg, int fd, bool owned);

/* uring_why.c */
/* What may be the cause when io_uring cannot be had. */
struct uring_host {
	char release[65]; /* of the kernel, uname(2) */
	int disabled;	  /* kernel.io_uring_disabled; -1: there is no such sysctl */
	uint64_t memlock; /* RLIMIT_MEMLOCK, bytes */
};
void dp_uring_host_read(struct uring_host *host);
/* The cause of err, the -errno of opening a ring, with the remedy. Returns err, unless that is a
 * code that makes no sense. */
int dp_uring_why(const struct uring_host *host, int err, struct err *e);

/* process.c */
int dp_children_start(struct dataplane *dp, struct err *e);
void dp_children_end(struct dataplane *dp);
/* Ends a process that does not do what it should; the loop starts it again. */
void dp_child_give_up(struct dp_child *child, const char *why);
/* A process has closed a channel, so that it is ending: kills it. */
void dp_child_hung_up(struct dp_child *child);

bool dp_has_router(const struct dataplane *dp);
void dp_child_init(struct dataplane *dp, struct dp_child *child, enum role role, const char *name,
		   int netns_fd);
/* Lets go of everything that belongs to the process, and ends it. */
void dp_child_clear(struct dp_child *child);
/* Starts one of dp->reload; dp_reload_child_up or dp_reload_child_died follows. 0, or -errno with
 * *e. */
int dp_child_start_next(struct dp_child *child, struct err *e);
/* Tells the data plane of dp->reload what to be. 0 or -errno. */
int dp_plane_boot_next(struct dataplane *dp);
/* Ends to; from takes its place. 0, or -errno: it is not watched. */
int dp_child_adopt(struct dp_child *to, struct dp_child *from);

/* reload.c */
void dp_reload_init(struct dataplane *dp);
void dp_reload_end(struct dataplane *dp);
/* Ends one that runs, without a word. */
void dp_reload_drop(struct dataplane *dp);
/* Requests about ports wait. */
bool dp_reload_holds(const struct dataplane *dp);
/* A process of the reload is up. */
void dp_reload_child_up(struct dataplane *dp);
/* A process has died, of the reload or of those that it is to replace. Nothing without a reload. */
void dp_reload_child_died(struct dp_child *child, const char *why);
/* An answer of a new worker about a port, or of any about a hand-over. */
void dp_reload_answer(struct dataplane *dp, const struct dp_channel *ch, const struct dp_msg *msg);
/* A request about a port has been answered. */
void dp_reload_settled(struct dataplane *dp);

/* brokers.c */
/* Of the two the one of the command's namespace, which also makes listening sockets. */
bool dp_is_broker(const struct dp_child *child);
/* A port is there whose servers are to see the addresses of its clients. */
void dp_broker_look(struct dataplane *dp);
/* For what goes out with descriptors: at the first start the parent may wait. */
int dp_send_flags(const struct dataplane *dp);
/* Tells a broker that has just been started what to be. 0 or -errno. */
int dp_broker_prepare(struct dp_child *broker);
/* -EAGAIN: not yet. 0, or -errno with *e. */
int dp_broker_take_reply(struct dp_child *broker, struct err *e);
/* A new data plane: socket channels for its workers, in broker->channels. 0 or -errno. */
int dp_broker_add_channels(struct dp_child *broker);
/* A new broker: the workers that run get their channels to it. */
void dp_broker_announce(struct dp_child *broker);
/* Pairs of a channel. 0 or -errno. */
int dp_socketpair_open(int *ours, int *theirs);
int dp_pairs_open(int *a, int *b, unsigned n);
void dp_fds_init(int *fds, size_t n);
void dp_fds_close(int *fds, size_t n);

/* inside.c */
/* Asks the broker for the port's socket in the namespace; dp_port_inside takes the answer. 0;
 * -EPIPE when there is no broker, and the next one is to be asked; -EAGAIN when it is to be asked
 * again after its next answer; other -errno. */
int dp_inside_ask(struct dataplane *dp, const struct dp_port *port);
/* Whether a socket is what the port was to get. */
bool dp_inside_check(const struct dataplane *dp, const struct dp_port *port, int fd);
/* Takes what the broker has said. */
void dp_inside_answers(struct dataplane *dp);

/* port.c */
/* Gives up every port, and waits a moment until the workers have let go of them. */
void dp_ports_let_go(struct dataplane *dp);
/* Lets go of everything that the parent has of its ports. */
void dp_ports_clear(struct dataplane *dp);
/* The broker's answer for port id: err 0 with the descriptor, which it takes over, or -errno and
 * fd -1. */
void dp_port_inside(struct dataplane *dp, int id, uint32_t seq, int err, int fd);
/* Asks the broker for what it has not been asked for. anew: there is another one, which knows
 * nothing. */
void dp_ports_ask_broker(struct dataplane *dp, bool anew);
/* There will be no broker soon. */
void dp_ports_broker_hopeless(struct dataplane *dp);
void dp_ports_answer(struct dataplane *dp, unsigned worker, const struct dp_msg *msg);
/* A request with a descriptor could not be sent for long. Whether it may be dropped: a port that is
 * there already gets to the workers at any rate. Then it is as if the worker had answered with err.
 */
bool dp_port_may_give_up(const struct dataplane *dp, const struct dp_msg *msg);
void dp_port_give_up(struct dataplane *dp, unsigned worker, const struct dp_msg *msg, int err);
/* A new data plane is there: it gets all ports. */
void dp_ports_offer(struct dataplane *dp);
/* Sends a request to every worker of channels that has, or is to have, a socket of the port.
 * Whether all of them can have it. */
bool dp_port_post_to(struct dp_port *port, enum dp_msg_type type, struct dp_channel *channels);
/* The same to the workers that serve, now or when a reload is over. */
void dp_port_post(struct dp_port *port, enum dp_msg_type type);
/* The data plane is gone, and with it every flow. hopeless: the next one is not to be expected
 * soon. */
void dp_ports_plane_died(struct dataplane *dp, bool hopeless);

#endif
