/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <string.h>

#include "base/array.h"
#include "udp_world.h"

/* The ports of the namespace that UDP flows take, and the shares of UDP and TCP. */

static void world_open_flows(struct world *x, uint64_t seed, unsigned fds_max, unsigned flows_max)
{
	struct worker_config config = {.tcp_flows_max = flows_max,
				       .udp_flows_max = flows_max,
				       .listeners_max = 8,
				       .pipes_max = 3,
				       .fds_max = fds_max,
				       .udp_timeout_ms = 90000,
				       .netns_cookie = SIM_NETNS};

	world_begin(x, seed, 0);
	world_start(x, &config);
}

/* The namespace has fewer ports than flows might have. A client may have to wait, and is served.
 * The kernel is not asked for a port again and again. */
static void test_no_port_in_the_namespace(void **state)
{
	struct world x;
	unsigned n = 0;
	struct sim_datagram d;

	(void)state;
	world_open_flows(&x, 1, 1000, 200);
	udp_ports_init(&x.udp_ports, 150, 1);
	add_port(&x, PORT_UDP, 0);
	sim_local_ports(x.sim, 100);
	for (unsigned i = 0; i < 1000; i++) {
		assert_true(udp_client_sends(&x, i, "hello", 0));
		if (i % 10 == 9)
			settle(&x);
		while (sim_datagram_out(x.sim, &d))
			n++;
	}
	pass(&x, SECOND_NS);
	while (sim_datagram_out(x.sim, &d))
		n++;
	assert_int_equal(x.stats.udp_no_port, sim_ports_refused(x.sim));
	assert_in_range(sim_ports_refused(x.sim), 1, 3);
	assert_in_range(x.w->udp.ports, 1, 64); /* the lowest limit there is */
	assert_int_equal(x.w->udp.ports, x.udp_ports.taken);
	assert_int_equal(n, 1000);
	/* The limit rises again. */
	sim_local_ports(x.sim, 0);
	for (unsigned i = 0; i < 10; i++) {
		pass(&x, 61 * SECOND_NS);
		for (unsigned k = 0; k < 150; k++)
			udp_flow_open(&x, 3000 + k);
	}
	assert_int_equal(x.udp_ports.limit, 150);
	assert_int_equal(x.w->udp.ports, 150);
	world_close(&x);
}

/* A flooded port has used up the ports of the namespace. That costs flows of other ports nothing,
 * however few are left and however old they are. */
static void test_few_ports_are_taken_from_the_busy(void **state)
{
	struct sim_datagram d;
	struct world x;
	int quiet, fd;

	(void)state;
	world_open_flows(&x, 1, 1000, 400);
	udp_ports_init(&x.udp_ports, 300, 1);
	add_port(&x, PORT_UDP, 0);
	settle(&x);
	quiet = x.listener;
	fd = udp_flow_open(&x, 1);
	add_port(&x, PORT_UDP, 0);
	settle(&x);
	for (unsigned i = 0; i < 90; i++)
		udp_flow_open(&x, 100 + i);
	sim_local_ports(x.sim, 100);
	for (unsigned i = 0; i < 600; i++) {
		assert_true(udp_client_sends(&x, 300 + i, "hello", 0));
		if (i % 8 == 7)
			settle(&x);
		while (sim_datagram_out(x.sim, &d))
			;
	}
	pass(&x, SECOND_NS);
	while (sim_datagram_out(x.sim, &d))
		;
	assert_in_range(x.w->udp.ports, 1, 99);
	assert_true(udp_server_sends(&x, fd, "answer"));
	settle(&x);
	assert_int_equal(udp_expect_sent(&x, "answer"), quiet);
	world_close(&x);
}

/* All workers together have a limit. A worker that has less than its share gets a port all the
 * same. */
