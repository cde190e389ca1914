/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handover_world.h"
#include "ports/route.h"

/*
 * Hand-over: two workers on one simulated kernel. The test is the parent of both, and of the
 * channel between them. Flows are in full transfer, in every state, and the hand-over begins, ends
 * or is given up at any moment.
 */

#define FLOWS 6
#define MOST  60000

static void begin_move(struct world *x, struct other *o)
{
	o->from = sim_channel(x->sim);
	o->to = sim_channel(x->sim);
	tell(x, x->control, DP_MSG_HAND_OVER, o->from);
	tell(x, o->control, DP_MSG_TAKE_OVER, o->to);
}

static bool moved(struct world *x, int control, struct dp_msg *answer)
{
	if (!sim_channel_get(x->sim, control, answer, sizeof(*answer)))
		return false;
	assert_int_equal(answer->type, DP_MSG_DONE);
	assert_int_equal(answer->port_id, 0);
	assert_int_equal(answer->err, 0);
	return true;
}

/* Either worker has a turn, or a message arrives. */
static void step(struct world *x, struct other *o)
{
	switch (sim_random(x->sim, 3)) {
	case 0:
		turn(x);
		feed_pools(x);
		break;
	case 1:
		exchange(x, o);
		turn(x);
		feed_pools(x);
		exchange(x, o);
		break;
	default:
		sim_channel_pass(x->sim, o->from, o->to);
		break;
	}
}

/* The other one serves from now on. */
static void commit(struct world *x, struct other *o)
{
	exchange(x, o);
	tell(x, x->control, DP_MSG_GO, -1);
	/* The old one may live for a moment. */
	if (sim_random(x->sim, 2))
		turn(x);
	exchange(x, o);
	kill(x);
	exchange(x, o);
}

/* The present one goes on; the other is gone first. */
static void give_up(struct world *x, struct other *o)
{
	exchange(x, o);
	kill(x);
	exchange(x, o);
	tell(x, x->control, DP_MSG_GO, -1);
	turn(x);
}

/* Streams */

struct stream {
	int from, to; /* far ends; -1: not there yet */
	size_t written, read, most;
	bool ended;
};

struct flow {
	int client, server;
	struct stream up, down;
};

static uint8_t byte_at(size_t at, unsigned flow, bool up)
{
	return (uint8_t)((at * 31 + at / 251) ^ (flow * 7) ^ (up ? 0x55 : 0));
}

static void write_some(struct world *x, struct stream *s, unsigned flow, bool up)
{
	uint8_t data[3000];
	size_t n = 1 + sim_random(x->sim, sizeof(data));

	if (s->ended)
		return;
	if (s->written >= s->most) {
		sim_far_shutdown(x->sim, s->from);
		s->ended = true;
		return;
	}
	for (size_t i = 0; i < n; i++)
		data[i] = byte_at(s->written + i, flow, up);
	s->written += sim_far_write(x->sim, s->from, data, n);
}

static void read_some(struct world *x, struct stream *s, unsigned flow, bool up)
{
	uint8_t data[3000];
	size_t n = sim_far_read(x->sim, s->to, data, 1 + sim_random(x->sim, sizeof(data)));

	for (size_t i = 0; i < n; i++)
		assert_int_equal(data[i], byte_at(s->read + i, flow, up));
	s->read += n;
}

/* Clients and servers do something. slow: hardly anybody reads, so that pipes fill. */
static void traffic(struct world *x, struct flow *flows, unsigned n, bool slow)
{
	for (unsigned i = 0; i < n; i++) {
		struct flow *f = &flows[i];

		if (sim_random(x->sim, 2))
			write_some(x, &f->up, i, true);
		if (sim_random(x->sim, 2))
			write_some(x, &f->down, i, false);
		if (sim_random(x->sim, slow ? 16 : 2) == 0)
			read_some(x, &f->up, i, true);
		if (sim_random(x->sim, slow ? 16 : 2) == 0)
			read_some(x, &f->down, i, false);
	}
}

static bool all_done(struct world *x, struct flow *flows, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct flow *f = &flows[i];

		if (!f->up.ended || !f->down.ended || f->up.read < f->up.written ||
		    f->down.read < f->down.written || !sim_far_saw_end(x->sim, f->client) ||
		    !sim_far_saw_end(x->sim, f->server))
			return false;
	}
	return true;
}

static void open_flows(struct world *x, struct flow *flows, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct flow *f = &flows[i];

		f->client = sim_client_connect(x->sim, x->listener);
		do {
			turn(x);
			feed_pools(x);
			f->server = sim_server_accept(x->sim);
		} while (f->server < 0);
		f->up = (struct stream){
			.from = f->client, .to = f->server, .most = sim_random(x->sim, MOST)};
		f->down = (struct stream){
			.from = f->server, .to = f->client, .most = sim_random(x->sim, MOST)};
	}
}

/* A hand-over at any moment, to its end or given up on the way. */
static void hand_over(struct world *x, struct flow *flows, unsigned n, struct dp_msg msg,
		      struct other *o)
{
	/* 0: to its end. */
	unsigned give_up_after = sim_random(x->sim, 3) ? 0 : 1 + sim_random(x->sim, 30);
	bool gave = false, took = false;
	struct dp_msg answer;

	begin_other(x, o);
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
	struct flow flows[FLOWS];
	struct other others[MOVES]; /* counters of a worker outlive it here */
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

static unsigned runs(void)
{
	const char *n = getenv("WORKER_RUNS");

	return n ? (unsigned)strtoul(n, NULL, 10) : 60;
}

static void many_runs(void (*run)(uint64_t seed))
{
	const char *one = getenv("WORKER_SEED");

	if (one) {
		run(strtoull(one, NULL, 10));
		return;
	}
	for (uint64_t seed = 1; seed <= runs(); seed++) {
		/* The last line before a failure is that of its seed. */
		if (getenv("WORKER_RUNS"))
			fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
		run(seed);
	}
}

static void test_transfers(void **state)
{
	(void)state;
	many_runs(run_transfers);
}

/* Flows that are not open yet: without a socket, connecting, refused and tried again; and whose
 * clients or servers go meanwhile. All come to an end of their own. */
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
	many_runs(run_beginnings);
}

/* UDP: each datagram once and in order, from the same socket for as long as its client talks. */

#define CLIENTS 5

struct talker {
	struct sockaddr_in addr;
	uint32_t sent, arrived;
	int fd; /* that its datagrams leave by; -1: not known yet */
};

static void say(struct world *x, struct talker *talkers, uint32_t who)
{
	const struct in_addr local = {.s_addr = htonl(INADDR_LOOPBACK)};
	struct talker *t = &talkers[who];
	uint32_t words[2] = {who, t->sent};

	/* At rest they wait in the kernel, which this one does not have. */
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

static void run_datagrams(uint64_t seed)
{
	struct talker talkers[CLIENTS];
	struct other others[MOVES];
	struct dp_msg msg;
	struct world x;

	open_world(&x, seed, PORT_UDP, &msg);
	for (unsigned i = 0; i < CLIENTS; i++)
		talkers[i] = (struct talker){.fd = -1,
					     .addr = {.sin_family = AF_INET,
						      .sin_port = htons((uint16_t)(5000 + i)),
						      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
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
	world_close(&x);
}

static void test_datagrams(void **state)
{
	(void)state;
	many_runs(run_datagrams);
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
