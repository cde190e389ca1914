/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_TCP_FLOW_H
#define RINGKIT_DATAPLANE_WORKER_TCP_FLOW_H

#include "base/log.h"
#include "dataplane/io/handle.h"
#include "dataplane/worker/tcp.h"

/*
 * A TCP flow's slot: its states, the polls in flight, its end. Connecting (tcp_connect.c) and
 * forwarding (tcp.c) stand on this.
 */

/* The bit of tcp_flow.armed. */
#define TCP_ARMED_READ(side)  ((uint8_t)(TCP_ARMED_READ0 << (side)))
#define TCP_ARMED_WRITE(side) ((uint8_t)(TCP_ARMED_WRITE0 << (side)))
#define TCP_ARMED_WATCH(side) ((uint8_t)(TCP_ARMED_WATCH0 << (side)))

/* One line for each thing that happens to a flow, with --debug; otherwise this costs a comparison.
 */
#define tcp_flow_debug(w, f, ...)                                                                  \
	do {                                                                                       \
		if (log_is_debug())                                                                \
			flow_log((w), "TCP", tcp_flow_index((w), (f)), (f)->gen, __VA_ARGS__);     \
	} while (0)

/* Its place in the table. */
uint32_t tcp_flow_index(const struct worker *w, const struct tcp_flow *f);

/* A free slot, or NULL. */
struct tcp_flow *tcp_flow_get(struct worker *w);
/* Frees it: it is CLOSING, and nothing of it is in flight. */
void tcp_flow_release(struct worker *w, struct tcp_flow *f);
/* Every change of a flow's state goes through here: it must be one that may follow. */
void tcp_flow_set_state(struct worker *w, struct tcp_flow *f, enum tcp_state state);
/* Ends the flow; it is released when nothing of it is in flight any more, perhaps at once. abort:
 * with resets. why: for the log. */
void tcp_flow_close(struct worker *w, struct tcp_flow *f, bool abort, const char *why);
/* Closes its descriptors and pipes, whatever is in flight. */
void tcp_flow_close_sides(struct worker *w, struct tcp_flow *f);

/* Takes it out of the run queue, if it is there. */
void tcp_flow_unqueue(struct worker *w, struct tcp_flow *f);

/* The family of the target that is tried now. */
int tcp_flow_family(const struct tcp_flow *f);
/* The sockets of a family that connections are made with; routed: of the router's namespace. */
struct sockpool *tcp_flow_pool(struct worker *w, int family, bool routed);
/* It waits for a socket of the broker's, or does not any more. */
void tcp_flow_wait_begin(struct worker *w, struct tcp_flow *f);
void tcp_flow_wait_end(struct worker *w, struct tcp_flow *f);

/* The handle of an operation of its. */
uint64_t tcp_flow_handle(const struct worker *w, const struct tcp_flow *f, enum handle_op op,
			 unsigned side);
void tcp_flow_cancel_connect(struct worker *w, struct tcp_flow *f);
/* Takes back whatever is in flight. */
void tcp_flow_cancel_all(struct worker *w, struct tcp_flow *f);
/* One-shot polls: for input or its end, for room, for errors and hang-up alone. Nothing happens
 * when the same is in flight, or while a hand-over holds everything. */
void tcp_flow_arm_read(struct worker *w, struct tcp_flow *f, unsigned side);
void tcp_flow_arm_write(struct worker *w, struct tcp_flow *f, unsigned side);
void tcp_flow_arm_watch(struct worker *w, struct tcp_flow *f, unsigned side);

#endif
