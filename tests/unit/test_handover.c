/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <string.h>

#include "handover_world.h"
#include "ports/route.h"

/*
 * Hand-over: two workers on one simulated kernel. Flows transfer bytes and are in every state when
 * the hand-over begins, which ends or is given up at any moment.
 */

#define FLOWS 6

static void open_flows(struct world *x, struct streams *flows, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct streams *f = &flows[i];

		f->client = sim_client_connect(x->sim, x->listener);
		do {
			turn(x);
			feed_pools(x);
			f->server = sim_server_accept(x->sim);
		} while (f->server < 0);
		streams_begin(x, f, i);
	}
}

/* A hand-over that begins at any moment, and is completed or given up. */
static void hand_over(struct world *x, struct streams *flows, unsigned n, struct dp_msg msg,
		      struct other *o)
{
	/* 0: it is completed. */
	unsigned give_up_after = sim_random(x->sim, 3) ? 0 : 1 + sim_random(x->sim, 30);
	bool gave = false, took = false;
	struct dp_msg answer;

	begin_other(x, o, NULL);
	offer(x, o, msg, x->listener);
	begin_move(x, o);
	for (unsigned i = 1; !(gave && took); i++) {
		assert_true(i < 100000);
		if (give_up_after && i == give_up_after) {
			give_up(x, o);
			return;
		}
		traffic(x, flows, n, false);
		step(x, o);
		gave |= moved(x, x->control, &answer);
		if (moved(x, o->control, &answer)) {
			took = true;
			assert_int_equal(answer.lost, 0);
		}
	}
	commit(x, o);
}

/* How often flows pass to another worker in a run. */
#define MOVES 6

static void run_transfers(uint64_t seed)
{
	struct streams flows[FLOWS];
	struct other others[MOVES]; /* a worker's counters are in one of these */
	struct dp_msg msg;
	struct world x;

	open_world(&x, seed, PORT_TCP, &msg);
	open_flows(&x, flows, FLOWS);
	for (unsigned i = 0; i < MOVES; i++) {
		bool slow = sim_random(x.sim, 2);

		for (unsigned k = sim_random(x.sim, 60); k > 0; k--) {
			traffic(&x, flows, FLOWS, slow);
			turn(&x);
			feed_pools(&x);
		}
		hand_over(&x, flows, FLOWS, msg, &others[i]);
		assert_true(x.w->stats->tcp_flows <= FLOWS);
	}
	for (unsigned i = 0; !all_done(&x, flows, FLOWS); i++) {
		assert_true(i < 100000);
		traffic(&x, flows, FLOWS, false);
		turn(&x);
		feed_pools(&x);
	}
	settle(&x);
	assert_int_equal(x.w->stats->tcp_accepted, FLOWS);
	assert_int_equal(x.w->stats->tcp_flows, 0);
	assert_int_equal(x.w->stats->tcp_closed, FLOWS);
	assert_int_equal(x.w->config.port_stats[msg.slot].opened, FLOWS);
	assert_int_equal(x.w->config.port_stats[msg.slot].flows, 0);
	assert_int_equal(x.w->pipes.n_open, x.w->pipes.n_free);
	world_close(&x);
}

static void test_transfers(void **state)
{
	(void)state;
	world_for_each_seed(run_transfers);
}

/* Flows that are not open yet: they wait for a socket, connect, or are refused and try again. Some
 * of their clients go meanwhile. None is lost, and none stays. */
static void run_beginnings(uint64_t seed)
{
	struct other others[MOVES];
	int clients[FLOWS];
	struct dp_msg msg;
	struct world x;
	bool went[MOVES];
	unsigned served = 0;

	open_world(&x, seed, PORT_TCP, &msg);
	for (unsigned i = 0; i < MOVES; i++) {
		x.no_sockets = sim_random(x.sim, 3) == 0;
		sim_refuse_port(x.sim, sim_random(x.sim, 3) ? 0 : 80);
		clients[i] = sim_client_connect(x.sim, x.listener);
		for (unsigned k = sim_random(x.sim, 8); k > 0; k--)
			turn(&x);
		went[i] = sim_random(x.sim, 6) == 0;
		if (went[i])
			sim_far_reset(x.sim, clients[i]);
		hand_over(&x, NULL, 0, msg, &others[i]);
	}
	x.no_sockets = false;
	sim_refuse_port(x.sim, 0);
	pass(&x, SECOND_NS);
	for (unsigned i = 0; i < MOVES; i++) {
		bool over = went[i] || sim_far_saw_reset(x.sim, clients[i]);

		served += !over;
		if (!over)
			sim_far_reset(x.sim, clients[i]);
	}
	assert_in_range(x.w->stats->tcp_connected, served, MOVES);
	pass(&x, SECOND_NS);
	assert_int_equal(x.w->stats->tcp_accepted, MOVES);
	assert_int_equal(x.w->stats->tcp_flows, 0);
	assert_int_equal(x.w->tcp.n_timers, 0);
	world_close(&x);
}

