/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_HANDOVER_RECORD_H
#define RINGKIT_DATAPLANE_WORKER_HANDOVER_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/sockaddr.h"
#include "dataplane/stats.h"

/*
 * The messages by which one data plane tells the next about its flows (handover.h). A message is a
 * head and records of one kind, all of the same size. The descriptors of all records come with it,
 * in the order of the records. Every change here must raise WIRE_VERSION.
 *
 * The reader trusts nothing, since a data plane that was taken over may have written the messages.
 * handover_parse and handover_record_fds refuse what no worker could have. The taking worker
 * refuses what it does not have itself: a port, a slot.
 */

enum handover_type {
	HANDOVER_STATS = 1,  /* handover_stats */
	HANDOVER_PORT,	     /* handover_port */
	HANDOVER_TCP,	     /* handover_tcp */
	HANDOVER_UDP,	     /* handover_udp */
	HANDOVER_DATAGRAM,   /* handover_datagram, one in a message; the payload follows */
	HANDOVER_MAP,	     /* handover_map */
	HANDOVER_PEER,	     /* handover_peer, of the last mapping */
	HANDOVER_RESPONDER,  /* handover_responder */
	HANDOVER_OUT_CLIENT, /* handover_out_client */
	HANDOVER_END,	     /* no record: everything was sent */
	HANDOVER_TYPES,
};

struct handover_head {
	uint16_t type, count;
	uint32_t size; /* size of one record */
};

/* Room for any message. */
#define HANDOVER_BYTES 66560

/* What a worker has beside its ports and flows; comes first. */
struct handover_stats {
	struct stats stats; /* without the flows that exist now */
	uint32_t resolver;  /* index of the resolver that is asked first */
	uint32_t zero;
};

/* A port; comes before its flows. */
struct handover_port {
	int32_t port_id;
	uint8_t transparent_worked, transparent_timeouts, transparent_offs, zero;
	uint64_t transparent_off_ns, routed_off_ns, udp_second_ns;
	struct port_stats stats; /* without the flows that exist now */
};

/* The descriptors that come with a record, in this order. */
enum handover_tcp_fds {
	HANDOVER_CLIENT = 1 << 0,
	HANDOVER_SERVER = 1 << 1,
	HANDOVER_PIPE0 = 1 << 2, /* two descriptors: the end that is read, and the other */
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
	HANDOVER_CONNECT_ENDED = 1 << 7, /* connect_res is its outcome, on which nobody has acted */
	HANDOVER_TCP_FLAGS = (1 << 8) - 1,
};

enum handover_dir_flags {
	HANDOVER_BULK = 1 << 0,
	HANDOVER_DONE = 1 << 1,
	HANDOVER_FLOWING = 1 << 2,
	HANDOVER_DIR_FLAGS = (1 << 3) - 1,
};

struct handover_tcp {
	int32_t port_id; /* 0: a flow of the way out */
	uint8_t state;	 /* enum tcp_state, except FREE and CLOSING */
	uint8_t fds;	 /* enum handover_tcp_fds */
	uint8_t family;	 /* of the way out: the listener's family; otherwise 0 */
	uint8_t lost;	 /* enum tcp_lost */
	uint8_t tries;
	uint8_t survivor;
	uint16_t flags;	     /* enum handover_tcp_flags */
	int32_t connect_res; /* 0 or -errno */
	uint64_t timer_ns;   /* CLOCK_MONOTONIC, like the other times; 0: none */
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
	HANDOVER_UDP_OPEN = 1 << 6, /* the flow has its socket, which comes along */
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

/* A datagram of the last UDP flow. It waits for a socket, or may have to be sent again. */
struct handover_datagram {
	uint32_t len;
	uint16_t segment; /* length of each datagram of a run; 0: it is a single one */
	uint8_t sent;	  /* by how many ways it was sent already */
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

/* An address from which the last mapping accepts answers. */
struct handover_peer {
	struct in6_addr addr;
	uint64_t last_ns;
};

/* A socket by which answers of the way out leave inside. */
struct handover_responder {
	union sock_addr addr;
};

/* A client of the way out that is accepted and not connected outside yet. */
struct handover_out_client {
	uint32_t family; /* of the listener */
	union sock_addr client;
};

/* A parsed message. */
struct handover_message {
	enum handover_type type;
	unsigned count;
	const uint8_t *records; /* count records of handover_record_size() bytes each */
	uint8_t *extra;		/* the bytes after the records */
	size_t extra_len;
};

size_t handover_record_size(enum handover_type type);

/* Parses a message of len bytes. Returns false when it makes no sense. */
bool handover_parse(uint8_t *msg, size_t len, struct handover_message *out);

/* How many descriptors a record of this type has; -1: the record makes no sense. record need not be
 * aligned. extra_len: length of what follows it. */
int handover_record_fds(enum handover_type type, const uint8_t *record, size_t extra_len);

#endif
