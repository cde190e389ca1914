/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <string.h>

#include "dataplane/dataplane.h"
#include "worker_world.h"

/* TCP flows on the simulated kernel: overload, slow and hostile peers, and what time brings. */

static uint8_t much[200000];

static void tcp_world(struct world *x)
{
	world_open(x, 1, 0);
	add_port(x, PORT_TCP, 0);
	settle(x);
}

/* Opens a flow. Returns the client's far end, and puts the server's into *server. */
static int open_flow(struct world *x, int *server)
{
	int client = sim_client_connect(x->sim, x->listener);

	settle(x);
	*server = sim_server_accept(x->sim);
	assert_true(*server >= 0);
	return client;
}

/* A server answers and then resets, since it does not read the whole request. When the reset comes,
 * the answer is still in our send queue. It must not be thrown away. */
static void test_answer_reaches_a_slow_client(void **state)
{
	uint8_t buf[9];
	struct world x;
	int client, server;

	(void)state;
	tcp_world(&x);
	client = open_flow(&x, &server);
	assert_int_equal(sim_far_write(x.sim, server, "too large", 9), 9);
	sim_far_reset(x.sim, server);
	pass(&x, 59 * SECOND_NS);
	assert_false(sim_far_saw_reset(x.sim, client));
	assert_int_equal(sim_far_read(x.sim, client, buf, 4), 4);
	pass(&x, 59 * SECOND_NS); /* some bytes are read */
	assert_int_equal(sim_far_read(x.sim, client, buf + 4, 5), 5);
	assert_memory_equal(buf, "too large", 9);
	pass(&x, 100 * MS_NS);
	assert_true(sim_far_saw_reset(x.sim, client));
	assert_int_equal(x.stats.tcp_flows, 0);
	world_close(&x);
}

/* A client that never reads its answer, or that goes, does not keep the flow for ever. */
static void test_answer_to_a_dead_client(void **state)
{
	struct world x;
	int client, server;

	(void)state;
	tcp_world(&x);
	for (int gone = 0; gone < 2; gone++) {
		client = open_flow(&x, &server);
		sim_far_write(x.sim, server, "too large", 9);
		sim_far_reset(x.sim, server);
		settle(&x);
		assert_int_equal(x.stats.tcp_flows, 1);
		if (gone)
			sim_far_reset(x.sim, client);
		pass(&x, gone ? 100 * MS_NS : 61 * SECOND_NS);
		assert_int_equal(x.stats.tcp_flows, 0);
	}
	world_close(&x);
}

/* A port is removed while an answer is on its way. */
static void test_removal_while_draining(void **state)
{
	struct world x;
	int server;

	(void)state;
	tcp_world(&x);
	open_flow(&x, &server);
	sim_far_write(x.sim, server, "too large", 9);
	sim_far_reset(x.sim, server);
	settle(&x);
	remove_port(&x);
	expect_answer(&x, x.port_id, x.seq, 0);
	assert_int_equal(x.w->tcp.n_timers, 0);
	world_close(&x);
}

/* A server that does not listen yet gets the connection a moment later, and what was sent on it. */
static void test_server_that_listens_soon(void **state)
{
	uint8_t buf[5];
	struct world x;
	int client, server;

	(void)state;
	tcp_world(&x);
	sim_refuse_port(x.sim, 80);
	client = sim_client_connect(x.sim, x.listener);
	sim_far_write(x.sim, client, "hello", 5);
	pass(&x, 60 * MS_NS);
	assert_false(sim_far_saw_reset(x.sim, client));
	assert_true(x.stats.tcp_retried >= 3);
	sim_refuse_port(x.sim, 0);
	pass(&x, 60 * MS_NS);
	server = sim_server_accept(x.sim);
	assert_true(server >= 0);
	assert_int_equal(sim_far_read(x.sim, server, buf, 5), 5);
	assert_int_equal(x.stats.tcp_refused, 0);
	assert_int_equal(x.stats.tcp_connected, 1);
	world_close(&x);
}

/* A server that never listens is tried ten times, and its client waits for a quarter of a second at
 * most. */
static void test_server_that_stays_away(void **state)
{
	struct world x;
	int client;

	(void)state;
	tcp_world(&x);
	sim_refuse_port(x.sim, 80);
	client = sim_client_connect(x.sim, x.listener);
	pass(&x, 250 * MS_NS);
	assert_true(sim_far_saw_reset(x.sim, client));
	assert_int_equal(x.stats.tcp_retried, 9);
	assert_int_equal(x.stats.tcp_refused, 1);
	assert_int_equal(x.w->tcp.n_timers, 0);
	assert_int_equal(x.w->tcp.retrying, 0);
	world_close(&x);
}

