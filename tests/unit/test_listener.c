/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <string.h>

#include "base/array.h"
#include "dataplane/dataplane.h"
#include "worker_world.h"

/* Ports of a worker: pausing, resuming, closing. */

/* A connection that has failed before it is accepted does not pause its port. */
static void test_failed_connections_pause_nothing(void **state)
{
	static const int errors[] = {-ECONNABORTED, -EPROTO, -ENETUNREACH, -EPERM};
	struct world x;

	(void)state;
	world_open(&x, 1, 0);
	add_port(&x, PORT_TCP, 0);
	settle(&x);
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		uint64_t start_ns = sim_now(x.sim);

		sim_fail_accept(x.sim, errors[i]);
		sim_client_connect(x.sim, x.listener);
		for (int k = 0; k < 5; k++)
			turn(&x);
		assert_int_equal(x.stats.tcp_connected, i + 1);
		assert_true(sim_now(x.sim) - start_ns < 10 * MS_NS);
	}
	assert_int_equal(x.stats.accept_paused, 0);
	world_close(&x);
}

/* Connections in the backlog are accepted as soon as a flow has ended, and not only when the pause
 * is over. */
static void test_ended_flow_ends_the_pause(void **state)
{
	int clients[14];
	struct world x;
	uint64_t accepted, start_ns;

	(void)state;
	world_open_with(&x, 1, 0, 34);
	add_port(&x, PORT_TCP, 0);
	settle(&x);
	for (int i = 0; i < 14; i++) {
		clients[i] = sim_client_connect(x.sim, x.listener);
		turn(&x);
		feed_pools(&x);
	}
	settle(&x);
	accepted = x.stats.tcp_accepted;
	assert_true(accepted < 14 && x.stats.accept_paused > 0);
	pass(&x, 101 * MS_NS); /* a new pause begins */
	start_ns = sim_now(x.sim);
	for (int i = 0; i < 4; i++)
		sim_far_reset(x.sim, clients[i]);
	for (int i = 0; i < 8; i++) {
		turn(&x);
		feed_pools(&x);
	}
	assert_true(x.stats.tcp_accepted > accepted);
	assert_true(sim_now(x.sim) - start_ns < 20 * MS_NS);
	world_close(&x);
}

/* A port that is removed while it is paused is closed like any other. */
static void test_paused_port_is_removed(void **state)
{
	struct world x;

	(void)state;
	world_open(&x, 1, 0);
	add_port(&x, PORT_TCP, 0);
	sim_set_exhausted(x.sim, true);
	sim_client_connect(x.sim, x.listener);
	settle(&x);
	assert_int_equal(x.stats.accept_paused, 1);
	remove_port(&x);
	expect_answer(&x, x.port_id, x.seq, 0);
	sim_set_exhausted(x.sim, false);
	pass(&x, SECOND_NS);
	assert_int_equal(x.stats.listeners, 0);
	assert_int_equal(sim_in_flight(x.sim), WORLD_OPS);
	world_close(&x);
}

/* A new port's counters start from 0, unless another socket of the port has begun to count. */
static void test_slot_of_an_earlier_port(void **state)
{
	struct dp_msg msg;
	struct world x;

	(void)state;
	world_open(&x, 1, 0);
	memset(&x.ports[3], 0x11, sizeof(x.ports[3]));
	msg = port_msg(&x, PORT_TCP, 0);
	msg.slot = 3;
	ask_add(&x, &msg, sim_listener(x.sim, AF_INET));
	expect_answer(&x, msg.port_id, x.seq, 0);
	assert_int_equal(x.ports[3].opened, 0);
	x.ports[3].opened = 5;
	msg = port_msg(&x, PORT_TCP, 0);
	msg.slot = 3;
	msg.slot_used = false;
	ask_add(&x, &msg, sim_listener(x.sim, AF_INET));
	expect_answer(&x, msg.port_id, x.seq, 0);
	assert_int_equal(x.ports[3].opened, 5);
	world_close(&x);
}

/* Completions for an earlier port of the slot are dropped, and their connection or buffer is given
 * back. */
static void test_completion_of_an_earlier_port(void **state)
{
	struct world x;
	uint32_t gen;
	int fd;

	(void)state;
	world_open(&x, 1, 0);
	add_port(&x, PORT_TCP, 0);
	gen = x.w->listeners.table[0].gen;
	remove_port(&x);
	expect_answer(&x, x.port_id, x.seq, 0);
	add_port(&x, PORT_TCP, 0);
	fd = sim_socket(x.sim, false);
	sim_inject(x.sim, handle_pack(HANDLE_ACCEPT, 0, gen, 0), fd);
	settle(&x);
	assert_int_equal(x.stats.stale_completions, 1);
	assert_int_equal(x.stats.tcp_accepted, 0);
	assert_int_equal(sim_open_fds(x.sim), 1 + pooled(&x));
	sim_client_connect(x.sim, x.listener);
	settle(&x);
	assert_int_equal(x.stats.tcp_connected, 1);
	world_close(&x);
}

/* Closing a port takes long, while the parent reads nothing and sends request after request. The
 * port keeps a place for its answer. */
static void test_slow_removal_keeps_its_place(void **state)
{
	struct dp_msg answer;
	struct world x;
	unsigned found = 0;

	(void)state;
	world_open(&x, 1, 0);
	add_port(&x, PORT_TCP, 0);
	settle(&x);
	sim_hold_cancelled(x.sim, true);
	sim_channel_room(x.sim, x.control, 0);
	remove_port(&x);
	turn(&x);
	/* The last bundle that is read fills the queue up to the port's place. */
	for (unsigned n = x.w->answers.max % DP_MSGS_MAX; !x.w->requests.waiting; n = DP_MSGS_MAX) {
		for (unsigned i = 0; i < n; i++)
			ask_remove(&x, 1000);
		turn(&x);
	}
	assert_in_range(x.w->answers.n, x.w->answers.max - DP_MSGS_MAX, x.w->answers.max - 1);
	sim_hold_cancelled(x.sim, false);
	settle(&x);
	for (int i = 0; i < 100; i++) {
		sim_channel_room(x.sim, x.control, 10);
		turn(&x);
		while (next_answer(&x, &answer))
			found += answer.port_id == x.port_id && answer.err == 0;
	}
	assert_int_equal(found, 1);
	world_close(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failed_connections_pause_nothing),
		cmocka_unit_test(test_ended_flow_ends_the_pause),
		cmocka_unit_test(test_paused_port_is_removed),
		cmocka_unit_test(test_slot_of_an_earlier_port),
		cmocka_unit_test(test_completion_of_an_earlier_port),
		cmocka_unit_test(test_slow_removal_keeps_its_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
