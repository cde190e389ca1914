/* SPDX-License-Identifier: Apache-2.0 */
#include "out_load.h"

#include "cmocka_all.h"

#include <string.h>

#include "dataplane/worker/handover_record.h"

/*
 * The way out at a hand-over: two workers with one queue, and with the same listeners and datagram
 * sockets. A load runs when the hand-over begins, which ends or is given up at any moment.
 */

#define MOVES 5

static void run_moves(uint64_t seed)
{
	struct side sides[MOVES];
	struct load l;
	unsigned done = 0;

	load_open(&l, seed, (unsigned)(seed % 30), false, true);
	sim_refuse_port(l.o.x.sim, REFUSED);
	for (unsigned i = 0; i < MOVES; i++) {
		load_run(&l, sim_random(l.o.x.sim, 60));
		load_move(&l, &sides[i],
			  sim_random(l.o.x.sim, 3) ? 0 : 1 + sim_random(l.o.x.sim, 30));
	}
	for (unsigned i = 0; done < CLIENTS; i++) {
		assert_true(i < 100000);
		load_run(&l, 1);
		done = 0;
		for (unsigned k = 0; k < CLIENTS; k++)
			done += load_client_is_done(&l, k);
	}
	l.quiet = true;
	for (unsigned i = 0; i < TALKERS; i++)
		for (uint32_t sent = l.talkers[i].sent; l.talkers[i].sent == sent; load_run(&l, 1))
			load_say(&l, &l.talkers[i]);
	load_run(&l, 200);
	settle(&l.o.x);
	load_take_datagrams(&l);
	assert_int_equal(l.queue.n, 0);
	for (unsigned i = 0; i < CLIENTS; i++)
		assert_true(l.clients[i].refused == (l.clients[i].port == REFUSED));
	load_check_counters(&l);
	/* A connection that the first worker let through may have been made again, and nobody comes
	 * for the first one. */
	pass(&l.o.x, 60 * SECOND_NS);
	out_queue_run(&l.queue, &l.o);
	out_world_close(&l.o);
}

static void test_moves(void **state)
{
	(void)state;
	world_for_each_seed(run_moves);
}

/* What no worker has, but one that was taken over may send */

static union sock_addr odd_addr(struct world *x)
{
	return sim_addr(sim_random(x->sim, 2) ? AF_INET : AF_INET6, INSIDE + sim_random(x->sim, 3),
			(uint16_t)sim_random(x->sim, 4));
}

/* Times of an attacker's choice: past, soon, never. */
static uint64_t odd_time(struct world *x)
{
	switch (sim_random(x->sim, 3)) {
	case 0:
		return sim_random(x->sim, 1000);
	case 1:
		return UINT64_MAX - sim_random(x->sim, 2);
	default:
		return sim_now(x->sim) + sim_random(x->sim, 3000) * MS_NS;
	}
}

/* The other worker is sent a record. datagram: the kind of the descriptor that comes with it; -1:
 * none does. */
static void put_record(struct world *x, struct other *o, enum handover_type type,
		       const void *record, int datagram)
{
	struct handover_head head = {
		.type = (uint16_t)type, .count = 1, .size = (uint32_t)handover_record_size(type)};
	uint8_t msg[256];
	int fd = datagram >= 0 ? sim_socket(x->sim, datagram) : -1;

	assert_true(sizeof(head) + head.size <= sizeof(msg));
	memcpy(msg, &head, sizeof(head));
	memcpy(msg + sizeof(head), record, head.size);
	sim_channel_put(x->sim, o->to, msg, sizeof(head) + head.size, &fd, datagram >= 0);
}

static void put_odd_record(struct world *x, struct other *o)
{
	struct handover_map m = {.kind = (uint8_t)sim_random(x->sim, EGRESS_KINDS),
				 .age = (uint8_t)sim_random(x->sim, OUT_AGES),
				 .resolver = (uint8_t)sim_random(x->sim, 256),
				 .unanswered = sim_random(x->sim, UINT32_MAX),
				 .asked_ns = odd_time(x),
				 .last_ns = odd_time(x),
				 .inside = odd_addr(x)};
	struct handover_peer p = {.last_ns = odd_time(x)};
	struct handover_responder r = {.addr = odd_addr(x)};
	struct handover_out_client c = {.family = sim_random(x->sim, 2) ? AF_INET : AF_INET6,
					.client = odd_addr(x)};

	p.addr.s6_addr32[3] = sim_random(x->sim, 4);
	switch (sim_random(x->sim, 4)) {
	case 0:
		put_record(x, o, HANDOVER_MAP, &m, true);
		break;
	case 3:
		put_record(x, o, HANDOVER_OUT_CLIENT, &c, false);
		break;
	case 1:
		put_record(x, o, HANDOVER_PEER, &p, -1);
		break;
	default:
		put_record(x, o, HANDOVER_RESPONDER, &r, true);
		break;
	}
}