static void test_ports_of_all_workers(void **state)
{
	struct world x;

	(void)state;
	world_open_flows(&x, 1, 1000, 200);
	udp_ports_init(&x.udp_ports, 100, 2);
	add_port(&x, PORT_UDP, 0);
	settle(&x);
	x.udp_ports.taken = 70; /* the other worker's */
	for (unsigned i = 0; i < 60; i++)
		udp_flow_open(&x, i);
	assert_int_equal(x.w->udp.ports, 50);
	x.udp_ports.taken = 50;
	for (unsigned i = 100; i < 200; i++)
		udp_flow_open(&x, i);
	assert_int_equal(x.w->udp.ports, 100);
	pass(&x, 100 * SECOND_NS);
	assert_int_equal(x.w->udp.ports, 0);
	assert_int_equal(x.udp_ports.taken, 0);
	world_close(&x);
}

/* TCP connections that do nothing take no flow from a UDP client. */
static void test_idle_connections_leave_a_share(void **state)
{
	struct world x;
	int udp, udp_port;

	(void)state;
	world_open_flows(&x, 1, 200, 400);
	add_port(&x, PORT_UDP, 0);
	udp = x.listener;
	udp_port = x.port_id;
	add_port(&x, PORT_TCP, 0);
	settle(&x);
	for (unsigned i = 0; i < 200; i++) {
		sim_client_connect(x.sim, x.listener);
		settle(&x);
	}
	assert_int_not_equal(x.stats.accept_paused, 0);
	assert_in_range(x.w->tcp.count, 30, 64); /* it would be 74 with UDP's share */
	x.listener = udp;
	for (unsigned round = 0; round < 5; round++)
		for (unsigned i = 0; i < 20; i++) {
			int fd = -1;

			assert_true(udp_client_sends(&x, i, "ask", 0));
			settle(&x);
			fd = udp_expect_sent(&x, "ask");
			assert_true(udp_server_sends(&x, fd, "answer"));
			settle(&x);
			assert_int_equal(udp_expect_sent(&x, "answer"), udp);
		}
	assert_int_equal(x.stats.udp_evicted, 0);
	assert_int_equal(x.ports[udp_port % 8].opened, 20);
	world_close(&x);
}

/* A flood of UDP clients leaves a share to TCP. */
static void test_flood_leaves_a_share(void **state)
{
	struct world x;

	(void)state;
	world_open_flows(&x, 1, 200, 400);
	add_port(&x, PORT_TCP, 0);
	add_port(&x, PORT_UDP, 0);
	settle(&x);
	for (unsigned i = 0; i < 400; i++)
		udp_flow_open(&x, i);
	assert_in_range(x.stats.udp_flows, 80, 150);
	remove_port(&x);
	expect_answer(&x, x.port_id, x.seq, 0);
	/* Without a TCP port UDP may have that share as well, but for the reserve. */
	ask_remove(&x, x.port_id - 1);
	expect_answer(&x, x.port_id - 1, x.seq, 0);
	add_port(&x, PORT_UDP, 0);
	settle(&x);
	for (unsigned i = 0; i < 400; i++)
		udp_flow_open(&x, i);
	assert_in_range(x.stats.udp_flows, 151, 190);
	world_close(&x);
}

/* Flows that came and went cost no descriptors. */
static void test_budget_comes_back(void **state)
{
	struct world x;

	(void)state;
	world_open_with(&x, 1, 0, 60);
	add_port(&x, PORT_UDP, 0);
	settle(&x);
	for (unsigned i = 0; i < 100; i++) {
		udp_flow_open(&x, i);
		pass(&x, 85 * SECOND_NS);
		assert_int_equal(x.stats.udp_flows, 1);
		pass(&x, 35 * SECOND_NS);
		assert_int_equal(x.stats.udp_flows, 0);
	}
	assert_int_equal(x.stats.udp_expired, 100);
	assert_int_equal(x.stats.udp_evicted, 0);
	world_close(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_port_in_the_namespace),
		cmocka_unit_test(test_few_ports_are_taken_from_the_busy),
		cmocka_unit_test(test_ports_of_all_workers),
		cmocka_unit_test(test_idle_connections_leave_a_share),
		cmocka_unit_test(test_flood_leaves_a_share),
		cmocka_unit_test(test_budget_comes_back),
	};

	return WORLD_RUN_BOTH_FAMILIES(tests);
}
