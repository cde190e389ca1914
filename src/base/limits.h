/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_LIMITS_H
#define RINGKIT_BASE_LIMITS_H

/*
 * What may grow with use, and how far, each with its reason: workers, ports, connections, bodies,
 * answers. Sizes that follow from a protocol or a kernel's limit stand where they are used.
 */

/* Workers of the data plane: more than this many CPUs have never been measured, and each worker
 * costs a listening socket a port. */
#define LIMIT_WORKERS 64

/* Descriptors that a process counts on, where the user's limit is higher or there is none: the
 * kernel would give more (fs.nr_open), but each costs memory, and 500,000 connections on one
 * machine have other limits first. */
#define LIMIT_NOFILE (1u << 20)

/* UDP flows of a worker: each costs 300 bytes, and this many clients at once are none. */
#define LIMIT_UDP_FLOWS (1u << 16)

/* Datagrams of a worker's UDP flows that wait for a socket, or are kept until their server has
 * answered: a burst of 64 full-sized datagrams of 40 new clients at once, or the first small one of
 * 8,000, wait for some milliseconds. What is more is dropped and counted. Memory that was never
 * needed is never touched. */
#define LIMIT_UDP_PENDING_BYTES (4u << 20)

/* A UDP flow without traffic ends after this, unless the user says otherwise: as RootlessKit. */
#define DEFAULT_UDP_TIMEOUT_MS 90000

/* Ports at a time: every TCP and UDP port of one address, both families. */
#define LIMIT_PORTS 65536

/* Ports that follow what listens inside: as many servers as nobody has, and a second's work of the
 * parent where somebody opens as many as he can. */
#define LIMIT_IMPLICIT_PORTS 2048

/* A request body of the API. RootlessKit's largest is a port spec of about 120 bytes. */
#define LIMIT_API_BODY_BYTES 65536

/* Ports in one request of the API: of the longest specs there are, 200 bytes each, as many as a
 * body holds. */
#define LIMIT_PORT_BATCH 256

/* Connections to the API at a time: each costs a descriptor and 20 KiB. In a rush there may be more
 * for a moment, so that nobody is sent away before he has had the time to speak. */
#define LIMIT_API_CONNECTIONS 64
#define LIMIT_API_RUSH	      512
#define LIMIT_API_GRACE_MS    1000

/* Ports that belong to a connection of the API: each costs a descriptor and 20 KiB as long as it is
 * there, beside LIMIT_API_CONNECTIONS. Docker with so many published ports has as many proxies. */
#define LIMIT_API_LEASES 4096

/* Clients that listen to events at a time: monitoring, a second one, and somebody who looks. */
#define LIMIT_API_EVENT_STREAMS 16

/* What each of them may be behind: some hundred events. A burst of ports is 300 bytes each. */
#define LIMIT_API_EVENTS_BYTES 262144

/* A client of the API that sends nothing for this long is dropped. */
#define LIMIT_API_IDLE_S 60

/* An answer of the API that rootlessctl takes: LIMIT_PORTS entries of 200 bytes are 13 MB. More is
 * no API. */
#define LIMIT_CTL_ANSWER_BYTES (64 << 20)

/* Ports with metrics of their own: so many are 4 MB of text, which takes the parent 0.1 s. */
#define LIMIT_METRICS_PORTS 4096

/* How long rootlessctl waits for an answer unless told: 256 ports take 30 ms, and a server whose
 * disk or terminal is stuck for half a minute is not going to answer soon. */
#define LIMIT_CTL_ANSWER_MS 30000

/* Symbolic links on the way to a state directory: as many as the kernel follows in a path
 * (path_resolution(7)). More are a loop. */
#define LIMIT_STATE_DIR_LINKS 40

/* Entries beside a directory that is copied up, and beside each on the way to it, that relative
 * symbolic links in it may lead to: an inode of a tmpfs each. Directories such as / and /var have a
 * few dozen. */
#define LIMIT_COPY_UP_NEIGHBOURS 1024

/* An answer of slirp4netns: its list of LIMIT_PORTS ports, 130 bytes each, is 8.5 MB. */
#define LIMIT_SLIRP4NETNS_ANSWER_BYTES (16 << 20)

/* Connections of one port at a time with --port-driver=socat, each of them a process. */
#define LIMIT_SOCAT_CONNECTIONS 1024

/* Connections that wait for a socat to accept them: as many as Linux lets wait by default
 * (net.core.somaxconn). socat's own 5 would make a burst wait for TCP to try again. */
#define LIMIT_SOCAT_BACKLOG 4096

/* The largest payload of a UDP datagram over IPv4 and IPv6 is below this: socat's own 8 KiB would
 * cut it. */
#define LIMIT_SOCAT_BLOCK_BYTES 65536

/* A client or server that does not answer for this long to what it was sent is gone. Whoever lives
 * is asked at least every two minutes, and answers even if he has no room. */
#define LIMIT_TCP_UNANSWERED_MS 300000u

/* Connections of the way out that a worker may be making at a time. A client's packet waits for
 * each, in a queue of 4,096 (ns/router.c), which must not be what runs out. */
#define LIMIT_OUT_PENDING 2048

/* Of a worker: UDP mappings of the way out, addresses outside that they take answers from, and
 * sockets inside that answers come from. A client of a peer-to-peer network talks to some thousand
 * addresses from one port. */
#define LIMIT_OUT_MAPS	     8192
#define LIMIT_OUT_PEERS	     16384
#define LIMIT_OUT_RESPONDERS 4096

/* Pings of a worker that are under way: each has a socket, and is looked for one after the other.
 */
#define LIMIT_OUT_PINGS 256

#endif
