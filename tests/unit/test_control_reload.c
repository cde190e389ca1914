/* SPDX-License-Identifier: Apache-2.0 */
/* The parent's half of a reload, step by step. The test plays both data planes. */
#include "cmocka_all.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/fdpass.h"
#include "config.h"
#include "control_world.h"
#include "dataplane/boot.h"
#include "dataplane/outward.h"

/* How a reload ended. */
struct ending {
	unsigned calls;
	bool ok;
	struct dataplane_reloaded result;
	struct err e;
};

static void on_done(void *arg, const struct dataplane_reloaded *result, const struct err *e)
{
	struct ending *end = arg;

	end->calls++;
	end->ok = result != NULL;
	if (result)
		end->result = *result;
	if (e)
		end->e = *e;
}

static void begin(struct world *x, struct ending *end)
{
	struct err e = {.code = 0};

	*end = (struct ending){.calls = 0};
	far.may_start = true;
	assert_int_equal(dataplane_reload(x->dp, on_done, end, &e), 0);
	assert_int_equal(x->dp->reload.state, DP_RELOAD_STARTING);
}

static void all_up(struct world *x)
{
	struct dp_reload *r = &x->dp->reload;

	r->plane.state = r->broker.state = r->router.state = DP_CHILD_UP;
	dp_reload_child_up(x->dp);
	turns(x);
}

static struct dp_msg expect_next_told(unsigned worker, enum dp_msg_type type, int id)
{
	struct dp_msg msg = told_at(far.next[worker]);

	assert_int_equal(msg.type, type);
	assert_int_equal(msg.port_id, id);
	return msg;
}

static void answer_at(struct world *x, int end, const struct dp_msg *to, int err, unsigned flows,
		      unsigned lost)
{
	struct dp_msg msg = {.type = DP_MSG_DONE,
			     .seq = to->seq,
			     .port_id = to->port_id,
			     .err = err,
			     .flows = flows,
			     .lost = lost};

	assert_int_equal(fdpass_send(end, &msg, sizeof(msg), NULL, 0, 0), 0);
	turns(x);
}

/* The new workers take port 1. */
static void take_port(struct world *x)
{
	for (unsigned i = 0; i < WORKERS; i++) {
		struct dp_msg msg = expect_next_told(i, DP_MSG_ADD, 1);

		answer_at(x, far.next[i], &msg, 0, 0, 0);
	}
}

/* The requests to hand over and to take over. */
struct moving {
	struct dp_msg give[WORKERS], take[WORKERS];
};

static void expect_moving(struct moving *m)
{
	for (unsigned i = 0; i < WORKERS; i++) {
		m->give[i] = expect_told(i, DP_MSG_HAND_OVER, 0);
		m->take[i] = expect_next_told(i, DP_MSG_TAKE_OVER, 0);
	}
}

/* A world with port 1, and a reload in this state. SETTLING: because of port 2, whose request has
 * the number *seq. */
static void reach(struct world *x, enum dp_reload_state state, struct ending *end, struct moving *m,
		  struct outcome *o)
{
	world_open(x);
	add_live(x, 1);
	if (state == DP_RELOAD_SETTLING)
		add(x, 2, false, o);
	begin(x, end);
	if (state >= DP_RELOAD_SETTLING)
		all_up(x);
	if (state == DP_RELOAD_MOVING) {
		take_port(x);
		expect_moving(m);
	}
	assert_int_equal(x->dp->reload.state, state);
}

static void expect_go(bool go)
{
	for (unsigned i = 0; i < WORKERS && go; i++)
		expect_told(i, DP_MSG_GO, 0);
}

static void test_flows_move(void **state)
{
	struct ending end;
	struct outcome o;
	struct moving m;
	struct world x;

	(void)state;
	reach(&x, DP_RELOAD_MOVING, &end, &m, &o);
	for (unsigned i = 0; i < WORKERS; i++) {
		answer(&x, i, &m.give[i], 0);
		assert_int_equal(end.calls, 0);
		expect_silence();
		answer_at(&x, far.next[i], &m.take[i], 0, 2 + i, 0);
	}
	assert_true(end.calls == 1 && end.ok);
	assert_int_equal(end.result.flows, 5);
	expect_go(true);
	/* What was the next data plane serves from now on. */
	take_away(&x, 1, &o);
	expect_all(&x, DP_MSG_REMOVE, 1, 0);
	assert_true(o.calls == 1 && o.err == 0);
	assert_int_equal(far.gave_up, 0);
	world_close(&x);
}

