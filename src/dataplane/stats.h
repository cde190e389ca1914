/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_STATS_H
#define RINGKIT_DATAPLANE_STATS_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

/*
 * Upper bounds of the histograms' buckets, in ns and as text in seconds. A bucket counts values
 * above the previous bound and up to its own; one more bucket counts those above all bounds.
 */
/* clang-format off */
#define STATS_CONNECT_BOUNDS(X)                                                                    \
	X(0, 100000ull, "0.0001") X(1, 250000ull, "0.00025") X(2, 500000ull, "0.0005")             \
	X(3, 1000000ull, "0.001") X(4, 2500000ull, "0.0025") X(5, 5000000ull, "0.005")             \
	X(6, 10000000ull, "0.01") X(7, 25000000ull, "0.025") X(8, 50000000ull, "0.05")             \
	X(9, 100000000ull, "0.1") X(10, 250000000ull, "0.25") X(11, 500000000ull, "0.5")           \
	X(12, 1000000000ull, "1.0") X(13, 2500000000ull, "2.5") X(14, 5000000000ull, "5.0")        \
	X(15, 10000000000ull, "10.0")
#define STATS_BACKLOG_BOUNDS(X)                                                                    \
	X(0, 5000000ull, "0.005") X(1, 10000000ull, "0.01") X(2, 25000000ull, "0.025")             \
	X(3, 50000000ull, "0.05") X(4, 100000000ull, "0.1") X(5, 250000000ull, "0.25")             \
	X(6, 500000000ull, "0.5") X(7, 1000000000ull, "1.0") X(8, 2500000000ull, "2.5")            \
	X(9, 5000000000ull, "5.0") X(10, 10000000000ull, "10.0")
/* clang-format on */
/* NOLINTNEXTLINE(bugprone-macro-parentheses): one summand of many */
#define STATS_ONE(i, ns, name) +1
enum stats_buckets {
	STATS_CONNECT_BUCKETS = 1 STATS_CONNECT_BOUNDS(STATS_ONE),
	STATS_BACKLOG_BUCKETS = 1 STATS_BACKLOG_BOUNDS(STATS_ONE),
};

/*
 * A worker's counters, in a memory file that the parent reads while the worker counts, without
 * disturbing it. Each field has one writer; stats_add writes each value with one store. A new data
 * plane gets a new file and counts from 0, but after a reload goes on with the old values.
 *
 * The file has for each worker a struct stats, then a struct port_stats for each slot of a port.
 */
struct stats {
	/* TCP */
	uint64_t tcp_accepted;	  /* connections taken from a listener */
	uint64_t tcp_connected;	  /* those that reached their server */
	uint64_t tcp_refused;	  /* those that the server refused */
	uint64_t tcp_unreachable; /* no route to the server */
	uint64_t tcp_timed_out;	  /* the server did not answer */
	uint64_t tcp_failed;	  /* those that failed for another reason */
	uint64_t tcp_retried;	  /* connects tried again, as the server might not listen yet */
	uint64_t tcp_no_port; /* connects that found no free port in the namespace, and waited */
	uint64_t tcp_transparent;      /* those whose server sees the client's address */
	uint64_t tcp_transparent_lost; /* those whose server should see it, but does not */
	uint64_t tcp_vanished;	       /* ended as a peer did not answer for minutes; counted in
					  tcp_aborted, too */
	uint64_t tcp_aborted;	       /* ended by a reset, from either side */
	uint64_t tcp_closed;	       /* ended without a reset */
	uint64_t tcp_bytes_in;	       /* to the namespace */
	uint64_t tcp_bytes_out;	       /* from it */
	uint64_t tcp_flows;	       /* flows now */

	/* Histograms of TCP, and the sums of their values */
	uint64_t connect_time[STATS_CONNECT_BUCKETS]; /* from accept to the server's answer */
	uint64_t connect_time_ns;
	uint64_t backlog_time[STATS_BACKLOG_BUCKETS]; /* of the connections that were sampled */
	uint64_t backlog_time_ns;

