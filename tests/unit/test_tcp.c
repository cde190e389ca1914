/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "dataplane/dataplane.h"
#include "dataplane/worker/times.h"
#include "worker_world.h"

/* TCP flows of a worker, one event at a time. test_worker.c has the random runs. */

struct flow {
	int client, server;
};

static struct flow flow_open(struct world *x)
{
	struct flow f = {.client = sim_client_connect(x->sim, x->listener)};

	settle(x);
	f.server = sim_server_accept(x->sim);
	assert_true(f.server >= 0);
	return f;
}

static void tcp_world(struct world *x, uint64_t seed)
{
	world_open(x, seed, 0);
	add_port(x, PORT_TCP, 0);
}

static void expect_read(struct world *x, int far, const char *text)
{
	char buf[64];
	size_t n = sim_far_read(x->sim, far, buf, sizeof(buf));

	assert_int_equal(n, strlen(text));
	assert_memory_equal(buf, text, n);
}

/* The client has sent everything and half-closes. The server still answers, and ends the flow. */
static void test_half_close_goes_through(void **state)
{
	struct flow f;
	struct world x;

	(void)state;
	tcp_world(&x, 1);
	f = flow_open(&x);
	sim_far_write(x.sim, f.client, "request", 7);
	sim_far_shutdown(x.sim, f.client);
	settle(&x);
	expect_read(&x, f.server, "request");
	assert_true(sim_far_saw_end(x.sim, f.server));
	assert_false(sim_far_saw_end(x.sim, f.client));
	assert_int_equal(x.stats.tcp_flows, 1);
	sim_far_write(x.sim, f.server, "answer", 6);
	sim_far_shutdown(x.sim, f.server);
	settle(&x);
	expect_read(&x, f.client, "answer");
	assert_true(sim_far_saw_end(x.sim, f.client));
	assert_false(sim_far_saw_reset(x.sim, f.client));
	assert_int_equal(x.stats.tcp_flows, 0);
	assert_int_equal(x.stats.tcp_closed, 1);
	world_close(&x);
}

/* A client that has half-closed goes. The silent server hears of it. */
static void test_reset_after_half_close(void **state)
{
	struct flow f;
	struct world x;

	(void)state;
	tcp_world(&x, 1);
	f = flow_open(&x);
	sim_far_shutdown(x.sim, f.client);
	settle(&x);
	assert_int_equal(x.stats.tcp_flows, 1);
	sim_far_reset(x.sim, f.client);
	settle(&x);
	assert_true(sim_far_saw_reset(x.sim, f.server));
	assert_int_equal(x.stats.tcp_flows, 0);
	assert_int_equal(x.stats.tcp_aborted, 1);
	world_close(&x);
}

static void test_bytes_are_counted_once(void **state)
{
	const struct port_stats *port;
	struct flow f;
	struct world x;

	(void)state;
	tcp_world(&x, 1);
	port = &x.ports[x.port_id % 8];
	f = flow_open(&x);
	sim_far_write(x.sim, f.client, "0123456789", 10);
	sim_far_write(x.sim, f.server, "abc", 3);
	settle(&x);
	assert_int_equal(x.stats.tcp_bytes_in, 10);
	assert_int_equal(x.stats.tcp_bytes_out, 3);
	assert_int_equal(port->bytes_in, 10);
	assert_int_equal(port->bytes_out, 3);
	assert_int_equal(port->flows, 1);
	assert_int_equal(port->opened, 1);
	sim_far_shutdown(x.sim, f.client);
	sim_far_shutdown(x.sim, f.server);
	settle(&x);
	assert_int_equal(port->flows, 0);
	assert_int_equal(port->opened, 1);
	world_close(&x);
}

/* A completion for an earlier flow of the slot is dropped and counted. */
static void test_completion_of_an_earlier_flow(void **state)
{
	static const enum handle_op ops[] = {HANDLE_TCP_READ, HANDLE_TCP_WRITE, HANDLE_TCP_WATCH,
					     HANDLE_TCP_CONNECT};
	struct flow f;
	struct world x;
	uint32_t gen;

	(void)state;
	tcp_world(&x, 1);
	f = flow_open(&x);
	gen = x.w->tcp.flows[0].gen;
	sim_far_shutdown(x.sim, f.client);
	sim_far_shutdown(x.sim, f.server);
	settle(&x);
	for (unsigned i = 0; i < 4; i++) /* a slot that is free */
		sim_inject(x.sim, handle_pack(ops[i], 1, gen, 0), 1);
	settle(&x);
	assert_int_equal(x.stats.stale_completions, 4);
	f = flow_open(&x);
	for (unsigned i = 0; i < 4; i++)
		sim_inject(x.sim, handle_pack(ops[i], 1, gen, 0), 1);
	settle(&x);
	assert_int_equal(x.stats.stale_completions, 8);
	sim_far_write(x.sim, f.client, "x", 1);
	settle(&x);
	expect_read(&x, f.server, "x");
	world_close(&x);
}