/* Whenever a new process dies, the present ones go on: they are told so if they are at rest. */
static void test_new_process_dies(void **state)
{
	(void)state;
	for (unsigned s = DP_RELOAD_STARTING; s <= DP_RELOAD_MOVING; s++) {
		for (unsigned broker = 0; broker < 2; broker++) {
			struct ending end;
			struct outcome o;
			struct moving m;
			struct world x;
			struct dp_reload *r;

			reach(&x, (enum dp_reload_state)s, &end, &m, &o);
			r = &x.dp->reload;
			dp_reload_child_died(broker ? &r->broker : &r->plane, "exit status 3");
			assert_true(end.calls == 1 && !end.ok);
			assert_non_null(strstr(end.e.msg, "exit status 3"));
			assert_int_equal(r->state, DP_RELOAD_NONE);
			expect_go(s == DP_RELOAD_MOVING);
			if (s == DP_RELOAD_SETTLING)
				expect_all(&x, DP_MSG_ADD, 2, 0);
			expect_silence();
			assert_int_equal(far.gave_up, 0);
			take_away(&x, 1, &o);
			expect_all(&x, DP_MSG_REMOVE, 1, 0);
			world_close(&x);
		}
	}
}

/* Whenever the present data plane dies, the new one ends, too, and that which is started after a
 * death gets all ports. */
static void test_present_plane_dies(void **state)
{
	(void)state;
	for (unsigned s = DP_RELOAD_STARTING; s <= DP_RELOAD_MOVING; s++) {
		struct ending end;
		struct outcome o;
		struct moving m;
		struct world x;

		reach(&x, (enum dp_reload_state)s, &end, &m, &o);
		plane_down(x.dp, false);
		dp_reload_child_died(&x.dp->plane, "killed");
		assert_true(end.calls == 1 && !end.ok);
		assert_non_null(strstr(end.e.msg, "present data plane"));
		assert_int_equal(far.next[0], -1);
		plane_up(x.dp);
		dp_ports_offer(x.dp);
		turns(&x);
		expect_all(&x, DP_MSG_ADD, 1, 0);
		if (s == DP_RELOAD_SETTLING) {
			expect_all(&x, DP_MSG_ADD, 2, 0);
			assert_true(o.calls == 1 && o.err == 0);
		}
		expect_silence();
		world_close(&x);
	}
}

/* It dies when each of its workers has handed over everything, though that was not heard yet: the
 * new one has all flows, unless it dies, too. */
static void test_present_plane_dies_at_the_end(void **state)
{
	(void)state;
	for (unsigned both = 0; both < 2; both++) {
		struct ending end;
		struct outcome o;
		struct moving m;
		struct world x;

		reach(&x, DP_RELOAD_MOVING, &end, &m, &o);
		answer(&x, 0, &m.give[0], 0);
		assert_false(dp_reload_outlives_plane(x.dp));
		m.give[1].type = DP_MSG_DONE;
		assert_int_equal(
			fdpass_send(far.control[1], &m.give[1], sizeof(m.give[1]), NULL, 0, 0), 0);
		for (unsigned i = 0; i < WORKERS; i++)
			close_fd(&far.control[i]);
		assert_true(dp_reload_outlives_plane(x.dp));
		assert_int_equal(x.dp->plane.state, DP_CHILD_DOWN);
		take_away(&x, 1, &o);
		turns(&x);
		assert_int_equal(o.calls, 0);
		assert_int_equal(end.calls, 0);
		answer_at(&x, far.next[0], &m.take[0], 0, 2, 0);
		if (both)
			dp_reload_child_died(&x.dp->reload.plane, "killed");
		else
			answer_at(&x, far.next[1], &m.take[1], 0, 2, 0);
		assert_int_equal(far.started_over, both);
		assert_true(end.calls == 1 && end.ok == !both);
		if (!both) {
			expect_go(true);
			expect_all(&x, DP_MSG_REMOVE, 1, 0);
			assert_true(o.calls == 1 && o.err == 0);
		}
		world_close(&x);
	}
}

/* Answers that were on their way when an earlier hand-over was given up are not taken for those of
 * this one. */