/* There is no memory for a connection, for a moment. */
static void test_connect_without_memory(void **state)
{
	struct world x;
	int client;

	(void)state;
	tcp_world(&x);
	sim_refuse_port_with(x.sim, 80, -ENOBUFS);
	client = sim_client_connect(x.sim, x.listener);
	pass(&x, 20 * MS_NS);
	assert_false(sim_far_saw_reset(x.sim, client));
	sim_refuse_port(x.sim, 0);
	pass(&x, 60 * MS_NS);
	assert_int_equal(x.stats.tcp_connected, 1);
	world_close(&x);
}

/* Each try asks both targets. */
static void test_second_target_listens_soon(void **state)
{
	struct world x;

	(void)state;
	world_open(&x, 1, 0);
	add_port(&x, PORT_TCP, 81);
	sim_refuse_port(x.sim, 80);
	sim_silent_port(x.sim, 0);
	sim_client_connect(x.sim, x.listener);
	settle(&x);
	assert_int_equal(x.stats.tcp_connected, 1);
	assert_int_equal(x.stats.tcp_retried, 0);
	world_close(&x);
}

/* The namespace has no free port for the connection. The client waits until there is one. */
static void test_no_port_is_free(void **state)
{
	struct world x;
	int client;

	(void)state;
	tcp_world(&x);
	sim_refuse_port_with(x.sim, 80, -EADDRNOTAVAIL);
	client = sim_client_connect(x.sim, x.listener);
	pass(&x, 10 * SECOND_NS);
	assert_false(sim_far_saw_reset(x.sim, client));
	assert_true(x.stats.tcp_no_port > 100);
	sim_refuse_port(x.sim, 0);
	pass(&x, 100 * MS_NS);
	assert_int_equal(x.stats.tcp_connected, 1);
	world_close(&x);
}

/* Clients go while their connect is under way, and their flows end at once. A client that has only
 * half-closed keeps its flow. In the end all flows end. */
static void test_clients_of_a_server_that_hangs(void **state)
{
	struct world x;
	int clients[6];

	(void)state;
	tcp_world(&x);
	sim_silent_port(x.sim, 80);
	for (int i = 0; i < 6; i++)
		clients[i] = sim_client_connect(x.sim, x.listener);
	pass(&x, 200 * MS_NS);
	assert_int_equal(x.stats.tcp_flows, 6);
	for (int i = 0; i < 3; i++)
		sim_far_reset(x.sim, clients[i]);
	sim_far_shutdown(x.sim, clients[3]);
	pass(&x, 100 * MS_NS);
	assert_int_equal(x.stats.tcp_flows, 3);
	pass(&x, 31 * SECOND_NS);
	assert_int_equal(x.stats.tcp_flows, 0);
	assert_int_equal(x.stats.tcp_timed_out, 3);
	assert_true(sim_far_saw_reset(x.sim, clients[3]));
	assert_int_equal(x.w->tcp.n_timers, 0);
	world_close(&x);
}

/* The same while the broker has no sockets for the flows. */
static void test_clients_that_wait_for_a_socket(void **state)
{
	struct world x;
	int clients[12];

	(void)state;
	tcp_world(&x);
	x.no_sockets = true;
	for (int i = 0; i < 12; i++)
		clients[i] = sim_client_connect(x.sim, x.listener);
	pass(&x, 200 * MS_NS);
	assert_int_equal(x.stats.tcp_flows, 12);
	for (int i = 0; i < 12; i++)
		sim_far_reset(x.sim, clients[i]);
	pass(&x, 100 * MS_NS);
	assert_int_equal(x.stats.tcp_flows, 0);
	world_close(&x);
}

/* Many connections come at once, to several ports, and there are few descriptors. Those without
 * room wait in the backlog, and none is reset. */
static void test_burst_past_the_descriptors(void **state)
{
	struct world x;
	int listeners[4], clients[24];

	(void)state;
	world_open_with(&x, 1, 0, 40);
	for (int i = 0; i < 4; i++) {
		add_port(&x, PORT_TCP, 0);
		listeners[i] = x.listener;
	}
	settle(&x);
	for (int i = 0; i < 24; i++)
		clients[i] = sim_client_connect(x.sim, listeners[i % 4]);
	for (int round = 0; round < 100; round++) {
		pass(&x, 200 * MS_NS);
		for (unsigned i = 0; i < x.w->tcp.used; i++)
			if (x.w->tcp.flows[i].state == TCP_FLOW_OPEN)
				sim_far_shutdown(x.sim, sim_far_of(x.w->tcp.flows[i].fd[1]));
		for (int i = 0; i < 24; i++)
			if (round > i)
				sim_far_shutdown(x.sim, clients[i]);
		assert_true(sim_open_fds(x.sim) <= 40 + 2);
	}
	for (int i = 0; i < 24; i++)
		assert_false(sim_far_saw_reset(x.sim, clients[i]));
	assert_int_equal(x.stats.tcp_connected, 24);
	assert_int_equal(x.stats.tcp_flows, 0);
	world_close(&x);
}

