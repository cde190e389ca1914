/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_TCP_FLOW_H
#define RINGKIT_DATAPLANE_WORKER_TCP_FLOW_H

#include "base/log.h"
#include "dataplane/io/handle.h"
#include "dataplane/worker/tcp.h"

/*
 * A TCP flow's slot: its states, the polls in flight, its end. Connecting (tcp_connect.c) and
 * forwarding (tcp.c) build on this.
 */

/* Bits of tcp_flow.armed. */
#define TCP_ARMED_READ(side)  ((uint8_t)(TCP_ARMED_READ0 << (side)))
#define TCP_ARMED_WRITE(side) ((uint8_t)(TCP_ARMED_WRITE0 << (side)))
#define TCP_ARMED_WATCH(side) ((uint8_t)(TCP_ARMED_WATCH0 << (side)))

/* Logs an event of a flow, with --debug. Otherwise this costs one comparison. */
#define tcp_flow_debug(w, f, ...)                                                                  \
	do {                                                                                       \
		if (log_is_debug())                                                                \
			flow_log((w), "TCP", tcp_flow_index((w), (f)), (f)->gen, __VA_ARGS__);     \
	} while (0)

/* The flow's index in the table. */
uint32_t tcp_flow_index(const struct worker *w, const struct tcp_flow *f);

/* Takes a free slot; NULL: there is none. */
struct tcp_flow *tcp_flow_get(struct worker *w);
/* Frees the slot. The flow must be CLOSING, with nothing in flight. */
void tcp_flow_release(struct worker *w, struct tcp_flow *f);
/* Changes a flow's state. The only place that does, and it asserts that the state may follow. */
void tcp_flow_set_state(struct worker *w, struct tcp_flow *f, enum tcp_state state);
/* Ends the flow. Its slot is released when nothing is in flight any more, perhaps at once. abort:
 * with resets. why: for the log. */
void tcp_flow_close(struct worker *w, struct tcp_flow *f, bool abort, const char *why);
/* Closes the flow's descriptors and pipes, whatever is in flight. */
void tcp_flow_close_sides(struct worker *w, struct tcp_flow *f);

/* Takes the flow out of the run queue, if it is there. */
void tcp_flow_unqueue(struct worker *w, struct tcp_flow *f);

/* The address family of the target that is being tried. */
int tcp_flow_family(const struct tcp_flow *f);
/* The pool of sockets of a family; routed: of the router's namespace. */
struct sockpool *tcp_flow_pool(struct worker *w, int family, bool routed);
/* The flow begins to wait for a socket, or stops waiting. */
void tcp_flow_wait_begin(struct worker *w, struct tcp_flow *f);
void tcp_flow_wait_end(struct worker *w, struct tcp_flow *f);

/* The handle of an operation of the flow. */
uint64_t tcp_flow_handle(const struct worker *w, const struct tcp_flow *f, enum handle_op op,
			 unsigned side);
void tcp_flow_cancel_connect(struct worker *w, struct tcp_flow *f);
/* Cancels everything that is in flight. */
void tcp_flow_cancel_all(struct worker *w, struct tcp_flow *f);
/* Arm one-shot polls: for input or its end; for room; for errors and hang-up alone. They do nothing
 * when the same poll is in flight, or while a hand-over holds everything. */
void tcp_flow_arm_read(struct worker *w, struct tcp_flow *f, unsigned side);
void tcp_flow_arm_write(struct worker *w, struct tcp_flow *f, unsigned side);
void tcp_flow_arm_watch(struct worker *w, struct tcp_flow *f, unsigned side);

#endif