static void test_late_answers(void **state)
{
	struct moving m, again;
	struct ending end;
	struct outcome o;
	struct world x;

	(void)state;
	reach(&x, DP_RELOAD_MOVING, &end, &m, &o);
	dp_reload_child_died(&x.dp->reload.plane, "killed");
	expect_go(true);
	begin(&x, &end);
	all_up(&x);
	take_port(&x);
	expect_moving(&again);
	for (unsigned i = 0; i < 2 * WORKERS; i++)
		answer(&x, i % WORKERS, &m.give[i % WORKERS], i < WORKERS ? 0 : -EIO);
	assert_int_equal(end.calls, 0);
	for (unsigned i = 0; i < WORKERS; i++) {
		answer_at(&x, far.next[i], &again.take[i], 0, 1, 0);
		answer(&x, i, &again.give[i], 0);
	}
	assert_true(end.calls == 1 && end.ok);
	world_close(&x);
}

/* One flow that cannot be taken over: all stay where they are. */
static void test_flow_is_refused(void **state)
{
	struct ending end;
	struct outcome o;
	struct moving m;
	struct world x;

	(void)state;
	reach(&x, DP_RELOAD_MOVING, &end, &m, &o);
	answer_at(&x, far.next[0], &m.take[0], 0, 3, 1);
	for (unsigned i = 0; i < WORKERS; i++)
		answer(&x, i, &m.give[i], 0);
	answer_at(&x, far.next[1], &m.take[1], 0, 4, 0);
	assert_true(end.calls == 1 && !end.ok);
	assert_non_null(strstr(end.e.msg, "1 of 8 flows"));
	expect_go(true);
	world_close(&x);
}

/* The present worker notices first that the new one has gone. The reason is the new one's. */
static void test_reason_is_told(void **state)
{
	struct ending end;
	struct outcome o;
	struct moving m;
	struct world x;

	(void)state;
	for (unsigned died = 0; died < 2; died++) {
		reach(&x, DP_RELOAD_MOVING, &end, &m, &o);
		answer(&x, 0, &m.give[0], died ? -EPIPE : -ECONNRESET);
		assert_int_equal(end.calls, 0);
		if (died)
			dp_reload_child_died(&x.dp->reload.plane, "signal: aborted");
		else
			answer_at(&x, far.next[0], &m.take[0], -EMFILE, 0, 0);
		assert_true(end.calls == 1 && !end.ok);
		assert_non_null(strstr(end.e.msg, "the new data plane"));
		assert_non_null(strstr(end.e.msg, died ? "aborted" : strerror(EMFILE)));
		expect_go(true);
		world_close(&x);
	}
}

/* The same the other way round: the present worker could not take its end of the channel. */
static void test_reason_of_the_present_one(void **state)
{
	struct ending end;
	struct outcome o;
	struct moving m;
	struct world x;

	(void)state;
	reach(&x, DP_RELOAD_MOVING, &end, &m, &o);
	for (unsigned i = 0; i < WORKERS; i++)
		answer_at(&x, far.next[i], &m.take[i], -ECONNRESET, 0, 0);
	assert_int_equal(end.calls, 0);
	answer(&x, 1, &m.give[1], -EMFILE);
	assert_true(end.calls == 1 && !end.ok);
	assert_non_null(strstr(end.e.msg, "the present data plane"));
	assert_non_null(strstr(end.e.msg, strerror(EMFILE)));
	expect_go(true);
	world_close(&x);
}

/* Both find the channel closed, and nobody says why: clients do not wait for the time limit. */
static void test_reason_of_neither(void **state)
{
	struct ending end;
	struct outcome o;
	struct moving m;
	struct world x;

	(void)state;
	reach(&x, DP_RELOAD_MOVING, &end, &m, &o);
	answer_at(&x, far.next[0], &m.take[0], -ECONNRESET, 0, 0);
	answer(&x, 0, &m.give[0], -EPIPE);
	assert_true(end.calls == 1 && !end.ok);
	expect_go(true);
	world_close(&x);
}

