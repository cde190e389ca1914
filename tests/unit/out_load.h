/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TESTS_OUT_LOAD_H
#define RINGKIT_TESTS_OUT_LOAD_H

#include "handover_world.h"
#include "out_queue.h"
#include "out_world.h"

/*
 * A load on the way out, in both families, for hand-overs: clients whose connections transfer
 * bytes, talkers that send datagrams and are answered, and pingers. Each client sends the packet
 * that opens its connection once. What arrives must be what was sent, once and in order.
 */

#define CLIENTS	 12
#define TALKERS	 6
#define PINGERS	 2 /* one of each family */
#define REFUSED	 2003
#define UDP_PORT 6000
/* Owners of packets from PINGS on are pings. */
#define PINGS 100
/* The kernel's own id of echo requests. */
#define KERNELS_ID 999

struct client {
	int family;
	uint16_t port; /* of the server; its own is 1000 more */
	bool asked, let_through, refused;
};

struct talker {
	int family, fd; /* fd: its mapping; -1: not known yet */
	uint32_t sent, arrived, answered, heard, heard_next;
};

struct pinger {
	int family;
	uint16_t seq;
	bool asked, replied; /* asked: the answer has not come yet; replied: it is on its way */
};

/* The worker's sockets of the way out, beside those in struct other. */
struct side {
	struct other other;
	struct out_ports ports;
};

struct load {
	struct out_world o;
	struct out_queue queue;
	struct client clients[CLIENTS];
	struct streams flows[CLIENTS];
	struct talker talkers[TALKERS];
	struct pinger pingers[PINGERS];
	unsigned pongs;
	bool quiet; /* nobody begins anything */
};

/* quiet: nobody begins anything by himself. queue: without it clients are accepted first. */
void load_open(struct load *l, uint64_t seed, unsigned faults, bool quiet, bool queue);
/* Clients, servers and the queue do something. */
void load_step(struct load *l);
/* The worker has a turn, and is served. */
void load_serve(struct load *l);
/* Both, so many times. */
void load_run(struct load *l, unsigned steps);
void load_say(struct load *l, struct talker *t);
void load_ping(struct load *l, struct pinger *p);
/* Acts on all datagrams that have been sent. */
void load_take_datagrams(struct load *l);
/* Whether the client was refused, or its connection has transferred all and ended. */
bool load_client_is_done(struct load *l, unsigned i);
/* Opens the other worker. */
void load_begin_side(struct load *l, struct side *side);
/* A hand-over under load. give_up_after: the step after which it is given up; 0: it is not. Returns
 * whether the other worker serves now. */
bool load_move(struct load *l, struct side *side, unsigned give_up_after);
/* The counters of all workers together: each thing was counted once. */
void load_check_counters(struct load *l);

#endif
