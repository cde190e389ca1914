/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "dataplane/dataplane.h"
#include "ns/transparent.h"
#include "worker_world.h"

/*
 * The worker against the simulated kernel. The steps of a run are chosen by a seed; a failing
 * seed is printed, and WORKER_SEED=n runs it alone. WORKER_RUNS=n runs more of them, from
 * WORKER_SEED on if both are there.
 */

#define CLIENTS_MAX 12
#define STREAM_MAX  60000

/* One TCP connection as its two far ends see it. */
struct pair {
	int client, server; /* far ends; -1: not there yet */
	size_t to_send[2], sent[2], got[2];
	bool ended[2], reset;
};

static uint8_t pattern(unsigned conn, unsigned d, size_t at)
{
	return (uint8_t)(at * 31 + at / 251 + conn * 7 + d * 101);
}

static int far_of(const struct pair *p, unsigned side)
{
	return side == 0 ? p->client : p->server;
}

static void far_send(struct world *x, struct pair *p, unsigned conn, unsigned side)
{
	uint8_t buf[2048];
	size_t n = 1 + sim_random(x->sim, sizeof(buf)), left = p->to_send[side] - p->sent[side];

	if (p->ended[side])
		return;
	if (n > left)
		n = left;
	for (size_t i = 0; i < n; i++)
		buf[i] = pattern(conn, side, p->sent[side] + i);
	if (sim_random(x->sim, 50) == 0)
		sim_far_urgent(x->sim, far_of(p, side));
	p->sent[side] += sim_far_write(x->sim, far_of(p, side), buf, n);
	if (p->sent[side] == p->to_send[side]) {
		sim_far_shutdown(x->sim, far_of(p, side));
		p->ended[side] = true;
	}
}

static void far_receive(struct world *x, struct pair *p, unsigned conn, unsigned side)
{
	uint8_t buf[4096];
	size_t n = sim_far_read(x->sim, far_of(p, side), buf, 1 + sim_random(x->sim, sizeof(buf)));

	for (size_t i = 0; i < n; i++)
		assert_int_equal(buf[i], pattern(conn, !side, p->got[!side] + i));
	p->got[!side] += n;
	assert_true(p->got[!side] <= p->sent[!side]);
}

static bool pair_over(struct world *x, const struct pair *p)
{
	bool c = sim_far_saw_end(x->sim, p->client) || sim_far_saw_reset(x->sim, p->client);

	if (p->server < 0)
		return c;
	return c && (sim_far_saw_end(x->sim, p->server) || sim_far_saw_reset(x->sim, p->server));
}

static void pair_step(struct world *x, struct pair *p, unsigned conn)
{
	unsigned side = sim_random(x->sim, 2);

	if (p->client < 0 || (side == 1 && p->server < 0))
		return;
	switch (sim_random(x->sim, 3)) {
	case 0:
		far_send(x, p, conn, side);
		break;
	case 1:
		far_receive(x, p, conn, side);
		break;
	default:
		if (p->reset && sim_random(x->sim, 100) == 0)
			sim_far_reset(x->sim, far_of(p, side));
	}
}

static void pair_finish(struct world *x, struct pair *p)
{
	if (p->client < 0 || p->reset)
		return;
	assert_true(p->server >= 0);
	for (unsigned side = 0; side < 2; side++) {
		assert_int_equal(p->got[side], p->to_send[side]);
		assert_false(sim_far_saw_reset(x->sim, far_of(p, side)));
	}
}

/* Which far end a client's flow was connected to, its slot tells. */
static void find_servers(struct world *x, struct pair *pairs, unsigned n_pairs)
{
	for (uint32_t i = 0; i < x->w->tcp.used; i++) {
		const struct tcp_flow *f = &x->w->tcp.flows[i];

		if (f->state != TCP_FLOW_OPEN)
			continue;
		for (unsigned k = 0; k < n_pairs; k++)
			if (pairs[k].client == sim_far_of(f->fd[0]))
				pairs[k].server = sim_far_of(f->fd[1]);
	}
}

static void tcp_steps(struct world *x, struct pair *pairs, unsigned n_pairs)
{
	unsigned started = 0, over = 0;

	for (unsigned step = 0; step < 400000 && over < n_pairs; step++) {
		if (started < n_pairs && sim_random(x->sim, 200) == 0 &&
		    started < over + CLIENTS_MAX)
			pairs[started++].client = sim_client_connect(x->sim, x->listener);
		for (unsigned i = 0; i < started; i++)
			pair_step(x, &pairs[i], i);
		if (sim_random(x->sim, 4) == 0)
			turn(x);
		find_servers(x, pairs, started);
		if (sim_random(x->sim, 8) == 0)
			feed_pools(x);
		over = 0;
		for (unsigned i = 0; i < started; i++)
			over += pair_over(x, &pairs[i]);
	}
	assert_int_equal(over, n_pairs);
}

static void run_tcp(uint64_t seed, bool resets, unsigned faults)
{
	enum { PAIRS = 20 };
	struct pair pairs[PAIRS];
	struct world x;

	world_open(&x, seed, faults);
	add_port(&x, PORT_TCP, 0);
	for (unsigned i = 0; i < PAIRS; i++) {
		pairs[i] = (struct pair){.client = -1, .server = -1, .reset = resets};
		for (unsigned side = 0; side < 2; side++)
			pairs[i].to_send[side] = sim_random(x.sim, 3)
							 ? sim_random(x.sim, 500)
							 : sim_random(x.sim, STREAM_MAX);
	}
	tcp_steps(&x, pairs, PAIRS);
	for (unsigned i = 0; i < PAIRS; i++)
		pair_finish(&x, &pairs[i]);
	settle(&x);
	assert_int_equal(x.stats.tcp_flows, 0);
	assert_int_equal(x.stats.stale_completions, 0);
	assert_int_equal(x.stats.tcp_accepted, PAIRS);
	assert_int_equal(sim_open_fds(x.sim), 1 + pooled(&x));
	remove_port(&x);
	settle(&x);
	assert_int_equal(sim_open_fds(x.sim), pooled(&x));
	assert_int_equal(x.stats.listeners, 0);
	world_close(&x);
}