/* Requests about ports wait, and go to whoever serves in the end. */
static void test_ports_wait(void **state)
{
	(void)state;
	for (unsigned moved = 0; moved < 2; moved++) {
		struct outcome added, removed;
		struct ending end;
		struct moving m;
		struct world x;

		reach(&x, DP_RELOAD_MOVING, &end, &m, &added);
		add(&x, 2, false, &added);
		take_away(&x, 1, &removed);
		turns(&x);
		expect_silence();
		for (unsigned i = 0; i < WORKERS && moved; i++) {
			answer(&x, i, &m.give[i], 0);
			answer_at(&x, far.next[i], &m.take[i], 0, 0, 0);
		}
		if (!moved)
			answer_at(&x, far.next[0], &m.take[0], -EPROTO, 0, 0);
		assert_true(end.calls == 1 && end.ok == moved);
		expect_go(true);
		expect_all(&x, DP_MSG_REMOVE, 1, 0);
		expect_all(&x, DP_MSG_ADD, 2, 0);
		assert_true(added.calls == 1 && added.err == 0);
		assert_true(removed.calls == 1 && removed.err == 0);
		world_close(&x);
	}
}

/* rootlesskit ends: whoever waits for the reload is told, in each state. */
static void test_rootlesskit_ends(void **state)
{
	(void)state;
	for (unsigned s = DP_RELOAD_STARTING; s <= DP_RELOAD_MOVING; s++) {
		struct ending end;
		struct outcome o;
		struct moving m;
		struct world x;

		reach(&x, (enum dp_reload_state)s, &end, &m, &o);
		world_close(&x);
		assert_true(end.calls == 1 && !end.ok);
	}
}

static void test_one_at_a_time(void **state)
{
	struct ending end, second = {.calls = 0};
	struct err e = {.code = 0};
	struct outcome o;
	struct moving m;
	struct world x;

	(void)state;
	reach(&x, DP_RELOAD_MOVING, &end, &m, &o);
	assert_int_equal(dataplane_reload(x.dp, on_done, &second, &e), -EALREADY);
	assert_int_equal(second.calls, 0);
	assert_int_equal(end.calls, 0);
	world_close(&x);
}

/* Name servers that change meanwhile are those of whoever serves in the end. */
static void test_resolvers_change(void **state)
{
	struct dataplane_outward outward = {.workers = WORKERS};
	struct ending end;
	struct world x;

	(void)state;
	world_open(&x);
	x.dp->config.outward = &outward;
	begin(&x, &end);
	outward.config.resolvers[0].in4 = (struct sockaddr_in){.sin_family = AF_INET};
	dataplane_resolvers_changed(x.dp);
	for (unsigned i = 0; i < WORKERS; i++) {
		assert_int_equal(expect_told(i, DP_MSG_RESOLVERS, 0).target.sa.sa_family, AF_INET);
		assert_int_equal(expect_next_told(i, DP_MSG_RESOLVERS, 0).target.sa.sa_family,
				 AF_INET);
	}
	x.dp->config.outward = NULL;
	world_close(&x);
}

/* Only the protocol counts, not the program's version. If it differs, the message has both. */
static void test_versions(void **state)
{
	struct dp_boot_reply reply = {.head = boot_reply(0)};
	struct err e = {.code = 0};

	(void)state;
	strcpy(reply.head.program, "9.9");
	assert_int_equal(boot_check_reply(&reply, sizeof(reply), sizeof(reply), "plane", &e), 0);
	reply.head.version = WIRE_VERSION + 1;
	assert_int_equal(boot_check_reply(&reply, sizeof(reply), sizeof(reply), "plane", &e),
			 -EPROTONOSUPPORT);
	assert_non_null(strstr(e.msg, "version 9.9"));
	assert_non_null(strstr(e.msg, "version " RINGKIT_VERSION));
	/* An answer of another version may be shorter or longer. */
	assert_int_equal(boot_check_reply(&reply, sizeof(reply.head), sizeof(reply), "plane", &e),
			 -EPROTONOSUPPORT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flows_move),
		cmocka_unit_test(test_new_process_dies),
		cmocka_unit_test(test_present_plane_dies),
		cmocka_unit_test(test_present_plane_dies_at_the_end),
		cmocka_unit_test(test_late_answers),
		cmocka_unit_test(test_flow_is_refused),
		cmocka_unit_test(test_reason_is_told),
		cmocka_unit_test(test_reason_of_the_present_one),
		cmocka_unit_test(test_reason_of_neither),
		cmocka_unit_test(test_ports_wait),
		cmocka_unit_test(test_rootlesskit_ends),
		cmocka_unit_test(test_one_at_a_time),
		cmocka_unit_test(test_resolvers_change),
		cmocka_unit_test(test_versions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