static void run_odd_records(uint64_t seed)
{
	struct handover_head end = {.type = HANDOVER_END};
	struct side side;
	struct load l;
	struct world *x = &l.o.x;
	struct other *o = &side.other;
	struct dp_msg answer;

	load_open(&l, seed, 0, true, true);
	load_begin_side(&l, &side);
	o->to = sim_channel(x->sim);
	tell(x, o->control, DP_MSG_TAKE_OVER, o->to);
	for (unsigned i = 0; i < 40; i++) {
		put_odd_record(x, o);
		exchange(x, o);
		turn(x);
		exchange(x, o);
	}
	sim_channel_put(x->sim, o->to, &end, sizeof(end), NULL, 0);
	for (unsigned i = 0; i < 10; i++) {
		exchange(x, o);
		turn(x);
		exchange(x, o);
	}
	assert_true(moved(x, o->control, &answer));
	commit(x, o);
	l.quiet = true;
	for (unsigned i = 0; i < TALKERS; i++)
		load_say(&l, &l.talkers[i]);
	load_run(&l, 100);
	pass(x, 300 * SECOND_NS);
	load_take_datagrams(&l);
	assert_int_equal(x->w->out.udp.maps_count, 0);
	out_queue_run(&l.queue, &l.o);
	out_world_close(&l.o);
}

static void test_odd_records(void **state)
{
	(void)state;
	world_for_each_seed(run_odd_records);
}

/* One at a time */

/* The client's connection is made, and transfers all. */
static void end_client(struct load *l, unsigned n)
{
	for (unsigned i = 0; !load_client_is_done(l, n); i++) {
		assert_true(i < 10000);
		load_run(l, 1);
	}
	assert_int_equal(l->queue.n, 0);
	assert_int_equal(l->o.x.w->stats->out_tcp_connected, 1);
	assert_int_equal(l->o.x.w->stats->out_tcp_timed_out, 0);
	pass(&l->o.x, 20 * SECOND_NS);
	out_world_close(&l->o);
}

/* The packet of a connect that gets no answer yet waits on, whatever becomes of the hand-over. */
static void test_held_packet(void **state)
{
	(void)state;
	for (unsigned give_up_after = 0; give_up_after < 12; give_up_after += 4) {
		struct side side;
		struct load l;
		bool moved_on;

		load_open(&l, 2, 0, true, true);
		sim_silent_port(l.o.x.sim, 2001);
		l.o.x.family = AF_INET6;
		syn(&l.o, 3001, 2001);
		out_queue_hold(&l.queue, &l.o, 1);
		load_run(&l, 20);
		assert_int_equal(l.queue.n, 1);
		moved_on = load_move(&l, &side, give_up_after);
		assert_int_equal(moved_on, give_up_after == 0);
		load_run(&l, 20);
		assert_int_equal(l.queue.n, 1);
		assert_int_equal(l.queue.repeated, moved_on);
		sim_silent_port(l.o.x.sim, 0);
		end_client(&l, 1);
	}
}

/* The hand-over is given up while the connect's operation is being cancelled: that is not the
 * connect's outcome. */
static void test_given_up_before_all_is_at_rest(void **state)
{
	struct side side;
	struct load l;

	(void)state;
	load_open(&l, 2, 0, true, true);
	sim_silent_port(l.o.x.sim, 2001);
	l.o.x.family = AF_INET6;
	syn(&l.o, 3001, 2001);
	out_queue_hold(&l.queue, &l.o, 1);
	load_run(&l, 20);
	sim_hold_cancelled_of(l.o.x.sim, sim_outside(l.o.x.sim, 2001));
	load_begin_side(&l, &side);
	begin_move(&l.o.x, &side.other);
	load_run(&l, 5);
	give_up(&l.o.x, &side.other);
	load_run(&l, 5);
	sim_hold_cancelled_of(l.o.x.sim, -1);
	load_run(&l, 20);
	assert_int_equal(l.queue.n, 1);
	sim_silent_port(l.o.x.sim, 0);
	end_client(&l, 1);
}

/* The first resolver does not answer: the next data plane asks the second one at once. */
static void test_resolver_that_did_not_answer(void **state)
{
	struct side side;
	struct load l;

	(void)state;
	load_open(&l, 2, 0, true, true);
	l.o.x.w->out.udp.resolver = 1;
	assert_true(load_move(&l, &side, 0));
	assert_int_equal(l.o.x.w->out.udp.resolver, 1);
	pass(&l.o.x, 20 * SECOND_NS);
	out_queue_run(&l.queue, &l.o);
	out_world_close(&l.o);
}