/* A port is removed while a connection waits for a socket, and then the sockets come. */
static void test_removal_while_waiting_for_socket(void **state)
{
	struct world x;
	int client;

	(void)state;
	tcp_world(&x, 1);
	x.no_sockets = true;
	client = sim_client_connect(x.sim, x.listener);
	settle(&x);
	assert_int_equal(x.stats.tcp_flows, 1);
	remove_port(&x);
	expect_answer(&x, x.port_id, x.seq, 0);
	assert_int_equal(x.stats.tcp_flows, 0);
	assert_true(sim_far_saw_reset(x.sim, client));
	x.no_sockets = false;
	pass(&x, 60 * SECOND_NS);
	assert_int_equal(x.w->supply.pools[POOL_TCP4].n, 0); /* no flow waits any more */
	add_port(&x, PORT_TCP, 0);
	flow_open(&x);
	assert_int_equal(x.stats.tcp_connected, 1);
	world_close(&x);
}

static void expect_times(const uint64_t *buckets, unsigned n, unsigned where, uint64_t count)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(buckets[i], i == where ? count : 0);
}

/* The time from accept until the connection inside stands. Some flows find a socket, the others
 * wait for 30 ms. */
static void test_connect_time(void **state)
{
	enum { FLOWS = 12 };
	uint64_t waited;
	struct world x;

	(void)state;
	tcp_world(&x, 1);
	settle(&x);
	x.no_sockets = true;
	for (unsigned i = 0; i < FLOWS; i++)
		assert_true(sim_client_connect(x.sim, x.listener) >= 0);
	while (x.stats.tcp_accepted < FLOWS)
		turn(&x);
	assert_in_range(x.stats.tcp_connected, 1, FLOWS - 1);
	waited = FLOWS - x.stats.tcp_connected;
	expect_times(x.stats.connect_time, STATS_CONNECT_BUCKETS, 0, x.stats.tcp_connected);
	memset(x.stats.connect_time, 0, sizeof(x.stats.connect_time));
	sim_stall(x.sim, 30 * MS_NS);
	x.no_sockets = false;
	settle(&x);
	assert_int_equal(x.stats.tcp_connected, FLOWS);
	expect_times(x.stats.connect_time, STATS_CONNECT_BUCKETS, 8, waited);
	assert_in_range(x.stats.connect_time_ns, waited * 30 * MS_NS, waited * 50 * MS_NS);
	world_close(&x);
}

/* The time from the handshake to accept, of one connection in sixteen. */
static void test_backlog_time(void **state)
{
	struct world x;

	(void)state;
	tcp_world(&x, 1);
	for (unsigned i = 0; i < 17; i++) {
		int client = sim_client_connect(x.sim, x.listener);

		assert_true(client >= 0);
		sim_stall(x.sim, 40 * MS_NS);
		settle(&x);
		expect_times(x.stats.backlog_time, STATS_BACKLOG_BUCKETS, 3, i < 16 ? 1 : 2);
		sim_far_reset(x.sim, client);
		settle(&x);
	}
	assert_in_range(x.stats.backlog_time_ns, 80 * MS_NS, 90 * MS_NS);
	world_close(&x);
}

/* A value that equals a bound is in that bound's bucket. One above all bounds is in the last
 * bucket. */
static void test_bounds_of_times(void **state)
{
	struct world x;

	(void)state;
	tcp_world(&x, 1);
	times_connected(x.w, 100000);
	times_connected(x.w, 100001);
	times_connected(x.w, 10 * SECOND_NS);
	times_connected(x.w, 10 * SECOND_NS + 1);
	assert_int_equal(x.stats.connect_time[0], 1);
	assert_int_equal(x.stats.connect_time[1], 1);
	assert_int_equal(x.stats.connect_time[15], 1);
	assert_int_equal(x.stats.connect_time[16], 1);
	assert_int_equal(x.stats.connect_time_ns, 20 * SECOND_NS + 200002);
	world_close(&x);
}

/* Many ports accept in the same turn, and take no more connections than there are descriptors for.
 */
static void test_budget_holds_within_a_turn(void **state)
{
	enum { PORTS = 6, FDS = 40 };
	int listeners[PORTS];
	struct world x;

	(void)state;
	world_open_with(&x, 1, 0, FDS);
	for (int i = 0; i < PORTS; i++) {
		add_port(&x, PORT_TCP, 0);
		listeners[i] = x.listener;
	}
	settle(&x);
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < PORTS; i++)
			sim_client_connect(x.sim, listeners[i]);
		for (int i = 0; i < 4; i++) {
			turn(&x);
			feed_pools(&x);
			assert_true(x.stats.listeners + 2 * x.stats.tcp_flows <= FDS);
			assert_true(sim_open_fds(x.sim) - 2 <= FDS);
		}
	}
	assert_true(x.stats.tcp_connected >= 8);
	world_close(&x);
}

