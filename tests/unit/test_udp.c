/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <string.h>

#include "base/array.h"
#include "dataplane/dataplane.h"
#include "udp_world.h"

/* ICMP errors of a server are counted, and end nothing. */
static void test_errors_of_a_server(void **state)
{
	static const int errors[] = {-ECONNREFUSED, -EHOSTUNREACH, -ENETUNREACH, -EMSGSIZE,
				     -EPROTO};
	const unsigned n = ARRAY_SIZE(errors);
	struct world x;
	int fd;

	(void)state;
	udp_world_open(&x);
	fd = udp_flow_open(&x, 1);
	for (unsigned i = 0; i < n; i++) {
		assert_true(sim_datagram_error(x.sim, fd, errors[i]));
		settle(&x);
	}
	assert_int_equal(x.stats.udp_refused, n);
	assert_int_equal(x.ports[x.port_id % 8].errors, n);
	assert_true(udp_server_sends(&x, fd, "answer"));
	settle(&x);
	assert_int_equal(udp_expect_sent(&x, "answer"), x.listener);
	assert_int_equal(x.stats.udp_flows, 1);
	/* Any other error ends the flow, and the next datagram begins another. */
	assert_true(sim_datagram_error(x.sim, fd, -EIO));
	settle(&x);
	assert_int_equal(x.stats.udp_flows, 0);
	udp_flow_open(&x, 1);
	assert_int_equal(x.stats.udp_flows, 1);
	world_close(&x);
}

/* A send that fails with a refusal tells of an earlier datagram. Its own datagram is sent all the
 * same. */
static void test_refusal_reported_by_a_send(void **state)
{
	struct world x;

	(void)state;
	udp_world_open(&x);
	udp_flow_open(&x, 1);
	sim_fail_send(x.sim, -ECONNREFUSED);
	assert_true(udp_client_sends(&x, 1, "again", 0));
	settle(&x);
	udp_expect_sent(&x, "again");
	assert_int_equal(x.stats.udp_refused, 1);
	assert_int_equal(x.stats.udp_dropped, 0);
	/* Another error loses the datagram, which is counted. */
	sim_fail_send(x.sim, -ENOBUFS);
	assert_true(udp_client_sends(&x, 1, "lost", 0));
	settle(&x);
	udp_expect_nothing_sent(&x);
	assert_int_equal(x.stats.udp_dropped, 1);
	/* A datagram that was lost does not count as moved, neither alone nor in a run. */
	assert_int_equal(x.stats.udp_datagrams_in, 2);
	assert_int_equal(x.stats.udp_bytes_in, strlen("hello") + strlen("again"));
	sim_fail_send(x.sim, -ENOBUFS);
	assert_true(udp_client_sends(&x, 1, "aabbc", 2));
	settle(&x);
	assert_int_equal(x.stats.udp_dropped, 4);
	sim_no_segments(x.sim, -EIO);
	assert_true(udp_client_sends(&x, 1, "aabbc", 2));
	settle(&x);
	assert_int_equal(x.stats.udp_datagrams_in, 5);
	sim_fail_send(x.sim, -ENOBUFS); /* the first of three sends */
	assert_true(udp_client_sends(&x, 1, "aabbc", 2));
	settle(&x);
	assert_int_equal(x.stats.udp_datagrams_in, 7);
	assert_int_equal(x.stats.udp_dropped, 5);
	assert_int_equal(x.stats.udp_bytes_in, 10 + 5 + 3);
	assert_int_equal(x.ports[x.port_id % 8].bytes_in, 10 + 5 + 3);
	world_close(&x);
}

/* A flow that found no receive buffer receives again when there are some. */
static void test_flow_without_buffers(void **state)
{
	struct world x;
	unsigned taken = 0;
	int fd;

	(void)state;
	udp_world_open(&x);
	fd = udp_flow_open(&x, 1);
	while (udp_server_sends(&x, fd, "x"))
		taken++;
	assert_true(taken > 0);
	assert_false(udp_server_sends(&x, fd, "x")); /* nobody receives */
	settle(&x);
	for (unsigned i = 0; i < taken; i++)
		udp_expect_sent(&x, "x");
	assert_true(udp_server_sends(&x, fd, "y"));
	settle(&x);
	udp_expect_sent(&x, "y");
	world_close(&x);
}

/* A flow with a datagram in the batch ends in the same turn. The datagram leaves before that. */
static void test_ended_flow_has_sent(void **state)
{
	unsigned sent = 0;

	(void)state;
	/* The seed decides which of the events comes first. */
	for (uint64_t seed = 1; seed <= 8; seed++) {
		struct sim_datagram d;
		struct world x;

		world_open(&x, seed, 0);
		add_port(&x, PORT_UDP, 0);
		settle(&x);
		udp_flow_open(&x, 0);
		/* A flow with nothing in flight on its socket is gone at once. */
		if (seed % 2)
			assert_true(sim_datagram_error(x.sim, x.w->udp.flows[0].fd, -ENOBUFS));
		assert_true(udp_client_sends(&x, 0, "last words", 0));
		remove_port(&x);
		expect_answer(&x, x.port_id, x.seq, 0);
		assert_int_equal(x.stats.udp_flows, 0);
		sent += sim_datagram_out(x.sim, &d);
		world_close(&x);
	}
	assert_in_range(sent, 1, 8);
}

