/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_OUT_PING_H
#define RINGKIT_DATAPLANE_WORKER_OUT_PING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/sockaddr.h"

struct worker;
struct io_event;
struct gate_packet;

enum out_ping_state { OUT_PING_FREE = 0, OUT_PING_OPEN, OUT_PING_CLOSING };

/* The outside socket for one client, destination and id. */
struct out_ping {
	enum out_ping_state state;
	uint32_t gen;
	int fd;
	bool armed;
	uint16_t id; /* the id inside, in network order; the kernel gives it another one outside */
	union sock_addr client, dest;
	uint64_t last_ns;
	struct out_ping *prev, *next; /* list, the least recently used first; or free list */
};

struct out_pings {
	struct out_ping *table;
	struct out_ping *list, *free;
	unsigned used;
};

/* Changes the state. The only place that does, and it asserts that the state may follow. */
void out_ping_set_state(struct out_ping *p, enum out_ping_state state);

/* Sends an echo request that came from the queue. */
void out_ping_echo(struct worker *w, const struct gate_packet *g);
void out_ping_event(struct worker *w, const struct io_event *ev);
void out_ping_tick(struct worker *w);
uint64_t out_ping_deadline(const struct worker *w);
void out_ping_close_all(struct worker *w);
/* For a hand-over (handover.h). Pings are not handed over. Their sockets are not read meanwhile:
 * the counters are handed over before, and an answer is counted with them or not at all. */
void out_ping_rest(struct worker *w);
bool out_ping_in_flight(const struct worker *w);
void out_ping_go(struct worker *w);

#endif
