/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "dataplane/dataplane.h"
#include "ns/transparent.h"
#include "worker_world.h"

/* TCP through the worker, on the simulated kernel. A seed chooses the steps of a run
 * (world_for_seeds). */

#define CLIENTS_MAX 12
#define STREAM_MAX  60000

/* A TCP connection, as its two far ends see it. */
struct pair {
	int client, server; /* far ends; -1: there is none yet */
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

/* A flow's slot tells which far end its client was connected to. */
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
	draw_families(&x);
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

static void test_tcp_streams_arrive_whole(void **state)
{
	(void)state;
	world_for_seeds(run_tcp, false);
}

static void test_tcp_resets_leave_nothing(void **state)
{
	(void)state;
	world_for_seeds(run_tcp, true);
}

/* A removal under load closes everything, whatever is in flight. */
static void run_removal(uint64_t seed, bool resets, unsigned faults)
{
	struct pair p = {.client = -1, .server = -1};
	struct world x;

	(void)resets;
	world_open(&x, seed, faults);
	for (int round = 0; round < 10; round++) {
		int clients[8];

		draw_families(&x);
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
	world_for_seeds(run_removal, false);
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

/* A rule on this host refuses by ICMP while connect(2) is at work: the ring has seen no error. */
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

/* What a server sent before it reset the connection arrives, and then the reset. */
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

/* A client resets while its server reads nothing: what it had sent arrives, and then the reset. */
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
	assert_int_equal(x.stats.accept_paused, 1); /* it is counted once, not once a turn */
	sim_set_exhausted(x.sim, false);
	for (int i = 0; i < 4; i++) {
		pass(&x, 100000000);
	}
	assert_int_equal(x.stats.tcp_connected, 1);
	assert_false(sim_far_saw_reset(x.sim, client));
	world_close(&x);
}

/* Accepted connections must not take the descriptors that their other halves need. */
static void test_descriptors_go_to_flows_under_way(void **state)
{
	int clients[14];
	struct world x;

	(void)state;
	/* Room for the listener, 8 sockets in the pool, and 12 flows. */
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
	assert_int_equal(x.stats.accept_paused, 1); /* they wait in the backlog */
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
	/* The first port has its share, and the second the rest. */
	for (int port = 0; port < 2; port++) {
		add_port(&x, PORT_TCP, 0);
		for (int i = 0; i < 20; i++)
			sim_client_connect(x.sim, x.listener);
		settle(&x);
	}
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

int main(void)
{
	const struct CMUnitTest random[] = {
		cmocka_unit_test(test_tcp_streams_arrive_whole),
		cmocka_unit_test(test_tcp_resets_leave_nothing),
		cmocka_unit_test(test_removal_closes_flows),
	};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused_server_resets_client),
		cmocka_unit_test(test_rejected_by_icmp),
		cmocka_unit_test(test_second_target_is_tried),
		cmocka_unit_test(test_answer_before_reset_arrives),
		cmocka_unit_test(test_reset_while_blocked_is_passed_on),
		cmocka_unit_test(test_out_of_descriptors_pauses),
		cmocka_unit_test(test_descriptors_go_to_flows_under_way),
		cmocka_unit_test(test_full_table_lets_wait),
		cmocka_unit_test(test_idle_flow_holds_no_pipe),
	};

	return WORLD_RUN_BOTH_FAMILIES(tests) + cmocka_run_group_tests(random, NULL, NULL);
}