static void for_seeds(void (*run)(uint64_t seed, bool resets, unsigned faults), bool resets)
{
	const char *one = getenv("WORKER_SEED"), *runs = getenv("WORKER_RUNS");
	uint64_t first = one ? strtoull(one, NULL, 10) : 1;
	uint64_t n = runs ? strtoull(runs, NULL, 10) : one ? 1 : 30;

	for (uint64_t seed = first; seed < first + n; seed++) {
		printf("seed %llu\n", (unsigned long long)seed);
		run(seed, resets, (unsigned)(seed % 3) * 25);
	}
}

static void test_tcp_streams_arrive_whole(void **state)
{
	(void)state;
	for_seeds(run_tcp, false);
}

static void test_tcp_resets_leave_nothing(void **state)
{
	(void)state;
	for_seeds(run_tcp, true);
}

/* A removal in the midst of it closes everything, whatever is in flight. */
static void run_removal(uint64_t seed, bool resets, unsigned faults)
{
	struct pair p = {.client = -1, .server = -1};
	struct world x;

	(void)resets;
	world_open(&x, seed, faults);
	for (int round = 0; round < 10; round++) {
		int clients[8];

		add_port(&x, PORT_TCP, 0);
		for (int i = 0; i < 8; i++)
			clients[i] = sim_client_connect(x.sim, x.listener);
		for (uint32_t i = sim_random(x.sim, 30); i > 0; i--) {
			p.client = clients[sim_random(x.sim, 8)];
			p.to_send[0] = p.sent[0] + 5000;
			far_send(&x, &p, 0, 0);
			turn(&x);
			if (sim_random(x.sim, 2))
				feed_pools(&x);
		}
		remove_port(&x);
		remove_port(&x);
		expect_answer(&x, x.port_id, x.seq, -ENOENT);
		expect_answer(&x, x.port_id, x.seq - 1, 0);
		settle(&x);
		assert_int_equal(x.stats.listeners, 0);
		assert_int_equal(x.stats.tcp_flows, 0);
		assert_int_equal(sim_in_flight(x.sim), WORLD_OPS);
		assert_int_equal(sim_open_fds(x.sim), pooled(&x));
	}
	world_close(&x);
}

static void test_removal_closes_flows(void **state)
{
	(void)state;
	for_seeds(run_removal, false);
}

static void test_refused_server_resets_client(void **state)
{
	struct world x;
	int client;

	(void)state;
	world_open(&x, 1, 0);
	add_port(&x, PORT_TCP, 0);
	sim_refuse_port(x.sim, 80);
	client = sim_client_connect(x.sim, x.listener);
	pass(&x, 300 * MS_NS);
	assert_true(sim_far_saw_reset(x.sim, client));
	assert_int_equal(x.stats.tcp_refused, 1);
	world_close(&x);
}

/* A rule of the server's says no by ICMP, on this host, so at once: the ring has seen no error. */
static void test_rejected_by_icmp(void **state)
{
	struct world x;
	int client;

	(void)state;
	world_open(&x, 1, 0);
	add_port(&x, PORT_TCP, 0);
	sim_reject_port(x.sim, 80);
	client = sim_client_connect(x.sim, x.listener);
	settle(&x);
	assert_true(sim_far_saw_reset(x.sim, client));
	assert_int_equal(x.stats.tcp_unreachable, 1);
	assert_int_equal(x.stats.tcp_connected, 0);
	world_close(&x);
}

static void test_second_target_is_tried(void **state)
{
	struct world x;
	int client;

	(void)state;
	world_open(&x, 1, 0);
	add_port(&x, PORT_TCP, 81);
	sim_refuse_port(x.sim, 80);
	client = sim_client_connect(x.sim, x.listener);
	settle(&x);
	assert_false(sim_far_saw_reset(x.sim, client));
	assert_int_equal(x.stats.tcp_connected, 1);
	sim_refuse_port(x.sim, 81);
	world_close(&x);
}

/* What a server sent before it reset the connection still arrives, and then the reset does. */
static void test_answer_before_reset_arrives(void **state)
{
	struct world x;
	int client, server;
	char buf[64];

	(void)state;
	world_open(&x, 1, 0);
	add_port(&x, PORT_TCP, 0);
	client = sim_client_connect(x.sim, x.listener);
	settle(&x);
	server = sim_server_accept(x.sim);
	assert_true(server >= 0);
	assert_int_equal(sim_far_write(x.sim, server, "too large", 9), 9);
	sim_far_reset(x.sim, server);
	settle(&x);
	assert_int_equal(sim_far_read(x.sim, client, buf, sizeof(buf)), 9);
	assert_memory_equal(buf, "too large", 9);
	settle(&x);
	assert_true(sim_far_saw_reset(x.sim, client));
	assert_int_equal(x.stats.tcp_flows, 0);
	world_close(&x);
}

/* A client that goes while the server takes nothing: what it had sent arrives, then the reset. */
static void test_reset_while_blocked_is_passed_on(void **state)
{
	static uint8_t much[200000];
	struct world x;
	int client, server;

	(void)state;
	world_open(&x, 1, 0);
	add_port(&x, PORT_TCP, 0);
	client = sim_client_connect(x.sim, x.listener);
	settle(&x);
	server = sim_server_accept(x.sim);
	for (int i = 0; i < 100; i++) {
		sim_far_write(x.sim, client, much, sizeof(much));
		settle(&x);
	}
	sim_far_reset(x.sim, client);
	settle(&x);
	assert_int_equal(x.stats.tcp_flows, 1);
	for (int i = 0; i < 100; i++) {
		sim_far_read(x.sim, server, much, sizeof(much));
		settle(&x);
	}
	assert_true(sim_far_saw_reset(x.sim, server));
	assert_int_equal(x.stats.tcp_flows, 0);
	world_close(&x);
}

