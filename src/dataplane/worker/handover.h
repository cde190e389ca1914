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
 * A hand-over: each worker of one data plane passes all that it has to the worker of the next that
 * has its number (control/reload.c), over a channel of their own.
 *
 * The giving worker cancels every operation in flight and waits until each has ended. It acts on
 * what those have brought, but begins nothing. Then it sends what it knows of each flow, with the
 * flow's descriptors. It keeps its own descriptors and all it knows, and serves again when told to
 * go on.
 *
 * The taking worker makes flows of what comes, and leaves them alone until it is told to go.
 */

enum handover_state {
	HANDOVER_NONE,
	HANDOVER_HOLDING, /* nothing is begun yet; flows are taken from the channel */
	HANDOVER_RESTING, /* waits until nothing is in flight */
	HANDOVER_SENDING,
	HANDOVER_SENT,
};

struct handover {
	enum handover_state state;
	bool go;      /* goes on as soon as nothing is in flight */
	int fd;	      /* the channel; -1: none */
	uint32_t gen; /* generation of fd */
	uint32_t seq; /* number of the parent's request */
	/* Giving: what is sent next, and the message that waits for room. */
	unsigned stage;
	uint32_t at;
	struct udp_flow *udp;  /* giving: the next flow; taking: the last one */
	uint16_t copy, copies; /* giving: the flow's next datagrams: the first, and how many */
	const struct out_peer *peer; /* giving: a mapping's next peer */
	struct out_map *map;	     /* taking: the last mapping */
	uint64_t retry_ns;
	unsigned len, n_fds;
	uint8_t *msg;
	int *fds;
	/* Taking. */
	unsigned flows, lost;
};

/* hold: the worker takes over from another, and serves only when it is told to go. */
void handover_open(struct worker *w, bool hold);
void handover_close(struct worker *w);
/* The parent's requests. fd becomes the worker's. The answers come later, about port 0. */
void handover_give(struct worker *w, int fd, uint32_t seq);
void handover_take(struct worker *w, int fd, uint32_t seq);
void handover_go(struct worker *w);
/* The channel is readable. */
void handover_event(struct worker *w, const struct io_event *ev);
/* At the end of a turn of a worker that holds or rests. */
void handover_tick(struct worker *w);
uint64_t handover_deadline(const struct worker *w);

#endif