/* The clients of a port take all connections that they get. Some are left to another port, whose
 * clients are served at once. None is reset, and the first port goes on when it has room. */
static void test_flooded_port_leaves_some(void **state)
{
	int clients[20], flooded, others[2];
	struct world x;

	(void)state;
	world_open(&x, 1, 0); /* with 16 connections */
	add_port(&x, PORT_TCP, 0);
	flooded = x.listener;
	add_port(&x, PORT_TCP, 0);
	settle(&x);
	for (int i = 0; i < 20; i++)
		clients[i] = sim_client_connect(x.sim, flooded);
	settle(&x);
	assert_int_equal(x.stats.tcp_flows, 14);
	for (int i = 0; i < 2; i++) {
		others[i] = sim_client_connect(x.sim, x.listener);
		turn(&x);
		turn(&x);
		assert_int_equal(x.stats.tcp_accepted, 15 + i);
	}
	settle(&x);
	assert_int_equal(x.stats.tcp_connected, 16);
	/* A connection that another port gives back is not for this port. */
	for (int i = 0; i < 2; i++)
		sim_far_reset(x.sim, others[i]);
	pass(&x, SECOND_NS);
	assert_int_equal(x.stats.tcp_flows, 14);
	assert_in_range(x.stats.accept_paused, 1, 2); /* the other port took the last connection */
	for (int i = 0; i < 3; i++)
		sim_far_reset(x.sim, clients[i]);
	settle(&x);
	assert_int_equal(x.stats.tcp_accepted, 19);
	assert_int_equal(x.stats.tcp_flows, 14);
	for (int i = 3; i < 20; i++) {
		assert_false(sim_far_saw_reset(x.sim, clients[i]));
		sim_far_reset(x.sim, clients[i]);
	}
	pass(&x, SECOND_NS);
	assert_int_equal(x.stats.tcp_flows, 0);
	/* Connections that have ended do not count. */
	for (int i = 0; i < 20; i++)
		sim_client_connect(x.sim, flooded);
	settle(&x);
	assert_int_equal(x.stats.tcp_flows, 14);
	world_close(&x);
}

/* The same with all ports but one flooded. */
static void test_flooded_ports_leave_some(void **state)
{
	struct worker_config config = {.tcp_flows_max = 60,
				       .udp_flows_max = 16,
				       .listeners_max = 8,
				       .pipes_max = 3,
				       .fds_max = 1000,
				       .udp_timeout_ms = 90000,
				       .netns_cookie = SIM_NETNS};
	struct world x;
	int flooded[7];

	(void)state;
	world_begin(&x, 1, 0);
	world_start(&x, &config);
	for (int i = 0; i < 7; i++) {
		add_port(&x, PORT_TCP, 0);
		flooded[i] = x.listener;
	}
	add_port(&x, PORT_TCP, 0);
	settle(&x);
	for (int n = 0; n < 12; n++)
		for (int i = 0; i < 7; i++)
			sim_client_connect(x.sim, flooded[i]);
	pass(&x, SECOND_NS);
	assert_in_range(x.stats.tcp_flows, 55, 59);
	for (int i = 0; i < 7; i++) /* no port gets much more than another */
		assert_in_range(x.w->listeners.table[i].n_flows, 7, 9);
	sim_client_connect(x.sim, x.listener);
	settle(&x);
	assert_int_equal(x.w->listeners.table[7].n_flows, 1);
	world_close(&x);
}

/* The last descriptors are kept for what existing flows may need. */
static void test_reserve_is_kept(void **state)
{
	struct world x;
	unsigned held;

	(void)state;
	world_open_with(&x, 1, 0, 36);
	add_port(&x, PORT_TCP, 0);
	settle(&x);
	held = x.w->listeners.count + sockpool_hold(&x.w->supply.pools[POOL_TCP4]);
	assert_in_range(held + 2 * budget_connections(x.w), 30, 36 - 36 / 16);
	world_close(&x);
}

/* However many bytes could be moved, a turn takes no longer than its share and one flow's budget.
 */