	/* UDP */
	uint64_t udp_datagrams_in, udp_bytes_in;
	uint64_t udp_datagrams_out, udp_bytes_out;
	uint64_t udp_dropped; /* no room, no flow, or refused by the kernel */
	uint64_t udp_refused; /* ICMP errors from servers */
	uint64_t udp_evicted; /* flows ended to make room for newer ones */
	uint64_t udp_no_port; /* flows that found no free port in the namespace, and waited */
	uint64_t udp_expired; /* flows ended by their time-out */
	uint64_t udp_flows;   /* now */

	/* Resources */
	uint64_t accept_paused; /* times that a listener had to wait for descriptors or memory */
	uint64_t stale_completions; /* completions for an earlier life of a slot */
	uint64_t sockets_requested, sockets_received, sockets_rejected;
	uint64_t pool_empty;	/* flows that had to wait for a socket */
	uint64_t pipes_open;	/* now */
	uint64_t pipes_refused; /* a pipe was wanted and could not be had: the flow was copied */
	uint64_t listeners;	/* now */

	/* The way out: TCP */
	uint64_t out_tcp_syns;	      /* opening packets read from the queue, repeated ones too */
	uint64_t out_tcp_connected;   /* connections that reached their server */
	uint64_t out_tcp_refused;     /* by the server, or nothing is served there */
	uint64_t out_tcp_unreachable; /* there was no route */
	uint64_t out_tcp_prohibited;  /* denied by a rule, or the address is out of bounds */
	uint64_t out_tcp_timed_out;   /* the server did not answer before the client gave up */
	uint64_t out_tcp_failed;      /* for another reason */
	uint64_t out_tcp_dropped;     /* opening packets for which there was no room */
	uint64_t out_tcp_evicted;     /* connects given up to make room for newer ones */
	uint64_t out_tcp_pending;     /* connects under way now */
	uint64_t out_tcp_aborted, out_tcp_closed;
	uint64_t out_tcp_bytes_up;   /* out of the namespace */
	uint64_t out_tcp_bytes_down; /* to it */
	uint64_t out_tcp_flows;	     /* now */

	/* The way out: UDP */
	uint64_t out_udp_datagrams_up, out_udp_bytes_up;
	uint64_t out_udp_datagrams_down, out_udp_bytes_down;
	uint64_t out_udp_dropped; /* no room, from an address that was not written to, or refused by
				     the kernel */
	uint64_t out_udp_prohibited; /* as out_tcp_prohibited, or the service does not exist */
	uint64_t out_udp_errors;     /* ICMP errors from outside, passed on */
	uint64_t out_udp_evicted;    /* mappings ended to make room for newer ones */
	uint64_t out_udp_expired;    /* mappings ended by their time-out */
	uint64_t out_udp_flows;	     /* mappings now */
	uint64_t out_dns_queries;    /* datagrams to the name server's address */

	uint64_t out_pings, out_pings_answered; /* echo requests; those that were answered */
	uint64_t out_packets_odd; /* messages of the queue that could not be understood */
};

/* A port's counters, in one worker or in all. */
struct port_stats {
	uint64_t flows;	    /* now: connections, or clients of a UDP port */
	uint64_t opened;    /* in total */
	uint64_t bytes_in;  /* to the namespace */
	uint64_t bytes_out; /* from it */
	uint64_t datagrams_in, datagrams_out;
	uint64_t errors;  /* connections that did not reach a server, ICMP errors of servers */
	uint64_t dropped; /* datagrams */
};

#define STATS_WORDS	 (sizeof(struct stats) / sizeof(uint64_t))
#define PORT_STATS_WORDS (sizeof(struct port_stats) / sizeof(uint64_t))

static inline void stats_add(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline void stats_sub(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter - n, __ATOMIC_RELAXED);
}

/* Bytes that a worker's block takes in the file: whole pages. A page costs memory once it is
 * written to. */
#define STATS_PORTS_AT 1024
#define STATS_STRIDE                                                                               \
	((STATS_PORTS_AT + LIMIT_PORTS * sizeof(struct port_stats) + 4095) & ~(size_t)4095)

static_assert(sizeof(struct stats) <= STATS_PORTS_AT, "a worker's counters fit before the ports'");

#endif
