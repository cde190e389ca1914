/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_HANDOVER_H
#define RINGKIT_DATAPLANE_WORKER_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>

struct worker;
struct io_event;
struct udp_flow;
struct out_map;
struct out_peer;

/*
 * A hand-over: the worker of one data plane passes all that it has to the worker of the next that
 * has its number (control/reload.c), over a channel of their own.
 *
 * The giving worker takes back every operation that is in flight and waits until each has ended;
 * what they brought is acted on, but nothing is begun. Then what it knows of each flow goes over
 * with the flow's descriptors. It keeps its own, and everything it knows: told to go on, it does.
 *
 * The taking worker makes flows of what comes, and does nothing with them before it is told to go.
 */

enum handover_state {
	HANDOVER_NONE,
	HANDOVER_HOLDING, /* nothing is begun yet; what comes is taken */
	HANDOVER_RESTING, /* until nothing is in flight */
	HANDOVER_SENDING,
	HANDOVER_SENT,
};

struct handover {
	enum handover_state state;
	bool go;      /* as soon as nothing is in flight */
	int fd;	      /* the channel; -1: none */
	uint32_t gen; /* of that */
	uint32_t seq; /* of the parent's request */
	/* Giving: what comes next, and the message that waits. */
	unsigned stage;
	uint32_t at;
	struct udp_flow *udp;	     /* giving: the next; taking: the last */
	uint16_t copy, copies;	     /* of its datagrams that go next: the first, how many */
	const struct out_peer *peer; /* giving: of a mapping, that goes next */
	struct out_map *map;	     /* taking: the last */
	uint64_t retry_ns;
	unsigned len, n_fds;
	uint8_t *msg;
	int *fds;
	/* Taking. */
	unsigned flows, lost;
};

/* hold: it is to take over from another, and does nothing before it is told to go. */
void handover_open(struct worker *w, bool hold);
void handover_close(struct worker *w);
/* The parent's requests. fd becomes the worker's. Answered later, about port 0. */
void handover_give(struct worker *w, int fd, uint32_t seq);
void handover_take(struct worker *w, int fd, uint32_t seq);
void handover_go(struct worker *w);
/* The channel has something. */
void handover_event(struct worker *w, const struct io_event *ev);
/* The end of a turn of a worker that holds. */
void handover_tick(struct worker *w);
uint64_t handover_deadline(const struct worker *w);

#endif