static void test_bulk_leaves_room_in_each_turn(void **state)
{
	struct world x;
	int clients[10], servers[10];
	uint64_t start_ns, longest_ns = 0;

	(void)state;
	tcp_world(&x);
	for (int i = 0; i < 10; i++)
		clients[i] = open_flow(&x, &servers[i]);
	sim_large_sockets(x.sim);
	sim_splice_takes(x.sim, MS_NS / 2);
	for (int n = 0; n < 1000; n++) {
		for (int i = 0; i < 10; i++) {
			while (sim_far_write(x.sim, clients[i], much, sizeof(much)) > 0)
				;
			while (sim_far_read(x.sim, servers[i], much, sizeof(much)) > 0)
				;
		}
		start_ns = sim_now(x.sim);
		turn(&x);
		if (sim_now(x.sim) - start_ns > longest_ns)
			longest_ns = sim_now(x.sim) - start_ns;
	}
	assert_true(x.stats.tcp_bytes_in > 1000000);
	/* The last pump may begin just before the share is used up. */
	assert_in_range(longest_ns, MS_NS / 2, MS_NS * 3);
	for (int i = 0; i < 10; i++)
		assert_true(x.w->tcp.flows[i].listener->stats->bytes_in > 0);
	world_close(&x);
}

/* Clients that stop reading keep half of the pipes at most, once others have shown that they read.
 */
static void test_stalled_transfers_leave_pipes(void **state)
{
	struct world x;
	int clients[6], servers[6];

	(void)state;
	tcp_world(&x);
	sim_large_sockets(x.sim);
	for (int i = 0; i < 6; i++)
		clients[i] = open_flow(&x, &servers[i]);
	for (int round = 0; round < 6; round++) {
		for (int n = 0; n < 50; n++) {
			sim_far_write(x.sim, servers[round], much, sizeof(much));
			turn(&x);
		}
		pass(&x, 2 * SECOND_NS);
		assert_in_range(x.w->pipes.stalled, 1, x.w->pipes.max - 1);
	}
	for (int n = 0; n < 300; n++) {
		for (int i = 0; i < 6; i++)
			while (sim_far_read(x.sim, clients[i], much, sizeof(much)) > 0)
				;
		turn(&x);
	}
	assert_int_equal(x.w->pipes.stalled, 0);
	world_close(&x);
}

/* The heap of timers, compared with the simplest way to find the earliest one. */
static void test_timers(void **state)
{
	struct world x;
	uint64_t at[16] = {0};

	(void)state;
	world_open(&x, 7, 0);
	for (int n = 0; n < 20000; n++) {
		unsigned i = sim_random(x.sim, 16);
		uint64_t first = UINT64_MAX;

		if (sim_random(x.sim, 3)) {
			at[i] = 1 + sim_random(x.sim, 1000);
			tcp_timer_set(x.w, &x.w->tcp.flows[i], at[i]);
		} else {
			at[i] = 0;
			tcp_timer_clear(x.w, &x.w->tcp.flows[i]);
		}
		for (int k = 0; k < 16; k++)
			if (at[k] && at[k] < first)
				first = at[k];
		assert_true(tcp_timer_next(x.w) == first);
		if (first != UINT64_MAX && sim_random(x.sim, 4) == 0) {
			struct tcp_flow *f;

			x.w->now_ns = first;
			f = tcp_timer_expired(x.w);
			assert_true(f && at[f - x.w->tcp.flows] == first);
			at[f - x.w->tcp.flows] = 0;
		}
	}
	for (unsigned i = 0; i < 16; i++)
		tcp_timer_clear(x.w, &x.w->tcp.flows[i]);
	assert_true(tcp_timer_next(x.w) == UINT64_MAX);
	world_close(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answer_reaches_a_slow_client),
		cmocka_unit_test(test_answer_to_a_dead_client),
		cmocka_unit_test(test_removal_while_draining),
		cmocka_unit_test(test_server_that_listens_soon),
		cmocka_unit_test(test_server_that_stays_away),
		cmocka_unit_test(test_connect_without_memory),
		cmocka_unit_test(test_second_target_listens_soon),
		cmocka_unit_test(test_no_port_is_free),
		cmocka_unit_test(test_clients_of_a_server_that_hangs),
		cmocka_unit_test(test_clients_that_wait_for_a_socket),
		cmocka_unit_test(test_burst_past_the_descriptors),
		cmocka_unit_test(test_flooded_port_leaves_some),
		cmocka_unit_test(test_flooded_ports_leave_some),
		cmocka_unit_test(test_reserve_is_kept),
		cmocka_unit_test(test_bulk_leaves_room_in_each_turn),
		cmocka_unit_test(test_stalled_transfers_leave_pipes),
		cmocka_unit_test(test_timers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