static void test_beginnings(void **state)
{
	(void)state;
	world_for_each_seed(run_beginnings);
}

/* UDP: each datagram arrives once and in order, and by one socket as long as its client talks. */

#define CLIENTS 5

/* Address of a host on a link. Its number is that of the link, too. */
static union sock_addr on_link(uint8_t n, uint16_t port)
{
	return (union sock_addr){.in6 = {.sin6_family = AF_INET6,
					 .sin6_port = htons(port),
					 .sin6_scope_id = n,
					 .sin6_addr = {.s6_addr = {0xfe, 0x80, [15] = n}}}};
}

struct talker {
	union sock_addr addr;
	uint32_t sent, arrived;
	int fd; /* the descriptor that its datagrams leave by; -1: not known yet */
};

static void say(struct world *x, struct talker *talkers, uint32_t who)
{
	struct talker *t = &talkers[who];
	union sock_addr local = x->family == AF_INET6 ? on_link((uint8_t)(who + 1), 0)
						      : sim_addr(AF_INET, INADDR_LOOPBACK, 0);
	uint32_t words[2] = {who, t->sent};

	/* While both workers are at rest, datagrams wait in the kernel. This one refuses them. */
	if (sim_datagram_in(x->sim, x->listener, &t->addr, &local, words, sizeof(words), 0))
		t->sent++;
}

static void hear(struct world *x, struct talker *talkers)
{
	struct sim_datagram d;

	while (sim_datagram_out(x->sim, &d)) {
		uint32_t words[2];
		struct talker *t;

		assert_int_equal(d.len, sizeof(words));
		memcpy(words, d.data, sizeof(words));
		assert_in_range(words[0], 0, CLIENTS - 1);
		t = &talkers[words[0]];
		assert_int_equal(words[1], t->arrived);
		assert_true(t->fd == -1 || t->fd == d.fd);
		t->fd = d.fd;
		t->arrived++;
	}
}

/* The servers answer: each client hears from the address that it has asked, on its own link. */
static void answer_all(struct world *x, struct talker *talkers)
{
	union sock_addr server = sim_addr(x->target_family, INADDR_LOOPBACK, 80);
	union sock_addr local = sim_addr(x->target_family, INADDR_LOOPBACK, 0);

	for (unsigned i = 0; i < CLIENTS; i++) {
		struct talker *t = &talkers[i];
		struct sim_datagram d;

		assert_true(sim_datagram_in(x->sim, t->fd, &server, &local, "answer", 6, 0));
		settle(x);
		assert_true(sim_datagram_out(x->sim, &d));
		assert_int_equal(d.len, 6);
		assert_true(sockaddr_same_host(&d.to, &t->addr));
		assert_int_equal(d.to.in4.sin_port, t->addr.in4.sin_port);
		if (x->family != AF_INET6)
			continue;
		assert_int_equal(d.to.in6.sin6_scope_id, i + 1);
		assert_int_equal(d.from.in6.sin6_scope_id, i + 1);
	}
}

static void run_datagrams(uint64_t seed)
{
	struct talker talkers[CLIENTS];
	struct other others[MOVES];
	struct dp_msg msg;
	struct world x;

	open_world(&x, seed, PORT_UDP, &msg);
	for (unsigned i = 0; i < CLIENTS; i++)
		talkers[i] = (struct talker){
			.fd = -1,
			.addr = x.family == AF_INET6
					? on_link((uint8_t)(i + 1), 5000)
					: sim_addr(AF_INET, INADDR_LOOPBACK, (uint16_t)(5000 + i))};
	for (unsigned i = 0; i < MOVES; i++) {
		x.no_sockets = sim_random(x.sim, 3) == 0;
		for (unsigned k = sim_random(x.sim, 20); k > 0; k--) {
			say(&x, talkers, sim_random(x.sim, CLIENTS));
			turn(&x);
			feed_pools(&x);
			hear(&x, talkers);
		}
		hand_over(&x, NULL, 0, msg, &others[i]);
	}
	x.no_sockets = false;
	settle(&x);
	for (unsigned i = 0; i < CLIENTS; i++)
		say(&x, talkers, i);
	settle(&x);
	hear(&x, talkers);
	for (unsigned i = 0; i < CLIENTS; i++)
		assert_int_equal(talkers[i].arrived, talkers[i].sent);
	assert_int_equal(x.w->stats->udp_flows, CLIENTS);
	assert_int_equal(x.w->stats->udp_dropped, 0);
	answer_all(&x, talkers);
	world_close(&x);
}

static void test_datagrams(void **state)
{
	(void)state;
	world_for_each_seed(run_datagrams);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transfers),
		cmocka_unit_test(test_beginnings),
		cmocka_unit_test(test_datagrams),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