/* Bulk data has an urgent byte in it. Splicing stops at the mark, and the flow must not. */
static void test_urgent_byte_in_bulk_data(void **state)
{
	enum { BYTES = 32768 };
	static uint8_t sent[2 * BYTES], got[2 * BYTES];
	struct flow f;
	struct world x;
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (uint8_t)(i * 7 + i / 256);
	tcp_world(&x, 2);
	f = flow_open(&x);
	assert_int_equal(sim_far_write(x.sim, f.client, sent, BYTES), BYTES);
	settle(&x);
	assert_true(x.w->tcp.flows[0].dir[0].bulk);
	for (int i = 0; i < 10 && n < BYTES; i++) {
		n += sim_far_read(x.sim, f.server, got + n, sizeof(got) - n);
		settle(&x);
	}
	assert_int_equal(n, BYTES);
	sim_far_urgent(x.sim, f.client);
	assert_int_equal(sim_far_write(x.sim, f.client, sent + BYTES, BYTES), BYTES);
	for (int i = 0; i < 10 && n < sizeof(got); i++) {
		settle(&x);
		n += sim_far_read(x.sim, f.server, got + n, sizeof(got) - n);
	}
	assert_int_equal(n, sizeof(got));
	assert_memory_equal(got, sent, sizeof(got));
	world_close(&x);
}

/* The servers read nothing. The worker holds no more pipes than it may. */
static void test_pipes_are_limited(void **state)
{
	static uint8_t much[4096];
	struct flow flows[8];
	struct world x;

	(void)state;
	tcp_world(&x, 1);
	for (int i = 0; i < 8; i++)
		flows[i] = flow_open(&x);
	for (int round = 0; round < 40; round++)
		for (int i = 0; i < 8; i++) {
			sim_far_write(x.sim, flows[i].client, much, sizeof(much));
			turn(&x);
			assert_true(x.stats.pipes_open <= 3);
		}
	assert_int_equal(x.stats.pipes_open, 3);
	world_close(&x);
}

/* No pipe can be had. The worker tries again once a second, and the bytes arrive all the same. */
static void test_flow_without_a_pipe(void **state)
{
	static uint8_t much[4096];
	size_t sent = 0, got = 0;
	struct flow other, f;
	struct world x;

	(void)state;
	tcp_world(&x, 1);
	other = flow_open(&x);
	f = flow_open(&x);
	for (int i = 0; i < 10; i++) { /* takes the only pipe */
		sim_far_write(x.sim, other.client, much, sizeof(much));
		turn(&x);
	}
	assert_int_equal(x.stats.pipes_open, 1);
	sim_set_exhausted(x.sim, true);
	for (int i = 0; i < 50; i++) {
		sent += sim_far_write(x.sim, f.client, much, sizeof(much));
		turn(&x);
		if (i % 5 == 0) {
			got += sim_far_read(x.sim, f.server, much, 1000);
			turn(&x);
		}
	}
	assert_int_equal(x.stats.pipes_refused, 1);
	for (int i = 0; i < 50; i++) {
		got += sim_far_read(x.sim, f.server, much, sizeof(much));
		turn(&x);
	}
	assert_int_equal(got, sent);
	assert_int_equal(x.stats.pipes_open, 1);
	sim_set_exhausted(x.sim, false);
	pass(&x, SECOND_NS);
	for (int i = 0; i < 10; i++) {
		sim_far_write(x.sim, f.client, much, sizeof(much));
		turn(&x);
	}
	assert_int_equal(x.stats.pipes_open, 2);
	world_close(&x);
}

/* Two flows could move bytes for ever. Each gets its share of a turn, and the worker does not
 * sleep. */
static void test_endless_flows_share(void **state)
{
	struct flow f[2];
	struct world x;
	uint64_t start_ns, before;

	(void)state;
	tcp_world(&x, 1);
	for (int i = 0; i < 2; i++)
		f[i] = flow_open(&x);
	for (int i = 0; i < 2; i++) {
		sim_far_flood(x.sim, f[i].client);
		sim_far_flood(x.sim, f[i].server);
	}
	for (int i = 0; i < 4; i++) /* until both flows count as bulk */
		turn(&x);
	start_ns = sim_now(x.sim);
	for (int i = 0; i < 10; i++) {
		before = x.stats.tcp_bytes_in;
		turn(&x);
		assert_in_range(x.stats.tcp_bytes_in - before, 2 * WORKER_FLOW_BUDGET,
				3 * WORKER_FLOW_BUDGET);
	}
	assert_int_equal(sim_now(x.sim), start_ns);
	world_close(&x);
}