/* The table is full. A client that sends keeps its flow, whoever comes after it. */
static void test_live_flow_is_kept(void **state)
{
	struct world x;
	int fd, answers = 0;

	(void)state;
	udp_world_open(&x);
	fd = udp_flow_open(&x, 0);
	for (unsigned i = 1; i < 14; i++)
		udp_flow_open(&x, i);
	for (unsigned i = 0; i < 200; i++) {
		if (i % 20 < 10) {
			assert_true(udp_client_sends(&x, 0, "ping", 0));
			settle(&x);
			assert_int_equal(udp_expect_sent(&x, "ping"), fd);
		} else { /* datagrams of the other direction keep it, too */
			assert_true(udp_server_sends(&x, fd, "pong"));
			settle(&x);
			assert_int_equal(udp_expect_sent(&x, "pong"), x.listener);
			answers++;
		}
		udp_flow_open(&x, 100 + i);
	}
	assert_int_equal(answers, 100);
	assert_int_equal(x.stats.udp_evicted, 200);
	assert_int_equal(x.stats.udp_flows, 14);
	world_close(&x);
}

/* The port that has most of the flows gives up its own, and not those of others. */
static void test_busy_port_evicts_its_own(void **state)
{
	struct world x;
	int quiet, fd;

	(void)state;
	udp_world_open(&x);
	quiet = x.listener;
	fd = udp_flow_open(&x, 1);
	add_port(&x, PORT_UDP, 0);
	settle(&x);
	for (unsigned i = 0; i < 100; i++)
		udp_flow_open(&x, 100 + i);
	assert_true(x.stats.udp_evicted > 80);
	assert_true(udp_server_sends(&x, fd, "answer"));
	settle(&x);
	assert_int_equal(udp_expect_sent(&x, "answer"), quiet);
	world_close(&x);
}

/* More datagrams come in a turn than one message may have. */
static void test_many_segments(void **state)
{
	struct world x;

	(void)state;
	udp_world_open(&x);
	udp_flow_open(&x, 1);
	for (unsigned i = 0; i < 14; i++)
		assert_true(udp_client_sends(&x, 1, "aabbccddeeffgghh", 2));
	settle(&x);
	for (unsigned i = 0; i < 14; i++)
		for (const char *c = "abcdefgh"; *c; c++)
			udp_expect_sent(&x, (char[]){*c, *c, 0});
	udp_expect_nothing_sent(&x);
	world_close(&x);
}

/* Among others there are empty datagrams. Each arrives, and is counted. */
static void test_empty_datagrams(void **state)
{
	struct world x;
	int fd;

	(void)state;
	udp_world_open(&x);
	fd = udp_flow_open(&x, 1);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(udp_client_sends(&x, 1, "aa", 0));
		assert_true(udp_client_sends(&x, 1, "", 0));
		assert_true(udp_client_sends(&x, 1, "", 0));
	}
	settle(&x);
	for (unsigned i = 0; i < 4; i++) {
		udp_expect_sent(&x, "aa");
		udp_expect_sent(&x, "");
		udp_expect_sent(&x, "");
	}
	udp_expect_nothing_sent(&x);
	assert_int_equal(x.stats.udp_datagrams_in, 13);
	assert_true(udp_server_sends(&x, fd, "bb"));
	assert_true(udp_server_sends(&x, fd, ""));
	settle(&x);
	udp_expect_sent(&x, "bb");
	udp_expect_sent(&x, "");
	assert_int_equal(x.stats.udp_datagrams_out, 2);
	world_close(&x);
}

/* When the kernel has refused to segment for a flow, it is not asked again. */
static void test_no_segmentation_is_remembered(void **state)
{
	struct world x;

	(void)state;
	udp_world_open(&x);
	udp_flow_open(&x, 1);
	sim_no_segments(x.sim, -EIO);
	for (int i = 0; i < 3; i++) {
		assert_true(udp_client_sends(&x, 1, "aabb", 2));
		settle(&x);
		udp_expect_sent(&x, "aa");
		udp_expect_sent(&x, "bb");
	}
	assert_int_equal(sim_segments_refused(x.sim), 1);
	world_close(&x);
}

static void test_completion_of_an_earlier_flow(void **state)
{
	struct world x;
	uint32_t gen;

	(void)state;
	udp_world_open(&x);
	udp_flow_open(&x, 1);
	gen = x.w->udp.flows[0].gen;
	pass(&x, 120 * SECOND_NS);
	assert_int_equal(x.stats.udp_flows, 0);
	sim_inject(x.sim, handle_pack(HANDLE_UDP_FLOW, 1, gen, 0), -EIO);
	settle(&x);
	assert_int_equal(x.stats.stale_completions, 1);
	udp_flow_open(&x, 1);
	sim_inject(x.sim, handle_pack(HANDLE_UDP_FLOW, 1, gen, 0), -EIO);
	settle(&x);
	assert_int_equal(x.stats.stale_completions, 2);
	assert_int_equal(x.stats.udp_flows, 1);
	world_close(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors_of_a_server),
		cmocka_unit_test(test_refusal_reported_by_a_send),
		cmocka_unit_test(test_flow_without_buffers),
		cmocka_unit_test(test_ended_flow_has_sent),
		cmocka_unit_test(test_live_flow_is_kept),
		cmocka_unit_test(test_busy_port_evicts_its_own),
		cmocka_unit_test(test_many_segments),
		cmocka_unit_test(test_empty_datagrams),
		cmocka_unit_test(test_no_segmentation_is_remembered),
		cmocka_unit_test(test_completion_of_an_earlier_flow),
	};

	return WORLD_RUN_BOTH_FAMILIES(tests);
}
