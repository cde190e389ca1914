/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_IO_HANDLE_H
#define RINGKIT_DATAPLANE_IO_HANDLE_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * The name of an operation in flight: which operation, on which side of a flow, of which slot, in
 * which life of that slot. It goes through the kernel as user_data and comes back with the
 * completion. It is never a pointer: a late completion names a generation that has ended, and is
 * dropped and counted.
 */
enum handle_op {
	HANDLE_NONE = 0, /* completions that nobody waits for, such as that of a cancellation */
	HANDLE_CONTROL,	 /* the parent's channel is readable */
	HANDLE_ANSWERS,	 /* the parent's channel has room for answers */
	HANDLE_BROKER,	 /* the broker's socket channel is readable */
	HANDLE_ACCEPT,	 /* index: listener */
	HANDLE_TCP_CONNECT,
	HANDLE_TCP_READ,      /* poll for input on a side; index: TCP flow */
	HANDLE_TCP_WRITE,     /* poll for room on a side */
	HANDLE_TCP_WATCH,     /* poll for errors on a side that is not being read */
	HANDLE_UDP_LISTEN,    /* datagrams from clients; index: listener */
	HANDLE_UDP_FLOW,      /* datagrams from the namespace; index: UDP flow */
	HANDLE_OUT_GATE,      /* the way out: the netfilter queue is readable */
	HANDLE_OUT_CONNECT,   /* index: connection under way */
	HANDLE_OUT_DATAGRAMS, /* datagrams from inside; index: 1 for IPv6 */
	HANDLE_OUT_MAP,	      /* datagrams from outside; index: mapping */
	HANDLE_OUT_PING,      /* answers to pings; index: ping */
	HANDLE_OUT_CHANNEL,   /* the router's socket channel is readable */
	HANDLE_HANDOVER,      /* the channel to or from another data plane */
	HANDLE_OPS
};

#define HANDLE_OP_BITS	  8
#define HANDLE_SIDE_BITS  8
#define HANDLE_GEN_BITS	  24
#define HANDLE_INDEX_BITS 24

static_assert(HANDLE_OP_BITS + HANDLE_SIDE_BITS + HANDLE_GEN_BITS + HANDLE_INDEX_BITS == 64,
	      "a handle is user_data");
static_assert(HANDLE_OPS <= 1 << HANDLE_OP_BITS, "operations fit");

static inline uint64_t handle_pack(enum handle_op op, unsigned side, uint32_t gen, uint32_t index)
{
	assert(side < 1u << HANDLE_SIDE_BITS);
	assert(index < 1u << HANDLE_INDEX_BITS);
	return (uint64_t)op << 56 | (uint64_t)side << 48 |
	       (uint64_t)(gen & ((1u << HANDLE_GEN_BITS) - 1)) << 24 | index;
}

static inline enum handle_op handle_op(uint64_t h)
{
	return (enum handle_op)(h >> 56);
}

static inline unsigned handle_side(uint64_t h)
{
	return h >> 48 & 0xff;
}

static inline uint32_t handle_index(uint64_t h)
{
	return h & ((1u << HANDLE_INDEX_BITS) - 1);
}

/* Whether h belongs to the life of its slot that has this generation. */
static inline bool handle_is_current(uint64_t h, uint32_t gen)
{
	return (h >> 24 & ((1u << HANDLE_GEN_BITS) - 1)) == (gen & ((1u << HANDLE_GEN_BITS) - 1));
}

#endif