static void test_out_of_descriptors_pauses(void **state)
{
	struct world x;
	int client;

	(void)state;
	world_open(&x, 1, 0);
	add_port(&x, PORT_TCP, 0);
	settle(&x);
	sim_set_exhausted(x.sim, true);
	client = sim_client_connect(x.sim, x.listener);
	for (int i = 0; i < 50; i++)
		turn(&x);
	assert_int_equal(x.stats.accept_paused, 1); /* and not once a turn */
	sim_set_exhausted(x.sim, false);
	for (int i = 0; i < 4; i++) {
		pass(&x, 100000000);
	}
	assert_int_equal(x.stats.tcp_connected, 1);
	assert_false(sim_far_saw_reset(x.sim, client));
	world_close(&x);
}

/* Connections that have been accepted must not take the descriptors that their other halves need.
 */
static void test_descriptors_go_to_flows_under_way(void **state)
{
	int clients[14];
	struct world x;

	(void)state;
	/* The listener, 8 in the pool, and 12 flows. */
	world_open_with(&x, 1, 0, 34);
	add_port(&x, PORT_TCP, 0);
	settle(&x);
	for (int i = 0; i < 14; i++) {
		clients[i] = sim_client_connect(x.sim, x.listener);
		turn(&x);
		feed_pools(&x);
	}
	for (int i = 0; i < 5; i++) {
		pass(&x, 200000000);
		assert_true(sim_open_fds(x.sim) <= 34 + 2);
	}
	assert_true(x.stats.tcp_connected >= 8 && x.stats.tcp_connected < 14);
	assert_int_equal(x.stats.tcp_flows, x.stats.tcp_connected);
	assert_int_equal(x.stats.accept_paused, 1); /* and they wait where they are */
	for (int i = 0; i < 14; i++)
		sim_far_reset(x.sim, clients[i]);
	for (int i = 0; i < 10; i++) {
		pass(&x, 200000000);
	}
	assert_int_equal(x.stats.tcp_flows, 0);
	assert_int_equal(x.stats.tcp_accepted, 14);
	world_close(&x);
}

static void test_full_table_lets_wait(void **state)
{
	struct world x;

	(void)state;
	world_open(&x, 1, 0);
	add_port(&x, PORT_TCP, 0);
	for (int i = 0; i < 20; i++)
		sim_client_connect(x.sim, x.listener);
	settle(&x);
	assert_int_equal(x.stats.tcp_flows, 16);
	world_close(&x);
}

static void test_idle_flow_holds_no_pipe(void **state)
{
	static uint8_t much[4096];
	struct world x;
	int client, server;

	(void)state;
	world_open(&x, 1, 0);
	add_port(&x, PORT_TCP, 0);
	client = sim_client_connect(x.sim, x.listener);
	settle(&x);
	server = sim_server_accept(x.sim);
	for (int i = 0; i < 20; i++) {
		sim_far_write(x.sim, client, much, sizeof(much));
		turn(&x);
	}
	for (int i = 0; i < 100; i++) {
		sim_far_read(x.sim, server, much, sizeof(much));
		turn(&x);
	}
	assert_true(x.stats.pipes_open > 0);
	for (int i = 0; i < 10; i++) {
		pass(&x, 5 * SECOND_NS);
	}
	assert_int_equal(x.stats.pipes_open, 0);
	world_close(&x);
}

/* Connections with the client's address */

#define CLIENT	  0xc0000264u /* 192.0.2.100 */
#define CONTAINER 0xac110002u /* 172.17.0.2 */
#define BRIDGE	  0xac110001u
#define OWN	  0x0a000264u /* 10.0.2.100 */
#define EVERYTHING                                                                                 \
	(TRANSPARENT_BIT(TRANSPARENT_LOOPBACK, 0) | TRANSPARENT_BIT(TRANSPARENT_OWN, 0) |          \
	 TRANSPARENT_BIT(TRANSPARENT_BEHIND, 0))

static uint32_t usual_routes(uint32_t to)
{
	if (to >> 16 == CONTAINER >> 16)
		return BRIDGE;
	return OWN;
}

static uint32_t no_way_out(uint32_t to)
{
	return to >> 16 == CONTAINER >> 16 ? BRIDGE : 0;
}

static uint32_t no_routes(uint32_t to)
{
	(void)to;
	return 0;
}

/* works: what the namespace has been prepared for. */
static void transparent_world(struct world *x, uint32_t works, uint32_t target)
{
	world_open(x, 1, 0);
	x->w->config.transparent = works;
	x->target = target;
	sim_routes(x->sim, usual_routes);
	add_port(x, PORT_TCP, 0);
}

static int client_from(struct world *x, uint32_t address)
{
	int client = sim_client_connect(x->sim, x->listener);

	sim_client_from(x->sim, client, address, 40000);
	return client;
}

/* The client's connection is the last that the worker made, with this address (0: none of its own),
 * port and mark. */
static void expect_bound(struct world *x, int client, uint32_t address, uint16_t port,
			 uint32_t mark)
{
	int server = sim_server_accept(x->sim);
	struct sockaddr_in bound;
	uint32_t got_mark;

	assert_true(server >= 0);
	assert_false(sim_far_saw_reset(x->sim, client));
	bound = sim_bound(x->sim, server, &got_mark);
	assert_int_equal(ntohl(bound.sin_addr.s_addr), address);
	assert_int_equal(ntohs(bound.sin_port), port);
	assert_int_equal(got_mark, mark);
}

