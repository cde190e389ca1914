/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_LIMITS_H
#define RINGKIT_BASE_LIMITS_H

/*
 * Limits of what grows with use (workers, ports, connections, bodies, answers), each with its
 * reason. Sizes that follow from a protocol or a kernel's limit stand where they are used.
 */

/* Workers of the data plane. More than this many have never been measured, and each costs a
 * listening socket for every port. */
#define LIMIT_WORKERS 64

/* The descriptors that a process plans with when the user's limit is higher or there is none. The
 * kernel would give more (fs.nr_open), but each costs memory, and 500,000 connections on one
 * machine meet other limits first. */
#define LIMIT_NOFILE (1u << 20)

/* UDP flows of a worker. Each costs some 300 bytes, and no server has this many clients at once. */
#define LIMIT_UDP_FLOWS (1u << 16)

/* Bytes of datagrams of a worker's UDP flows that wait for a socket, or are kept until their server
 * has answered. This is room for a burst of 64 full-sized datagrams from each of 40 new clients at
 * once, or for the first small datagram of 8,000 clients, for some milliseconds. A datagram beyond
 * it is dropped and counted. Memory that was never needed is never touched. */
#define LIMIT_UDP_PENDING_BYTES (4u << 20)

/* A published port accepts no more TCP connections once it holds this many times the number that
 * its worker has left. So one port that is flooded, or the only busy one, holds at most 7/8 of a
 * worker's connections. With k flooded ports each holds at most 7/(1+7k), and the last connections
 * are for ports that hold fewer than 7. */
#define LIMIT_TCP_TIMES_LEFT 7u

/* A UDP flow without traffic ends after this time, unless the user says otherwise. RootlessKit's
 * value. */
#define DEFAULT_UDP_TIMEOUT_MS 90000

/* Published ports at a time: as many as one address has for one protocol. */
#define LIMIT_PORTS 65536

/* Ports of --port-driver=implicit, which follow the listening sockets inside. Nobody runs this many
 * servers, and where somebody opens as many sockets as possible, this many cost the parent a
 * second. */
#define LIMIT_IMPLICIT_PORTS 2048

/* Largest request body of the API. RootlessKit's largest is a port spec of about 120 bytes. */
#define LIMIT_API_BODY_BYTES 65536

/* Ports in one request of the API: as many of the longest specs, 200 bytes each, as a body
 * holds. */
#define LIMIT_PORT_BATCH 256

/* Connections to the API at a time: each costs a descriptor and 20 KiB. In a rush more are allowed
 * for a moment, so that no client is sent away before it has had time to send its request. */
#define LIMIT_API_CONNECTIONS 64
#define LIMIT_API_RUSH	      512
#define LIMIT_API_GRACE_MS    1000

/* Ports that belong to a connection of the API, beside LIMIT_API_CONNECTIONS: each costs a
 * descriptor and 20 KiB as long as it lives. Docker with so many published ports runs as many
 * proxies. */
#define LIMIT_API_LEASES 4096

/* Clients that listen to events at a time: a monitoring system, a second one, and some people. */
#define LIMIT_API_EVENT_STREAMS 16

/* Bytes of events that each such client may be behind: some hundred events. A burst of ports takes
 * 300 bytes for each. */
#define LIMIT_API_EVENTS_BYTES 262144

/* A client of the API that sends nothing for this long is disconnected. */
#define LIMIT_API_IDLE_S 60

/* Largest answer of the API that rootlessctl accepts. LIMIT_PORTS entries of 200 bytes are 13 MB; a
 * server that sends more than this is not our API. */
#define LIMIT_CTL_ANSWER_BYTES (64 << 20)

/* Ports with metrics of their own: this many are 4 MB of text, which takes the parent 0.1 s. */
#define LIMIT_METRICS_PORTS 4096

/* How long rootlessctl waits for an answer unless told otherwise. 256 ports take 30 ms, and a
 * server whose disk or terminal has been stuck for half a minute is not going to answer soon. */
#define LIMIT_CTL_ANSWER_MS 30000

/* Symbolic links on the way to a state directory: as many as the kernel follows in a path
 * (path_resolution(7)). A path with more is a loop. */
#define LIMIT_STATE_DIR_LINKS 40

/* Entries beside a directory that is copied up, and beside each directory on the way to it.
 * Relative symbolic links in the directory may lead to them. Each costs an inode of a tmpfs;
 * directories such as / and /var have a few dozen. */
#define LIMIT_COPY_UP_NEIGHBOURS 1024

/* Largest answer of slirp4netns: its list of LIMIT_PORTS ports, 130 bytes each, is 8.5 MB. */
#define LIMIT_SLIRP4NETNS_ANSWER_BYTES (16 << 20)

/* Connections of one port at a time with --port-driver=socat. Each is a process. */
#define LIMIT_SOCAT_CONNECTIONS 1024

/* Connections that wait for a socat to accept them: Linux's default limit (net.core.somaxconn).
 * With socat's own 5, the clients of a burst would have to wait until their TCP tries again. */
#define LIMIT_SOCAT_BACKLOG 4096

/* socat's buffer. The largest payload of a UDP datagram over IPv4 and IPv6 is below this; socat's
 * own 8 KiB would cut it. */
#define LIMIT_SOCAT_BLOCK_BYTES 65536

/* A client or server that leaves what it was sent unanswered for this long is gone. The kernel asks
 * a living one at least every two minutes, and it answers even when it has no room. */
#define LIMIT_TCP_UNANSWERED_MS 300000u

/* Flows of a worker whose server has refused, and that are to try again: a port whose server stays
 * away must not cost more. Beyond this a refusal is passed on at once. */
#define LIMIT_TCP_RETRYING 256

/* Connections of the way out that a worker may be making at a time. The first packet of each waits
 * in the kernel's queue for a verdict; so may others, for which there was no time yet. The queue
 * must not be the first to run out. */
#define LIMIT_OUT_PENDING	4096
#define LIMIT_OUT_QUEUE_PACKETS 16384

/* Connections that a worker has let through, and not accepted yet: the queue of its listener in the
 * router. */
#define LIMIT_OUT_BACKLOG 4096

/* UDP of the way out, for each worker: the mappings, the addresses outside that they take answers
 * from, and the sockets inside that answers come from. A client of a peer-to-peer network talks to
 * some thousand addresses from one port. On a small machine one worker has everything, and 10,000
 * clients at once are to fit. */
#define LIMIT_OUT_MAPS	     16384
#define LIMIT_OUT_PEERS	     32768
#define LIMIT_OUT_RESPONDERS 8192

/* Pings of a worker that wait for their answer. Each has a socket, and they are searched one by
 * one. */
#define LIMIT_OUT_PINGS 256

#endif
