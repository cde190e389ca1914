/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_HANDOVER_RECORD_H
#define RINGKIT_DATAPLANE_WORKER_HANDOVER_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/sockaddr.h"
#include "dataplane/stats.h"

/*
 * What one data plane tells the next about a flow (handover.h). A message is a head and records of
 * one kind, all of the same size; the descriptors of all records come with it, in their order. A
 * change of anything here raises WIRE_VERSION.
 *
 * The reader trusts nothing: a data plane that was taken over may write these. What no worker could
 * have is refused here; what this worker does not have (a port, a slot) where it is taken.
 */

enum handover_type {
	HANDOVER_STATS = 1,  /* handover_stats */
	HANDOVER_PORT,	     /* handover_port */
	HANDOVER_TCP,	     /* handover_tcp */
	HANDOVER_UDP,	     /* handover_udp */
	HANDOVER_DATAGRAM,   /* handover_datagram, alone, and after it the datagram or run */
	HANDOVER_MAP,	     /* handover_map */
	HANDOVER_PEER,	     /* handover_peer, of the mapping that came last */
	HANDOVER_RESPONDER,  /* handover_responder */
	HANDOVER_OUT_CLIENT, /* handover_out_client */
	HANDOVER_END,	     /* no record: that was all */
	HANDOVER_TYPES,
};

struct handover_head {
	uint16_t type, count;
	uint32_t size; /* of a record */
};

/* What a message may take. */
#define HANDOVER_BYTES 66560

/* What the worker has counted so far, its flows of now left out. */
struct handover_stats {
	uint64_t words[STATS_WORDS];
};

/* A port, before its flows. */
struct handover_port {
	int32_t port_id;
	uint8_t transparent_worked, transparent_timeouts, transparent_offs, zero;
	uint64_t transparent_off_ns, routed_off_ns, udp_second_ns;
	uint64_t words[PORT_STATS_WORDS];
};

/* Which descriptors come with a record, in this order. */
enum handover_tcp_fds {
	HANDOVER_CLIENT = 1 << 0,
	HANDOVER_SERVER = 1 << 1,
	HANDOVER_PIPE0 = 1 << 2, /* two: the end that is read, and the other */
	HANDOVER_PIPE1 = 1 << 3,
};
#define HANDOVER_TCP_FDS 6

enum handover_tcp_flags {
	HANDOVER_ABORT = 1 << 0,
	HANDOVER_SECOND = 1 << 1,
	HANDOVER_ROUTED = 1 << 2,
	HANDOVER_ROUTED_LEFT = 1 << 3,
	HANDOVER_TRANSPARENT = 1 << 4,
	HANDOVER_ANY_PORT = 1 << 5,
	HANDOVER_LIMITED = 1 << 6,
	HANDOVER_CONNECT_ENDED = 1 << 7, /* with connect_res, and nobody has acted on it */
	HANDOVER_TCP_FLAGS = (1 << 8) - 1,
};

enum handover_dir_flags {
	HANDOVER_BULK = 1 << 0,
	HANDOVER_DONE = 1 << 1,
	HANDOVER_FLOWING = 1 << 2,
	HANDOVER_DIR_FLAGS = (1 << 3) - 1,
};

struct handover_tcp {
	int32_t port_id; /* 0: on its way out */
	uint8_t state;	 /* enum tcp_state, none of FREE and CLOSING */
	uint8_t fds;	 /* enum handover_tcp_fds */
	uint8_t family;	 /* of the listener of the way out; else 0 */
	uint8_t lost;	 /* enum tcp_lost */
	uint8_t tries;
	uint8_t survivor;
	uint16_t flags;	     /* enum handover_tcp_flags */
	int32_t connect_res; /* 0 or -errno */
	uint64_t timer_ns;   /* CLOCK_MONOTONIC, as the others; 0: none */
	uint64_t limit_ns, end_ns;
	uint64_t silent_ns[2];
	union sock_addr client;
	uint32_t zero;
	struct {
		uint32_t in_pipe, pipe_size;
		uint64_t flags; /* enum handover_dir_flags */
	} dir[2];
};

enum handover_udp_flags {
	HANDOVER_UDP_PLAIN = 1 << 0,
	HANDOVER_UDP_ROUTED = 1 << 1,
	HANDOVER_UDP_BOTH = 1 << 2,
	HANDOVER_UDP_SECOND = 1 << 3,
	HANDOVER_UDP_UNDECIDED = 1 << 4,
	HANDOVER_UDP_UNREACHABLE = 1 << 5,
	HANDOVER_UDP_OPEN = 1 << 6, /* it has its socket, which comes along */
	HANDOVER_UDP_FLAGS = (1 << 7) - 1,
};

struct handover_udp {
	int32_t port_id;
	uint8_t flags; /* enum handover_udp_flags */
	uint8_t zero[3];
	struct in6_addr client, local;
	uint32_t client_scope, local_ifindex;
	uint16_t client_port, zero2;
	uint32_t zero3;
	uint64_t last_ns;
};

/* A datagram of the UDP flow that came last: it waits for a socket, or may have to be sent again.
 */
struct handover_datagram {
	uint32_t len;
	uint16_t segment; /* of a run; 0: it is none */
	uint8_t sent;	  /* by so many ways */
	uint8_t zero;
};

/* A UDP mapping of the way out. */
struct handover_map {
	uint8_t kind; /* enum egress_kind */
	uint8_t age;  /* enum out_age */
	uint8_t resolver, zero;
	uint32_t unanswered;
	uint64_t asked_ns, last_ns;
	union sock_addr inside;
	uint32_t zero2;
};

/* An address that it takes answers from. */
struct handover_peer {
	struct in6_addr addr;
	uint64_t last_ns;
};

/* A socket that answers of the way out leave by inside. */
struct handover_responder {
	union sock_addr addr;
};

/* A client of the way out that has been accepted, and is not connected yet. */
struct handover_out_client {
	uint32_t family; /* of the listener */
	union sock_addr client;
};

/* A message that has been read. */
struct handover_message {
	enum handover_type type;
	unsigned count;
	const uint8_t *records; /* count of them, handover_record_size() each */
	uint8_t *extra;		/* what follows */
	size_t extra_len;
};

size_t handover_record_size(enum handover_type type);

/* Takes a message of len bytes apart. False: it makes no sense. */
bool handover_parse(uint8_t *msg, size_t len, struct handover_message *out);

/* How many descriptors a record of this type has; -1: the record makes no sense. record need not be
 * aligned; extra_len: what follows it. */
int handover_record_fds(enum handover_type type, const uint8_t *record, size_t extra_len);

#endif