static void expect_counts(const struct world *x, uint64_t transparent, uint64_t lost)
{
	assert_int_equal(x->stats.tcp_transparent, transparent);
	assert_int_equal(x->stats.tcp_transparent_lost, lost);
}

/* Where servers are, and what a worker makes of it. */
static void test_transparent_places(void **state)
{
	static const struct {
		uint32_t (*routes)(uint32_t to);
		uint32_t works, target, client, bound, mark;
		bool counted; /* as lost, when it is not bound */
	} cases[] = {
		{no_routes, EVERYTHING, INADDR_LOOPBACK, CLIENT, CLIENT, TRANSPARENT_MARK_LOOPBACK,
		 true},
		{usual_routes, EVERYTHING, INADDR_LOOPBACK, OWN, OWN, TRANSPARENT_MARK_LOOPBACK,
		 true},
		{usual_routes, EVERYTHING, INADDR_LOOPBACK, INADDR_LOOPBACK + 5, 0, 0, false},
		{usual_routes, EVERYTHING, OWN, CLIENT, CLIENT, TRANSPARENT_MARK, true},
		{usual_routes, EVERYTHING, OWN, OWN, 0, 0, true},
		{usual_routes, EVERYTHING, CONTAINER, CLIENT, CLIENT, 0, true},
		{no_way_out, EVERYTHING, CONTAINER, CLIENT, CLIENT, 0, true},
		{no_routes, EVERYTHING, CONTAINER, CLIENT, 0, 0, true},
		{usual_routes, EVERYTHING, CONTAINER, CONTAINER + 7, 0, 0, true},
		{usual_routes, EVERYTHING, 0x08080808, CLIENT, 0, 0, true},
		{usual_routes, TRANSPARENT_BIT(TRANSPARENT_BEHIND, 0), INADDR_LOOPBACK, CLIENT, 0,
		 0, true},
		{usual_routes, TRANSPARENT_BIT(TRANSPARENT_LOOPBACK, 0), OWN, CLIENT, 0, 0, true},
		{usual_routes, TRANSPARENT_BIT(TRANSPARENT_OWN, 0), CONTAINER, CLIENT, 0, 0, true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct world x;
		int client;

		print_message("case %zu\n", i);
		transparent_world(&x, cases[i].works, cases[i].target);
		sim_routes(x.sim, cases[i].routes);
		client = client_from(&x, cases[i].client);
		settle(&x);
		expect_bound(&x, client, cases[i].bound, cases[i].bound ? 40000 : 0, cases[i].mark);
		expect_counts(&x, cases[i].bound != 0, !cases[i].bound && cases[i].counted);
		world_close(&x);
	}
}

/* A client that has sent and reset before it was accepted: its server hears what it sent, from the
 * client's address. */
static void test_transparent_client_that_has_gone(void **state)
{
	struct world x;
	uint32_t mark;
	int client, server;

	(void)state;
	transparent_world(&x, EVERYTHING, INADDR_LOOPBACK);
	client = client_from(&x, CLIENT);
	sim_far_write(x.sim, client, "hello", 5);
	sim_far_reset(x.sim, client);
	settle(&x);
	server = sim_server_accept(x.sim);
	assert_true(server >= 0);
	assert_int_equal(ntohl(sim_bound(x.sim, server, &mark).sin_addr.s_addr), CLIENT);
	expect_counts(&x, 1, 0);
	world_close(&x);
}

/* Such a client where its address cannot be had: nothing of it is delivered from another one. */
static void test_transparent_gone_and_lost(void **state)
{
	struct world x;
	uint8_t got[8];
	int client, server;

	(void)state;
	transparent_world(&x, EVERYTHING, INADDR_LOOPBACK);
	sim_fail_bind(x.sim, -EACCES);
	client = client_from(&x, CLIENT);
	sim_far_write(x.sim, client, "hello", 5);
	sim_far_reset(x.sim, client);
	settle(&x);
	server = sim_server_accept(x.sim);
	if (server >= 0)
		assert_int_equal(sim_far_read(x.sim, server, got, sizeof(got)), 0);
	assert_int_equal(x.stats.tcp_flows, 0);
	assert_int_equal(x.stats.tcp_aborted, 1);
	world_close(&x);
}

/* Flows that come before there is a socket to ask the kernel with wait for it. */
static void test_transparent_waits_for_its_probe(void **state)
{
	struct world x;
	int clients[5];

	(void)state;
	transparent_world(&x, EVERYTHING, CONTAINER);
	for (int i = 0; i < 5; i++)
		clients[i] = client_from(&x, CLIENT + (uint32_t)i);
	turn(&x);
	x.no_datagram_sockets = true;
	for (int i = 0; i < 5; i++) {
		turn(&x);
		feed_pools(&x);
	}
	assert_int_equal(x.stats.tcp_connected, 0);
	x.no_datagram_sockets = false;
	settle(&x);
	assert_int_equal(x.stats.tcp_connected, 5);
	expect_counts(&x, 5, 0);
	for (int i = 0; i < 5; i++)
		sim_far_reset(x.sim, clients[i]);
	settle(&x);
	assert_int_equal(x.stats.tcp_flows, 0);
	world_close(&x);
}

static void test_transparent_port_is_taken(void **state)
{
	struct world x;
	int client;

	(void)state;
	transparent_world(&x, EVERYTHING, INADDR_LOOPBACK);
	sim_fail_bind(x.sim, -EADDRINUSE);
	client = client_from(&x, CLIENT);
	settle(&x);
	expect_bound(&x, client, CLIENT, 0, TRANSPARENT_MARK_LOOPBACK);
	expect_counts(&x, 1, 0);
	world_close(&x);
}

/* Whatever goes wrong with it, the connection is made. */
static void test_transparent_failures(void **state)
{
	static const struct {
		int bind, connect;
	} cases[] = {{-EPERM, 0},	 {-EADDRNOTAVAIL, 0}, {0, -EADDRNOTAVAIL},
		     {0, -ECONNREFUSED}, {0, -EHOSTUNREACH},  {0, -ECONNRESET}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct world x;
		int client;

		print_message("case %zu\n", i);
		transparent_world(&x, EVERYTHING, INADDR_LOOPBACK);
		sim_fail_bind(x.sim, cases[i].bind);
		sim_fail_bound(x.sim, cases[i].connect);
		client = client_from(&x, CLIENT);
		settle(&x);
		expect_bound(&x, client, 0, 0, 0);
		expect_counts(&x, 0, 1);
		assert_int_equal(x.stats.tcp_failed + x.stats.tcp_refused, 0);
		sim_far_reset(x.sim, client);
		settle(&x);
		assert_int_equal(sim_open_fds(x.sim), 1 + pooled(&x));
		world_close(&x);
	}
}

/* A server that refuses does so either way: that has nothing to do with addresses. */
static void test_transparent_refused(void **state)
{
	struct world x;
	int client;

	(void)state;
	transparent_world(&x, EVERYTHING, INADDR_LOOPBACK);
	sim_refuse_port(x.sim, 80);
	client = client_from(&x, CLIENT);
	pass(&x, 300 * MS_NS);
	assert_true(sim_far_saw_reset(x.sim, client));
	assert_int_equal(x.stats.tcp_refused, 1);
	expect_counts(&x, 0, 0);
	world_close(&x);
}

/* The answer does not come back: the connection is made after a moment, those that follow at once,
 * and a while later one of them tries again. */
static void test_transparent_answer_is_lost(void **state)
{
	struct world x;
	int first, second;

	(void)state;
	transparent_world(&x, EVERYTHING, INADDR_LOOPBACK);
	sim_fail_bound(x.sim, -EINPROGRESS);
	first = client_from(&x, CLIENT);
	settle(&x);
	assert_int_equal(x.stats.tcp_connected, 0);
	pass(&x, SECOND_NS);
	expect_bound(&x, first, 0, 0, 0);
	expect_counts(&x, 0, 1);
	second = client_from(&x, CLIENT);
	settle(&x);
	expect_bound(&x, second, 0, 0, 0);
	expect_counts(&x, 0, 2);

	pass(&x, 4 * SECOND_NS);
	first = client_from(&x, CLIENT);
	settle(&x);
	second = client_from(&x, CLIENT);
	settle(&x);
	expect_bound(&x, second, 0, 0, 0); /* while the other tries */
	assert_int_equal(x.stats.tcp_connected, 3);
	pass(&x, SECOND_NS);
	expect_bound(&x, first, 0, 0, 0);

	/* The pause gets longer with each time that it was of no use. */
	pass(&x, 5 * SECOND_NS);
	first = client_from(&x, CLIENT);
	settle(&x);
	expect_bound(&x, first, 0, 0, 0);
	for (int i = 0; i < 10; i++) {
		pass(&x, 65 * SECOND_NS);
		first = client_from(&x, CLIENT);
		settle(&x);
		pass(&x, SECOND_NS);
		expect_bound(&x, first, 0, 0, 0);
		sim_far_reset(x.sim, first);
	}

	pass(&x, 65 * SECOND_NS);
	sim_fail_bound(x.sim, 0);
	for (int i = 0; i < 3; i++) {
		first = client_from(&x, CLIENT);
		settle(&x);
		expect_bound(&x, first, CLIENT, 40000, TRANSPARENT_MARK_LOOPBACK);
	}
	assert_int_equal(x.stats.tcp_transparent, 3);
	world_close(&x);
}

/* Where it has worked, a server that is slow once does not end it. */
static void test_transparent_slow_server(void **state)
{
	struct world x;
	int client;

	(void)state;
	transparent_world(&x, EVERYTHING, INADDR_LOOPBACK);
	for (int round = 0; round < 3; round++) {
		sim_fail_bound(x.sim, 0);
		client = client_from(&x, CLIENT);
		settle(&x);
		expect_bound(&x, client, CLIENT, 40000, TRANSPARENT_MARK_LOOPBACK);
		sim_fail_bound(x.sim, -EINPROGRESS);
		client = client_from(&x, CLIENT);
		settle(&x);
		pass(&x, SECOND_NS);
		expect_bound(&x, client, 0, 0, 0);
	}
	expect_counts(&x, 3, 3);
	world_close(&x);
}

/* A port that is removed while flows of it wait for an answer. */
static void test_transparent_removal(void **state)
{
	struct world x;

	(void)state;
	transparent_world(&x, EVERYTHING, CONTAINER);
	sim_fail_bound(x.sim, -EINPROGRESS);
	for (uint32_t i = 0; i < 5; i++)
		client_from(&x, CLIENT + i);
	settle(&x);
	assert_int_equal(x.stats.tcp_flows, 5);
	remove_port(&x);
	settle(&x);
	assert_int_equal(x.stats.tcp_flows, 0);
	assert_int_equal(sim_in_flight(x.sim), WORLD_OPS);
	assert_int_equal(x.w->tcp.n_timers, 0);
	world_close(&x);
}

/* Everything at once, by a seed: no connection is lost, nothing stays. */
static void run_transparent(uint64_t seed, bool resets, unsigned faults)
{
	static const int errors[] = {0, 0, 0, -ECONNREFUSED, -EADDRNOTAVAIL, -EINPROGRESS};
	struct world x;
	unsigned n = 0;

	(void)resets;
	world_open(&x, seed, faults);
	x.w->config.transparent = EVERYTHING;
	x.target = sim_random(x.sim, 2) ? CONTAINER : INADDR_LOOPBACK;
	sim_routes(x.sim, usual_routes);
	add_port(&x, PORT_TCP, 0);
	while (n < 60) {
		if (x.stats.tcp_flows < 10 && sim_random(x.sim, 2)) {
			sim_far_shutdown(x.sim, client_from(&x, CLIENT + n));
			n++;
		}
		sim_fail_bound(x.sim, errors[sim_random(x.sim, 6)]);
		sim_fail_bind(x.sim, sim_random(x.sim, 4) ? 0 : -EADDRINUSE);
		pass(&x, sim_random(x.sim, 3) ? 0 : SECOND_NS);
		for (int far = sim_server_accept(x.sim); far >= 0; far = sim_server_accept(x.sim))
			sim_far_shutdown(x.sim, far);
		for (uint32_t i = 0; i < x.w->tcp.used; i++)
			if (x.w->tcp.flows[i].state == TCP_FLOW_OPEN)
				sim_far_shutdown(x.sim, sim_far_of(x.w->tcp.flows[i].fd[1]));
	}
	sim_fail_bound(x.sim, 0);
	for (int i = 0; i < 5; i++) {
		pass(&x, SECOND_NS);
		for (uint32_t k = 0; k < x.w->tcp.used; k++)
			if (x.w->tcp.flows[k].state == TCP_FLOW_OPEN)
				sim_far_shutdown(x.sim, sim_far_of(x.w->tcp.flows[k].fd[1]));
	}
	assert_int_equal(x.stats.tcp_connected, 60);
	assert_int_equal(x.stats.tcp_transparent + x.stats.tcp_transparent_lost, 60);
	assert_int_equal(x.stats.tcp_flows, 0);
	assert_int_equal(x.stats.stale_completions, 0);
	remove_port(&x);
	settle(&x);
	assert_int_equal(sim_open_fds(x.sim), pooled(&x) + (x.w->supply.probe_fd[0] >= 0));
	world_close(&x);
}

static void test_transparent_loses_no_connection(void **state)
{
	(void)state;
	for_seeds(run_transparent, false);
}

/* UDP */

static struct sockaddr_in client_address(unsigned n)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons((uint16_t)(20000 + n)),
				    .sin_addr.s_addr = htonl(0x0a000001)};
}