/* An answer to a ping that comes while the worker is at rest is counted by nobody else, so it
 * waits: it is lost with the worker, or arrives when the hand-over is given up. */
static void test_ping_at_rest(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2 * PINGERS; i++) {
		bool given_up = i >= PINGERS;
		struct side side;
		struct load l;

		load_open(&l, 2, 0, true, true);
		load_begin_side(&l, &side);
		load_ping(&l, &l.pingers[i % PINGERS]);
		load_serve(&l); /* the request leaves */
		begin_move(&l.o.x, &side.other);
		for (unsigned k = 0; k < 5; k++)
			load_serve(&l);
		load_take_datagrams(&l); /* the answer comes */
		load_run(&l, 20);
		assert_int_equal(l.pongs, 0);
		for (struct dp_msg answer; !moved(&l.o.x, side.other.control, &answer);)
			step(&l.o.x, &side.other);
		if (given_up)
			give_up(&l.o.x, &side.other);
		else
			commit(&l.o.x, &side.other);
		load_run(&l, 20);
		assert_int_equal(l.pongs, given_up);
		assert_int_equal(l.o.x.w->stats->out_pings, 1);
		assert_int_equal(l.o.x.w->stats->out_pings_answered, given_up);
		out_world_close(&l.o);
	}
}

/* Without a queue a client is accepted first. It goes over before it is connected outside, with the
 * listener of its family. */
static void test_accepted_client(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct streams *f;
		struct side side;
		struct load l;

		load_open(&l, 3, 0, true, false);
		f = &l.flows[i];
		l.o.x.family = l.clients[i].family;
		sim_silent_port(l.o.x.sim, l.clients[i].port);
		f->client = arrive(&l.o, (uint16_t)(l.clients[i].port + 1000), l.clients[i].port);
		settle(&l.o.x);
		assert_int_equal(l.o.x.w->stats->out_tcp_pending, 1);
		load_begin_side(&l, &side);
		begin_move(&l.o.x, &side.other);
		for (struct dp_msg answer; !moved(&l.o.x, side.other.control, &answer);)
			step(&l.o.x, &side.other);
		commit(&l.o.x, &side.other);
		assert_int_equal(l.o.x.w->stats->out_tcp_pending, 1);
		sim_silent_port(l.o.x.sim, 0);
		settle(&l.o.x);
		f->server = out_server_of(&l.o, f->client);
		expect_joined(&l.o, f->client, f->server);
		finish(&l.o, f->client, f->server);
		out_world_close(&l.o);
	}
}

/* A mapping keeps its port, accepts answers from the addresses that it has written to and no other,
 * and lives no longer than it would have. */
static void test_mapping(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct sim_datagram d;
		struct side sides[2];
		struct load l;
		int fd;

		load_open(&l, 4, 0, true, true);
		l.o.x.family = i ? AF_INET6 : AF_INET;
		feed_router(&l.o);
		send_up(&l.o, 4000, SERVER, 53, "who");
		fd = sent(&l.o, "who").fd;
		pass(&l.o.x, 6 * SECOND_NS);
		assert_true(load_move(&l, &sides[0], 0));
		l.o.x.family = i ? AF_INET6 : AF_INET;
		feed_router(&l.o);
		send_down(&l.o, fd, SERVER + 1, 53, "stranger");
		expect_nothing_sent(&l.o);
		send_down(&l.o, fd, SERVER, 53, "he");
		d = sent(&l.o, "he");
		expect_addr(&l.o, &d.to, INSIDE, 4000);
		expect_addr(&l.o, &d.from, SERVER, 53);
		send_up(&l.o, 4000, SERVER, 53, "again");
		assert_int_equal(sent(&l.o, "again").fd, fd);
		/* The time that it was idle before the hand-over counts. */
		pass(&l.o.x, 6 * SECOND_NS);
		assert_true(load_move(&l, &sides[1], 0));
		pass(&l.o.x, 3 * SECOND_NS);
		assert_int_equal(l.o.x.w->stats->out_udp_flows, 1);
		pass(&l.o.x, SECOND_NS);
		assert_int_equal(l.o.x.w->stats->out_udp_flows, 0);
		assert_int_equal(l.o.x.w->stats->out_udp_expired, 1);
		assert_int_equal(l.o.x.w->config.out.ports->udp, 0);
		out_world_close(&l.o);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_held_packet),
		cmocka_unit_test(test_resolver_that_did_not_answer),
		cmocka_unit_test(test_given_up_before_all_is_at_rest),
		cmocka_unit_test(test_ping_at_rest),
		cmocka_unit_test(test_accepted_client),
		cmocka_unit_test(test_mapping),
		cmocka_unit_test(test_moves),
		cmocka_unit_test(test_odd_records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
