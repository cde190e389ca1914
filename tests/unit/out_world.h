/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TESTS_OUT_WORLD_H
#define RINGKIT_TESTS_OUT_WORLD_H

#include "worker_world.h"

/*
 * A worker with a way out on the simulated kernel. The test plays the namespace, whose packets come
 * by the queue and by the router's sockets, the router's socket service, and the world outside.
 *
 * The router has IPv4 and IPv6. x.family is the family of what the functions below make; a test may
 * change it at any time. Hosts are numbers (sim_addr).
 */

#define NF_DROP	  0
#define NF_ACCEPT 1
#define NF_REPEAT 4

enum {
	MARK_ACCEPT = 100,
	MARK_REFUSED = 201,
	MARK_HOST,
	MARK_NET,
	MARK_PROHIBITED,
};

#define INSIDE	 0x0a000264u /* 10.0.2.100 */
#define SERVER	 0xc0000202u /* 192.0.2.2 */
#define GATEWAY	 0x0a000202u
#define DNS	 0x0a000203u
#define RESOLVER 0xc0000235u /* 192.0.2.53; the other one is .54 */

struct out_world {
	struct world x;
	struct dp_outward policy;
	struct out_ports ports;
	int gate;
	int listener[2], udp[2], raw[2]; /* IPv4, IPv6 */
	uint32_t last_packet;		 /* its id */
	unsigned held;			 /* packets without a verdict */
	uint8_t packet[128];		 /* the last one */
	size_t packet_len;
};

/* The descriptor of the family that is used now. */
int out_of_family(const struct out_world *o, const int fds[2]);
union sock_addr out_addr(const struct out_world *o, uint32_t host, uint16_t port);

void out_world_open_with(struct out_world *o, uint64_t seed, unsigned faults, unsigned fds_max,
			 bool queue);
void out_world_open(struct out_world *o);
/* The same in two steps, for another configuration. The first one makes the sockets. */
struct worker_config out_world_begin(struct out_world *o, uint64_t seed, unsigned faults,
				     bool queue);
void out_world_start(struct out_world *o, const struct worker_config *config);
/* The packets that an earlier data plane left have been sent through the rules again. */
void expect_repeated(struct out_world *o);
/* Everything has been decided, and nothing is left. */
void out_world_close(struct out_world *o);

/* Puts a packet into the queue. */
void put_packet(struct out_world *o, const void *packet, size_t len);
/* The same for one with this content after the IP header, from the host inside. */
void put_ip_packet(struct out_world *o, const union sock_addr *dest, uint8_t proto,
		   const void *content, size_t len);
/* Puts the packet that opens a connection into the queue. Returns its id. */
uint32_t syn_to(struct out_world *o, uint16_t client_port, uint32_t server, uint16_t port,
		uint32_t seq);
uint32_t syn_to_addr(struct out_world *o, uint16_t client_port, const union sock_addr *dest,
		     uint32_t seq);
uint32_t syn(struct out_world *o, uint16_t client_port, uint16_t port);

struct verdict {
	uint32_t packet, verdict, mark;
};

bool next_verdict(struct out_world *o, struct verdict *v);
void expect_verdict(struct out_world *o, uint32_t packet, uint32_t verdict, uint32_t mark);
void expect_no_verdict(struct out_world *o);

/* The packet has gone on, and the client's connection waits to be accepted. Returns its far end. */
int arrive(struct out_world *o, uint16_t client_port, uint16_t port);
/* The server's far end of the flow of an accepted client; -1: there is none yet. A repeated packet
 * may have made another connection to the same server. */
int out_server_of(const struct out_world *o, int far);
/* Bytes pass both ways. */
void expect_joined(struct out_world *o, int client, int server);
/* Both sides end their connection. */
void finish(struct out_world *o, int client, int server);

/* The router's socket service answers the requests that have come. */
void serve_router(struct out_world *o);
/* The same, and everything that follows from it happens. */
void feed_router(struct out_world *o);

/* A datagram leaves from inside. */
void send_up(struct out_world *o, uint16_t client_port, uint32_t to, uint16_t port,
	     const char *text);
/* A datagram comes to a descriptor of the worker's. */
void send_down(struct out_world *o, int fd, uint32_t from, uint16_t port, const char *text);
/* The next datagram that the worker sent, which says text. */
struct sim_datagram sent(struct out_world *o, const char *text);
/* Sends as send_up or send_down, and returns the datagram as it leaves on the other side. */
struct sim_datagram goes_up(struct out_world *o, uint16_t client_port, uint32_t to, uint16_t port,
			    const char *text);
struct sim_datagram goes_down(struct out_world *o, int fd, uint32_t from, uint16_t port,
			      const char *text);
void expect_nothing_sent(struct out_world *o);
void expect_addr(const struct out_world *o, const union sock_addr *a, uint32_t host, uint16_t port);
/* An ICMP message that the worker sent inside has the right checksum. */
void expect_checksum(const struct out_world *o, const struct sim_datagram *d);
/* The worker has told the client by ICMP about its datagram to this address. code4 and code6 are
 * those of "destination unreachable" in the two families. */
void expect_icmp(struct out_world *o, uint8_t code4, uint8_t code6, uint32_t from,
		 uint16_t client_port, uint16_t port);

#endif