static const struct in_addr local_a = {.s_addr = 0x0100000a}, local_b = {.s_addr = 0x0200000a};

static void send_in(struct world *x, unsigned client, const struct in_addr *local, const char *text,
		    uint16_t segment)
{
	struct sockaddr_in from = client_address(client);

	assert_true(
		sim_datagram_in(x->sim, x->listener, &from, local, text, strlen(text), segment));
}

static void expect_out(struct world *x, const char *text, struct sim_datagram *d)
{
	assert_true(sim_datagram_out(x->sim, d));
	assert_int_equal(d->len, strlen(text));
	assert_memory_equal(d->data, text, d->len);
}

static void udp_world(struct world *x)
{
	world_open(x, 1, 0);
	add_port(x, PORT_UDP, 0);
	settle(x);
}

static void test_udp_answers_from_address_asked(void **state)
{
	struct sim_datagram d, e;
	struct world x;

	(void)state;
	udp_world(&x);
	send_in(&x, 1, &local_a, "one", 0);
	send_in(&x, 1, &local_b, "two", 0);
	settle(&x);
	expect_out(&x, "one", &d);
	expect_out(&x, "two", &e);
	assert_int_not_equal(d.fd, e.fd);
	assert_int_equal(ntohs(d.to.sin_port), 80);
	assert_int_equal(x.stats.udp_flows, 2);
	assert_true(sim_datagram_in(x.sim, e.fd, &d.to, &local_a, "answer", 6, 0));
	settle(&x);
	expect_out(&x, "answer", &d);
	assert_int_equal(d.fd, x.listener);
	assert_int_equal(d.from.sin_addr.s_addr, local_b.s_addr);
	assert_int_equal(ntohs(d.to.sin_port), 20001);
	world_close(&x);
}

