/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TESTS_OUT_WORLD_H
#define RINGKIT_TESTS_OUT_WORLD_H

#include "worker_world.h"

/*
 * A worker with a way out on the simulated kernel: the test plays the namespace, whose packets come
 * by the queue and by the router's sockets, the router's socket service, and the world outside.
 */

#define NF_DROP	  0
#define NF_ACCEPT 1

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
	int gate, listener, udp, raw, channel;
	uint32_t last_packet; /* id */
	unsigned held;	      /* packets without a verdict */
};

struct sockaddr_in addr_of(uint32_t address, uint16_t port);

void out_world_open_with(struct out_world *o, uint64_t seed, unsigned faults, unsigned fds_max,
			 bool queue);
void out_world_open(struct out_world *o);
/* Everything has been decided, and nothing is left. */
void out_world_close(struct out_world *o);

/* A packet in the queue. */
void put_packet(struct out_world *o, const void *packet, size_t len);
/* The packet that opens a connection. Its id. */
uint32_t syn_to(struct out_world *o, uint16_t client_port, uint32_t server, uint16_t port,
		uint32_t seq);
uint32_t syn(struct out_world *o, uint16_t client_port, uint16_t port);

struct verdict {
	uint32_t packet, verdict, mark;
};

bool next_verdict(struct out_world *o, struct verdict *v);
void expect_verdict(struct out_world *o, uint32_t packet, uint32_t verdict, uint32_t mark);
void expect_no_verdict(struct out_world *o);

/* The packet has gone on: the client's connection waits to be accepted. Its far end. */
int arrive(struct out_world *o, uint16_t client_port, uint16_t port);
/* Bytes pass both ways. */
void expect_joined(struct out_world *o, int client, int server);
/* Both sides end. */
void finish(struct out_world *o, int client, int server);

/* The router's socket service answers what it was asked for. */
void feed_router(struct out_world *o);

/* A datagram from inside. */
void send_up(struct out_world *o, uint16_t client_port, uint32_t to, uint16_t port,
	     const char *text);
/* One that comes to a descriptor of the worker's. */
void send_down(struct out_world *o, int fd, uint32_t from, uint16_t port, const char *text);
/* The datagram that left next. */
struct sim_datagram sent(struct out_world *o, const char *text);
void expect_nothing_sent(struct out_world *o);
void expect_addr(const struct sockaddr_in *a, uint32_t address, uint16_t port);

#endif