/* A pool without a port empties, also when a probe was taken from it. */
static void test_pools_empty_without_ports(void **state)
{
	struct world x;

	(void)state;
	world_open(&x, 1, 0);
	x.w->config.transparent = UINT32_MAX;
	x.target = 0x0a000264;
	add_port(&x, PORT_TCP, 0);
	settle(&x);
	assert_true(x.w->probes.fd[0] >= 0);
	remove_port(&x);
	pass(&x, 60 * SECOND_NS);
	for (unsigned i = 0; i < POOLS; i++)
		assert_int_equal(x.w->supply.pools[i].n, 0);
	assert_int_equal(sim_open_fds(x.sim), 2 + 1);
	world_close(&x);
}

/* With --debug the log says of each flow who opened it, when it was connected, and why it ended. */
static void test_log_of_a_flow(void **state)
{
	static const char *const lines[] = {
		"worker 0: TCP flow 0.0: opened by 127.0.0.1:1, port 1",
		"worker 0: TCP flow 0.0: connected",
		"worker 0: TCP flow 0.0: closed: both sides have ended"};
	int saved = dup(2), file = memfd_create("log", MFD_CLOEXEC);
	char text[4096] = "";
	const char *at = text;
	struct flow f;
	struct world x;

	(void)state;
	assert_true(dup2(file, 2) == 2);
	log_init("dataplane", true);
	tcp_world(&x, 1);
	f = flow_open(&x);
	sim_far_shutdown(x.sim, f.client);
	sim_far_shutdown(x.sim, f.server);
	settle(&x);
	world_close(&x);
	log_init("dataplane", false);
	assert_true(dup2(saved, 2) == 2);
	assert_true(pread(file, text, sizeof(text) - 1, 0) > 0);
	for (unsigned i = 0; i < 3; i++) {
		at = strstr(at, lines[i]);
		assert_non_null(at);
	}
	close(file);
	close(saved);
}

/* A peer that owes an answer for five minutes counts as gone. One that answers does not, even late
 * and without room; and neither does one that was idle before. */
static void test_vanished_end(void **state)
{
	(void)state;
	for (unsigned side = 0; side < 2; side++) {
		int far[2];
		struct world x;
		uint64_t start_ns;

		world_open(&x, 1, 0);
		add_port(&x, PORT_TCP, 0);
		settle(&x);
		far[0] = sim_client_connect(x.sim, x.listener);
		settle(&x);
		far[1] = sim_server_accept(x.sim);
		assert_true(far[1] >= 0);
		start_ns = sim_now(x.sim);
		pass(&x, 1000 * SECOND_NS);
		sim_far_silent(x.sim, far[side], start_ns);
		pass(&x, 60 * SECOND_NS);
		assert_int_equal(x.stats.tcp_flows, 1);
		for (unsigned i = 0; i < 10; i++) { /* the kernel asks the peer, and it answers */
			sim_far_silent(x.sim, far[side], sim_now(x.sim));
			pass(&x, 110 * SECOND_NS);
		}
		sim_far_silent(x.sim, far[side], 0);
		pass(&x, 400 * SECOND_NS);
		assert_int_equal(x.stats.tcp_flows, 1);
		sim_far_silent(x.sim, far[side], sim_now(x.sim));
		pass(&x, 290 * SECOND_NS);
		assert_int_equal(x.stats.tcp_flows, 1);
		pass(&x, 70 * SECOND_NS);
		assert_int_equal(x.stats.tcp_flows, 0);
		assert_int_equal(x.stats.tcp_vanished, 1);
		assert_int_equal(x.stats.tcp_aborted, 1);
		assert_true(sim_far_saw_reset(x.sim, far[!side]));
		world_close(&x);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_half_close_goes_through),
		cmocka_unit_test(test_reset_after_half_close),
		cmocka_unit_test(test_bytes_are_counted_once),
		cmocka_unit_test(test_completion_of_an_earlier_flow),
		cmocka_unit_test(test_removal_while_waiting_for_socket),
		cmocka_unit_test(test_connect_time),
		cmocka_unit_test(test_backlog_time),
		cmocka_unit_test(test_bounds_of_times),
		cmocka_unit_test(test_budget_holds_within_a_turn),
		cmocka_unit_test(test_urgent_byte_in_bulk_data),
		cmocka_unit_test(test_pipes_are_limited),
		cmocka_unit_test(test_flow_without_a_pipe),
		cmocka_unit_test(test_endless_flows_share),
		cmocka_unit_test(test_pools_empty_without_ports),
		cmocka_unit_test(test_log_of_a_flow),
		cmocka_unit_test(test_vanished_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