static void test_udp_runs_and_batches(void **state)
{
	struct sim_datagram d;
	struct world x;

	(void)state;
	udp_world(&x);
	send_in(&x, 1, &local_a, "first", 0);
	settle(&x);
	expect_out(&x, "first", &d);
	/* A run of the kernel's, equal ones, and a shorter one that ends the message. */
	send_in(&x, 1, &local_a, "aaabbbcc", 3);
	send_in(&x, 1, &local_a, "ddd", 0);
	send_in(&x, 1, &local_a, "eee", 0);
	send_in(&x, 1, &local_a, "f", 0);
	send_in(&x, 1, &local_a, "", 0);
	send_in(&x, 1, &local_a, "gg", 0);
	settle(&x);
	expect_out(&x, "aaa", &d);
	expect_out(&x, "bbb", &d);
	expect_out(&x, "cc", &d);
	expect_out(&x, "ddd", &d);
	expect_out(&x, "eee", &d);
	expect_out(&x, "f", &d);
	expect_out(&x, "", &d);
	expect_out(&x, "gg", &d);
	assert_int_equal(x.stats.udp_datagrams_in, 9);
	assert_int_equal(x.stats.udp_dropped, 0);
	world_close(&x);
}

static void test_udp_without_segmentation(void **state)
{
	struct sim_datagram d;
	struct world x;

	(void)state;
	udp_world(&x);
	sim_no_segments(x.sim, -EIO);
	send_in(&x, 1, &local_a, "aaabbbcc", 3);
	settle(&x);
	expect_out(&x, "aaa", &d);
	expect_out(&x, "bbb", &d);
	expect_out(&x, "cc", &d);
	assert_int_equal(x.stats.udp_dropped, 0);
	world_close(&x);
}

