/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "dataplane/worker/handover_counters.h"
#include "dataplane/worker/handover_record.h"
#include "ns/transparent.h"
#include "ports/route.h"
#include "worker_world.h"

/* Connections to servers that bear their client's address, on the simulated kernel. */

#define CLIENT	  0xc0000264u /* 192.0.2.100 */
#define CONTAINER 0xac110002u /* 172.17.0.2 */
#define BRIDGE	  0xac110001u
#define OWN	  0x0a000264u /* 10.0.2.100 */
#define EVERYTHING                                                                                 \
	(TRANSPARENT_BIT(TRANSPARENT_LOOPBACK, 0) | TRANSPARENT_BIT(TRANSPARENT_OWN, 0) |          \
	 TRANSPARENT_BIT(TRANSPARENT_BEHIND, 0))

/* The bits of IPv4, or those of IPv6 when the servers are there. */
static uint32_t in_family(const struct world *x, uint32_t works)
{
	return x->target_family == AF_INET6 ? works << 1 : works;
}

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

/* works: mask of what the namespace is prepared for (ns/transparent.h). */
static void transparent_world(struct world *x, uint32_t works, uint32_t target)
{
	world_open(x, 1, 0);
	x->w->config.transparent = in_family(x, works);
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

/* The worker's last connection was made for this client. It is bound to this address (0: to none),
 * with this port and mark. */
static void expect_bound(struct world *x, int client, uint32_t address, uint16_t port,
			 uint32_t mark)
{
	int server = sim_server_accept(x->sim);
	union sock_addr bound;
	uint32_t got_mark;

	assert_true(server >= 0);
	assert_false(sim_far_saw_reset(x->sim, client));
	bound = sim_bound(x->sim, server, &got_mark);
	assert_int_equal(sim_host_of(&bound), address);
	assert_int_equal(ntohs(bound.in4.sin_port), port);
	assert_int_equal(got_mark, mark);
}

static void expect_counts(const struct world *x, uint64_t transparent, uint64_t lost)
{
	assert_int_equal(x->stats.tcp_transparent, transparent);
	assert_int_equal(x->stats.tcp_transparent_lost, lost);
}

/* Where servers can be, and which address connections to them bear. */
static void test_transparent_places(void **state)
{
	static const struct {
		uint32_t (*routes)(uint32_t to);
		uint32_t works, target, client, bound, mark;
		bool counted; /* whether it counts as lost when it bears no address */
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

/* A client has sent, and reset its connection, before it was accepted. The server gets what was
 * sent, from the client's address. */
static void test_transparent_client_that_has_gone(void **state)
{
	union sock_addr bound;
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
	bound = sim_bound(x.sim, server, &mark);
	assert_int_equal(sim_host_of(&bound), CLIENT);
	expect_counts(&x, 1, 0);
	world_close(&x);
}

/* The same, where a connection with the client's address fails. The server gets nothing, since it
 * must not get it from another address. */
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

/* The worker asks the kernel for routes by a socket. Flows that come before it has that socket
 * wait. */
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

/* Whatever goes wrong with the client's address, the connection is made. */
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

/* A server that refuses does so with any address. So a refusal tells nothing about addresses. */
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

/* No answer comes back to the client's address. The connection is made without it after a second,
 * and those that follow at once. A while later one connection tries again. */
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
	expect_bound(&x, second, 0, 0, 0); /* while the other connection tries */
	assert_int_equal(x.stats.tcp_connected, 3);
	pass(&x, SECOND_NS);
	expect_bound(&x, first, 0, 0, 0);

	/* The pause doubles with each try that fails. */
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

/* On a port where the client's address has worked, one time-out does not stop the tries. */
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

/* A client whose connection gets no answer, which then waits for a second. */
static void lose_answer(struct world *x, uint32_t address)
{
	int client;

	sim_fail_bound(x->sim, -EINPROGRESS);
	client = client_from(x, address);
	settle(x);
	pass(x, 100 * MS_NS);
	pass(x, 900 * MS_NS);
	expect_bound(x, client, 0, 0, 0);
	sim_far_reset(x->sim, client);
	sim_fail_bound(x->sim, 0);
}

static void expect_at_once(struct world *x, uint32_t address, bool with_address)
{
	int client = client_from(x, address);

	settle(x);
	if (with_address)
		expect_bound(x, client, address, 40000, TRANSPARENT_MARK_LOOPBACK);
	else
		expect_bound(x, client, 0, 0, 0);
	sim_far_reset(x->sim, client);
	settle(x);
}

static uint32_t inner_networks(uint32_t to)
{
	return to >> 24 == 10 ? to & 0xffffff00u : to >> 24 == 0xac ? to : OWN;
}

static uint32_t inner_networks_alone(uint32_t to)
{
	return to == OWN || inner_networks(to) != OWN ? inner_networks(to) : 0;
}

/* Clients whose addresses are also in the namespace's own networks, or its own, and whose answers
 * go elsewhere: only such clients stop trying, and the port's others go on. */
static void test_transparent_inner_clients(void **state)
{
	static const struct {
		uint32_t (*routes)(uint32_t to);
		uint32_t first;
	} cases[] = {{inner_networks, BRIDGE},
		     {inner_networks, 0x0a010005u},
		     {inner_networks_alone, BRIDGE},
		     {inner_networks_alone, 0x0a010005u}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct world x;

		print_message("case %zu\n", i);
		transparent_world(&x, EVERYTHING, INADDR_LOOPBACK);
		sim_routes(x.sim, cases[i].routes);
		if (x.family == AF_INET6) { /* whose clients are all of one network */
			world_close(&x);
			continue;
		}
		for (uint32_t n = 0; n < 4; n++)
			lose_answer(&x, cases[i].first + (n << 8));
		/* All of them have stopped now. */
		expect_at_once(&x, cases[i].first + (5 << 8), false);
		expect_at_once(&x, CLIENT, true);
		expect_at_once(&x, cases[i].first + (6 << 8), false);
		expect_counts(&x, 1, 6);
		world_close(&x);
	}
}

/* Rules in the namespace shut a client out. The port goes on showing the others' addresses. Only
 * when clients of several networks have got no answer, all of the port's stop trying. */
static void test_transparent_client_that_is_shut_out(void **state)
{
	struct world x;

	(void)state;
	transparent_world(&x, EVERYTHING, INADDR_LOOPBACK);
	for (uint32_t n = 0; n < 6; n++) { /* of one network */
		lose_answer(&x, CLIENT + n);
		expect_at_once(&x, CLIENT + n, false);
	}
	expect_at_once(&x, CLIENT + 7, true);
	if (x.family == AF_INET) {
		for (uint32_t n = 1; n < 5; n++)
			lose_answer(&x, CLIENT + (n << 8));
		/* Three time-outs where it has worked before. */
		expect_at_once(&x, CLIENT + 8, true);
		for (uint32_t n = 1; n < 5; n++)
			for (unsigned i = 0; i < 3; i++)
				lose_answer(&x, CLIENT + (n << 8));
		expect_at_once(&x, CLIENT + 8, false);
	}
	world_close(&x);
}

/* What another data plane hands over may be forged. It does not stop the tries for ever. */
static void test_transparent_forged_pause(void **state)
{
	struct handover_port p = {.transparent_timeouts = 255,
				  .transparent_offs = 255,
				  .transparent_off_ns = UINT64_MAX,
				  .routed_off_ns = UINT64_MAX,
				  .udp_second_ns = UINT64_MAX};
	const struct listener *l;
	struct world x;
	int client;

	(void)state;
	transparent_world(&x, EVERYTHING, INADDR_LOOPBACK);
	settle(&x);
	p.port_id = x.port_id;
	handover_put_port(x.w, &p);
	l = listener_find(x.w, x.port_id);
	assert_true(l->tries[0].routed_off_ns <= x.w->now_ns + 64 * SECOND_NS);
	assert_true(l->udp_second_ns <= x.w->now_ns + 64 * SECOND_NS);
	for (unsigned round = 0; round < 2; round++) {
		pass(&x, 65 * SECOND_NS);
		sim_fail_bound(x.sim, -EINPROGRESS);
		client = client_from(&x, CLIENT);
		settle(&x);
		pass(&x, SECOND_NS);
		expect_bound(&x, client, 0, 0, 0);
	}
	pass(&x, 65 * SECOND_NS);
	sim_fail_bound(x.sim, 0);
	client = client_from(&x, CLIENT);
	settle(&x);
	expect_bound(&x, client, CLIENT, 40000, TRANSPARENT_MARK_LOOPBACK);
	world_close(&x);
}

/* A port is removed while flows of it wait for an answer to their client's address. */
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

/* Everything at once, as a seed decides. No connection is lost, and nothing is left behind. */
static void run_transparent(uint64_t seed, bool resets, unsigned faults)
{
	static const int errors[] = {0, 0, 0, -ECONNREFUSED, -EADDRNOTAVAIL, -EINPROGRESS};
	struct world x;
	unsigned n = 0;

	(void)resets;
	world_open(&x, seed, faults);
	draw_families(&x);
	x.target_family = x.family;
	x.w->config.transparent = in_family(&x, EVERYTHING);
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
	assert_int_equal(sim_open_fds(x.sim),
			 pooled(&x) + (x.w->probes.fd[0] >= 0) + (x.w->probes.fd[1] >= 0));
	world_close(&x);
}

static void test_transparent_loses_no_connection(void **state)
{
	(void)state;
	world_for_seeds(run_transparent, false);
}

int main(void)
{
	const struct CMUnitTest random[] = {
		cmocka_unit_test(test_transparent_loses_no_connection),
	};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transparent_places),
		cmocka_unit_test(test_transparent_client_that_has_gone),
		cmocka_unit_test(test_transparent_gone_and_lost),
		cmocka_unit_test(test_transparent_waits_for_its_probe),
		cmocka_unit_test(test_transparent_port_is_taken),
		cmocka_unit_test(test_transparent_failures),
		cmocka_unit_test(test_transparent_refused),
		cmocka_unit_test(test_transparent_answer_is_lost),
		cmocka_unit_test(test_transparent_slow_server),
		cmocka_unit_test(test_transparent_inner_clients),
		cmocka_unit_test(test_transparent_client_that_is_shut_out),
		cmocka_unit_test(test_transparent_forged_pause),
		cmocka_unit_test(test_transparent_removal),
	};

	return WORLD_RUN_BOTH_FAMILIES(tests) + cmocka_run_group_tests(random, NULL, NULL);
}