static void test_udp_first_datagrams_wait_for_socket(void **state)
{
	struct sim_datagram d;
	struct world x;

	(void)state;
	world_open(&x, 1, 0);
	add_port(&x, PORT_UDP, 0);
	send_in(&x, 1, &local_a, "a", 0);
	send_in(&x, 1, &local_a, "b", 0);
	turn(&x);
	assert_false(sim_datagram_out(x.sim, &d));
	settle(&x);
	expect_out(&x, "a", &d);
	expect_out(&x, "b", &d);
	world_close(&x);
}

/* More new clients at once than there are receive buffers: none loses its first datagram, small or
 * large. */
static void many_first_datagrams(size_t len, uint16_t segment)
{
	static uint8_t data[4000];
	struct sockaddr_in from;
	struct sim_datagram d;
	struct world x;
	unsigned n = 0;

	world_open_with(&x, 1, 0, 1000);
	add_port(&x, PORT_UDP, 0);
	for (unsigned i = 0; i < 12; i++) {
		from = client_address(i);
		memset(data, 'a' + (int)i, len);
		assert_true(
			sim_datagram_in(x.sim, x.listener, &from, &local_a, data, len, segment));
		turn(&x);
	}
	settle(&x);
	for (unsigned i = 0; i < 12; i++)
		for (size_t at = 0; at < len; at += segment ? segment : len, n++) {
			assert_true(sim_datagram_out(x.sim, &d));
			assert_int_equal(d.len, segment ? segment : len);
			assert_int_equal(d.data[0], 'a' + (int)i);
			assert_int_equal(d.data[d.len - 1], 'a' + (int)i);
		}
	assert_false(sim_datagram_out(x.sim, &d));
	assert_int_equal(x.stats.udp_dropped, 0);
	assert_int_equal(x.stats.udp_datagrams_in, n);
	assert_int_equal(x.w->udp.store.free, UDP_BLOCKS);
	world_close(&x);
}

static void test_udp_many_first_datagrams(void **state)
{
	(void)state;
	many_first_datagrams(7, 0);
	many_first_datagrams(512, 0);
	many_first_datagrams(1500, 0);
	many_first_datagrams(4000, 1000);
}

static void test_udp_flows_expire(void **state)
{
	struct world x;

	(void)state;
	udp_world(&x);
	send_in(&x, 1, &local_a, "a", 0);
	send_in(&x, 2, &local_a, "b", 0);
	settle(&x);
	assert_int_equal(x.stats.udp_flows, 2);
	pass(&x, 60 * SECOND_NS);
	send_in(&x, 2, &local_a, "c", 0);
	settle(&x);
	assert_int_equal(x.stats.udp_flows, 2); /* neither has been idle for 90 s */
	pass(&x, 60000000000ull);
	assert_int_equal(x.stats.udp_flows, 1);
	assert_int_equal(x.stats.udp_expired, 1);
	pass(&x, 120000000000ull);
	assert_int_equal(x.stats.udp_flows, 0);
	assert_int_equal(sim_open_fds(x.sim), 1 + pooled(&x));
	world_close(&x);
}

static void test_udp_spoofed_sources_do_not_grow(void **state)
{
	struct sim_datagram d;
	struct world x;

	(void)state;
	udp_world(&x);
	for (unsigned i = 0; i < 500; i++) {
		send_in(&x, i, &local_a, "x", 0);
		turn(&x);
		feed_pools(&x);
		while (sim_datagram_out(x.sim, &d))
			;
	}
	settle(&x);
	assert_true(x.stats.udp_flows <= 16);
	assert_true(x.stats.udp_evicted >= 480);
	remove_port(&x);
	settle(&x);
	assert_int_equal(x.stats.udp_flows, 0);
	assert_int_equal(sim_open_fds(x.sim), pooled(&x));
	world_close(&x);
}

static void test_udp_buffers_run_out_and_come_back(void **state)
{
	struct sockaddr_in from = client_address(1);
	struct sim_datagram d;
	struct world x;
	unsigned taken = 0;

	(void)state;
	udp_world(&x);
	for (unsigned i = 0; i < 40; i++)
		taken += sim_datagram_in(x.sim, x.listener, &from, &local_a, "x", 1, 0);
	assert_int_equal(taken, 16);
	settle(&x);
	while (sim_datagram_out(x.sim, &d))
		;
	send_in(&x, 1, &local_a, "again", 0);
	settle(&x);
	expect_out(&x, "again", &d);
	world_close(&x);
}

/* Many clients and answers in any order: each datagram that arrives is one that was sent, whole, in
 * its order, on the flow of its client and from the address that was asked; each that does not has
 * been counted. */

#define UDP_CLIENTS 12

struct udp_mark {
	uint32_t client, seq;
};

struct udp_run {
	struct world x;
	int fd[UDP_CLIENTS]; /* of the flow; -1: none yet */
	uint32_t sent[UDP_CLIENTS], seen[UDP_CLIENTS], answered[UDP_CLIENTS];
	uint64_t in, out; /* datagrams that the kernel took */
};

static const struct in_addr *local_of(uint32_t client)
{
	return client % 2 ? &local_a : &local_b;
}

static void put_mark(uint8_t *at, size_t len, uint32_t client, uint32_t seq)
{
	struct udp_mark mark = {client, seq};

	memset(at, (int)(client + seq), len);
	memcpy(at, &mark, sizeof(mark));
}

static struct udp_mark check_mark(const struct sim_datagram *d)
{
	struct udp_mark mark;

	assert_true(d->len >= sizeof(mark));
	memcpy(&mark, d->data, sizeof(mark));
	assert_true(mark.client < UDP_CLIENTS);
	for (size_t i = sizeof(mark); i < d->len; i++)
		assert_int_equal(d->data[i], (uint8_t)(mark.client + mark.seq));
	return mark;
}

/* One datagram, or a run whose last one may be shorter. */
static void udp_send_run(struct udp_run *r)
{
	uint32_t client = sim_random(r->x.sim, UDP_CLIENTS), n = 1 + sim_random(r->x.sim, 4);
	size_t segment = sizeof(struct udp_mark) + sim_random(r->x.sim, 1000), len = 0;
	struct sockaddr_in from = client_address(client);
	uint8_t data[4096];

	if (sim_random(r->x.sim, 2))
		n = 1;
	for (uint32_t i = 0; i < n && len + segment <= sizeof(data); i++) {
		size_t one = segment;

		if (i + 1 == n && n > 1)
			one -= sim_random(r->x.sim,
					  (uint32_t)(segment - sizeof(struct udp_mark)) + 1);
		put_mark(data + len, one, client, ++r->sent[client]);
		len += one;
	}
	if (sim_datagram_in(r->x.sim, r->x.listener, &from, local_of(client), data, len,
			    len > segment ? (uint16_t)segment : 0))
		r->in += (len + segment - 1) / segment;
}

static void udp_at_server(struct udp_run *r, const struct sim_datagram *d)
{
	struct udp_mark mark = check_mark(d);

	if (r->fd[mark.client] < 0)
		r->fd[mark.client] = d->fd;
	assert_int_equal(d->fd, r->fd[mark.client]);
	assert_true(mark.seq > r->seen[mark.client]);
	r->seen[mark.client] = mark.seq;
	if (sim_random(r->x.sim, 2))
		r->out += sim_datagram_in(r->x.sim, d->fd, &d->to, &local_a, d->data, d->len, 0);
}

static void udp_at_client(struct udp_run *r, const struct sim_datagram *d)
{
	struct udp_mark mark = check_mark(d);

	assert_int_equal(ntohs(d->to.sin_port), 20000 + mark.client);
	assert_int_equal(d->from.sin_addr.s_addr, local_of(mark.client)->s_addr);
	assert_true(mark.seq > r->answered[mark.client]);
	r->answered[mark.client] = mark.seq;
}

static void udp_take(struct udp_run *r)
{
	struct sim_datagram d;

	while (sim_datagram_out(r->x.sim, &d)) {
		if (d.fd == r->x.listener)
			udp_at_client(r, &d);
		else
			udp_at_server(r, &d);
	}
}

static void run_udp(uint64_t seed, bool unused, unsigned faults)
{
	struct udp_run r = {.in = 0};
	const struct stats *stats = &r.x.stats;

	(void)unused;
	world_open(&r.x, seed, faults);
	for (unsigned i = 0; i < UDP_CLIENTS; i++)
		r.fd[i] = -1;
	add_port(&r.x, PORT_UDP, 0);
	for (unsigned step = 0; step < 5000; step++) {
		udp_send_run(&r);
		if (sim_random(r.x.sim, 300) == 0)
			sim_no_segments(r.x.sim, sim_random(r.x.sim, 2) ? -EIO : 0);
		if (sim_random(r.x.sim, 4) == 0)
			turn(&r.x);
		if (sim_random(r.x.sim, 8) == 0)
			feed_pools(&r.x);
		udp_take(&r);
	}
	for (int i = 0; i < 3; i++) {
		settle(&r.x);
		udp_take(&r);
	}
	assert_int_equal(stats->udp_flows, UDP_CLIENTS);
	assert_int_equal(r.x.w->udp.store.free, UDP_BLOCKS);
	assert_int_equal(stats->udp_datagrams_in + stats->udp_datagrams_out + stats->udp_dropped,
			 r.in + r.out);
	remove_port(&r.x);
	settle(&r.x);
	assert_int_equal(sim_in_flight(r.x.sim), WORLD_OPS);
	assert_int_equal(sim_open_fds(r.x.sim), pooled(&r.x));
	world_close(&r.x);
}

static void test_udp_datagrams_arrive_whole(void **state)
{
	(void)state;
	for_seeds(run_udp, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tcp_streams_arrive_whole),
		cmocka_unit_test(test_tcp_resets_leave_nothing),
		cmocka_unit_test(test_removal_closes_flows),
		cmocka_unit_test(test_refused_server_resets_client),
		cmocka_unit_test(test_rejected_by_icmp),
		cmocka_unit_test(test_second_target_is_tried),
		cmocka_unit_test(test_answer_before_reset_arrives),
		cmocka_unit_test(test_reset_while_blocked_is_passed_on),
		cmocka_unit_test(test_out_of_descriptors_pauses),
		cmocka_unit_test(test_descriptors_go_to_flows_under_way),
		cmocka_unit_test(test_full_table_lets_wait),
		cmocka_unit_test(test_idle_flow_holds_no_pipe),
		cmocka_unit_test(test_transparent_places),
		cmocka_unit_test(test_transparent_client_that_has_gone),
		cmocka_unit_test(test_transparent_gone_and_lost),
		cmocka_unit_test(test_transparent_waits_for_its_probe),
		cmocka_unit_test(test_transparent_port_is_taken),
		cmocka_unit_test(test_transparent_failures),
		cmocka_unit_test(test_transparent_refused),
		cmocka_unit_test(test_transparent_answer_is_lost),
		cmocka_unit_test(test_transparent_slow_server),
		cmocka_unit_test(test_transparent_removal),
		cmocka_unit_test(test_transparent_loses_no_connection),
		cmocka_unit_test(test_udp_answers_from_address_asked),
		cmocka_unit_test(test_udp_runs_and_batches),
		cmocka_unit_test(test_udp_without_segmentation),
		cmocka_unit_test(test_udp_first_datagrams_wait_for_socket),
		cmocka_unit_test(test_udp_many_first_datagrams),
		cmocka_unit_test(test_udp_flows_expire),
		cmocka_unit_test(test_udp_spoofed_sources_do_not_grow),
		cmocka_unit_test(test_udp_buffers_run_out_and_come_back),
		cmocka_unit_test(test_udp_datagrams_arrive_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
