/* SPDX-License-Identifier: Apache-2.0 */
/* Ports that rules in the namespace turn elsewhere: what the keeper is asked, by way of the broker,
 * and what the workers are told. */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fdpass.h"
#include "control_world.h"

#define CONTAINER 0xac110002u /* 172.17.0.2 */

static void open_transparent(struct world *x)
{
	world_open(x);
	x->dp->config.transparent = true;
}

/* A port whose loopback address the user has named. Nothing is said about it yet. */
static void add_named_port(struct world *x, int id)
{
	struct outcome o;

	add(x, id, false, &o);
	((struct dp_port *)port_of(id, &o)->own)->route.literal = true;
	expect_all(x, DP_MSG_ADD, id, 0);
	assert_true(o.calls == 1 && o.err == 0);
}

/* The same, and there are no looks without news. */
static void add_named(struct world *x, int id)
{
	add_named_port(x, id);
	loop_remove(x->dp->turned.follow_up);
	x->dp->turned.follow_up = NULL;
}

/* The next question. Time passes until it comes. */
static struct broker_turned asked(struct world *x)
{
	struct pollfd pfd = {.fd = far.broker, .events = POLLIN};
	struct broker_turned msg;

	for (int i = 0; poll(&pfd, 1, 0) == 0; i++) {
		assert_true(i < 5000);
		usleep(2000);
		turns(x);
	}
	assert_int_equal(recv(far.broker, &msg, sizeof(msg), MSG_DONTWAIT), sizeof(msg));
	return msg;
}

static void expect_nothing_asked(void)
{
	char byte;

	assert_int_equal(recv(far.broker, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

static void say(struct world *x, int32_t id, uint32_t seq, int err, union sock_addr addr)
{
	struct broker_turned_reply reply = {.port_id = id, .seq = seq, .err = err, .addr = addr};

	assert_int_equal(fdpass_send(far.broker, &reply, sizeof(reply), NULL, 0, 0), 0);
	turns(x);
}

static void say_news(struct world *x)
{
	say(x, 0, 0, 0, (union sock_addr){.sa.sa_family = AF_UNSPEC});
}

static union sock_addr address(uint32_t ip, uint16_t port)
{
	return (union sock_addr){.in4 = {.sin_family = AF_INET,
					 .sin_port = htons(port),
					 .sin_addr.s_addr = htonl(ip)}};
}

static void expect_address(const union sock_addr *got, union sock_addr want)
{
	assert_int_equal(got->sa.sa_family, AF_INET);
	assert_int_equal(got->in4.sin_addr.s_addr, want.in4.sin_addr.s_addr);
	assert_int_equal(got->in4.sin_port, want.in4.sin_port);
}

/* All workers are told that a port leads elsewhere now. */
static void expect_turned(int id)
{
	for (unsigned i = 0; i < WORKERS; i++)
		expect_told(i, DP_MSG_TARGET, id);
}

/* All workers are told this, and where the port leads. They need not answer. */
static void expect_targets(enum dp_msg_type type, int id, union sock_addr target,
			   union sock_addr target2)
{
	for (unsigned i = 0; i < WORKERS; i++) {
		struct dp_msg msg = expect_told(i, type, id);

		expect_address(&msg.target, target);
		expect_address(&msg.target2, target2);
	}
}

static void test_turned(void **state)
{
	union sock_addr container = address(CONTAINER, 80), named;
	struct broker_turned msg;
	struct world x;

	(void)state;
	open_transparent(&x);
	add_named(&x, 1);
	named = address(INADDR_LOOPBACK, ntohs(x.port));
	msg = asked(&x);
	assert_int_equal(msg.port_id, 1);
	assert_int_equal(msg.proto, IPPROTO_TCP);
	expect_address(&msg.addr, named);
	say(&x, 1, msg.seq, 0, named);
	expect_silence(); /* it leads where it has led */
	say_news(&x);
	msg = asked(&x);
	say(&x, 1, msg.seq, 0, container);
	expect_targets(DP_MSG_TARGET, 1, container, named);
	say_news(&x);
	msg = asked(&x);
	say(&x, 1, msg.seq, 0, container);
	expect_silence();
	/* The next data plane hears of it with the port. */
	plane_down(x.dp, false);
	plane_up(x.dp);
	dp_ports_offer(x.dp);
	expect_targets(DP_MSG_ADD, 1, container, named);
	/* Nobody turns it any more: the second target stays, for flows that are on their way there.
	 */
	say_news(&x);
	msg = asked(&x);
	say(&x, 1, msg.seq, 0, named);
	expect_targets(DP_MSG_TARGET, 1, named, named);
	expect_nothing_asked();
	world_close(&x);
}

/* Answers that change nothing. */
static void test_answers_that_make_no_sense(void **state)
{
	const struct {
		int32_t id;
		uint32_t seq; /* added to that of the question */
		int err;
		union sock_addr addr;
		bool late; /* the question is still open */
	} cases[] = {
		{2, 0, 0, address(CONTAINER, 80), true},
		{-1, 0, 0, address(CONTAINER, 80), true},
		{1, 1, 0, address(CONTAINER, 80), true},
		{1, 0, -ETIMEDOUT, address(CONTAINER, 80), false},
		{1, 0, 7, address(CONTAINER, 80), false},
		{1, 0, -ENOSYS, address(CONTAINER, 80), false},
		{1, 0, 0, address(CONTAINER, 0), false},
		{1, 0, 0, {.in6 = {.sin6_family = AF_INET6, .sin6_port = 80}}, false},
		{1, 0, 0, {.sa.sa_family = AF_UNSPEC}, false},
		{1, 0, 0, {.sa.sa_family = AF_UNIX}, false},
	};
	struct world x;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct broker_turned msg;

		print_message("case %u\n", i);
		open_transparent(&x);
		add_named(&x, 1);
		msg = asked(&x);
		say(&x, cases[i].id, msg.seq + cases[i].seq, cases[i].err, cases[i].addr);
		expect_silence();
		if (!cases[i].late) {
			/* Nothing is waited for any more. */
			say(&x, 1, msg.seq, 0, address(CONTAINER, 80));
			expect_silence();
		}
		assert_int_equal(far.hung_up, 0);
		world_close(&x);
	}
}

/* Not even when it is time for the first question about a port. */
static void expect_never_asked(struct world *x)
{
	usleep(60000);
	turns(x);
	expect_nothing_asked();
}

/* Which ports are asked about. */
static void test_ports_that_are_left_alone(void **state)
{
	struct dp_port *own;
	struct outcome o;
	struct world x;

	(void)state;
	open_transparent(&x);
	add_live(&x, 1); /* nobody has named its address */
	expect_never_asked(&x);
	add(&x, 2, false, &o);
	own = (struct dp_port *)port_of(2, &o)->own;
	own->route.literal = true;
	((struct sockaddr_in *)&own->route.target)->sin_addr.s_addr = htonl(CONTAINER);
	expect_all(&x, DP_MSG_ADD, 2, 0);
	expect_never_asked(&x);
	world_close(&x);

	world_open(&x); /* nobody keeps rules in the namespace */
	add_named(&x, 1);
	expect_never_asked(&x);
	world_close(&x);
}

static void expect_asked(struct world *x, int id, int err, union sock_addr answer)
{
	struct broker_turned msg = asked(x);

	assert_int_equal(msg.port_id, id);
	expect_nothing_asked();
	say(x, id, msg.seq, err, answer);
}

/* One question at a time, the newest port first, and the next walk begins when this one has ended.
 */
static void test_walk(void **state)
{
	union sock_addr container = address(CONTAINER, 80);
	struct broker_turned msg;
	struct outcome o;
	struct world x;

	(void)state;
	open_transparent(&x);
	x.dp->turned.next_ms = loop_now_ms() + 500; /* not before all are there */
	for (int id = 1; id <= 4; id++)
		add_named(&x, id);
	msg = asked(&x);
	assert_int_equal(msg.port_id, 4);
	expect_nothing_asked();
	/* The port that is asked about goes. */
	take_away(&x, 4, &o);
	expect_all(&x, DP_MSG_REMOVE, 4, 0);
	say(&x, 4, msg.seq, 0, container);
	expect_silence();
	msg = asked(&x);
	assert_int_equal(msg.port_id, 3);
	take_away(&x, 2, &o);
	expect_all(&x, DP_MSG_REMOVE, 2, 0);
	say_news(&x);
	expect_nothing_asked();
	expect_silence();
	say(&x, 3, msg.seq, -ETIMEDOUT, container);
	expect_asked(&x, 1, 0, container);
	expect_turned(1);
	expect_asked(&x, 3, 0, container);
	expect_turned(3);
	world_close(&x);
}

/* A new port is asked about by itself, not at once. What is known stays known until rules change.
 */
static void test_new_port(void **state)
{
	struct world x;

	(void)state;
	open_transparent(&x);
	add_named(&x, 1);
	expect_nothing_asked();
	expect_asked(&x, 1, 0, address(INADDR_LOOPBACK, ntohs(x.port)));
	add_named(&x, 2);
	expect_asked(&x, 2, 0, address(INADDR_LOOPBACK, ntohs(x.port)));
	expect_nothing_asked();
	say_news(&x);
	expect_asked(&x, 2, 0, address(INADDR_LOOPBACK, ntohs(x.port)));
	expect_asked(&x, 1, 0, address(INADDR_LOOPBACK, ntohs(x.port)));
	expect_nothing_asked();
	world_close(&x);
}

/* A walk over all ports that takes long is not repeated soon. Fresh ports do not wait for it. */
static void test_many_ports(void **state)
{
	union sock_addr container = address(CONTAINER, 80);
	struct broker_turned msg;
	struct world x;

	(void)state;
	open_transparent(&x);
	add_named(&x, 1);
	expect_asked(&x, 1, 0, container);
	expect_turned(1);
	say_news(&x);
	msg = asked(&x);
	usleep(5000);
	say(&x, 1, msg.seq, 0, container);
	add_named(&x, 2);
	expect_asked(&x, 2, 0, address(INADDR_LOOPBACK, ntohs(x.port)));
	say_news(&x);
	msg = asked(&x);
	assert_int_equal(msg.port_id, 2);
	say_news(&x);
	say(&x, 2, msg.seq, 0, address(INADDR_LOOPBACK, ntohs(x.port)));
	expect_asked(&x, 2, 0, address(INADDR_LOOPBACK, ntohs(x.port)));
	expect_nothing_asked();
	expect_asked(&x, 1, 0, container);
	expect_silence();
	world_close(&x);
}

/* An answer that is long in coming does not put off the next walk. */
static void test_slow_answer(void **state)
{
	union sock_addr container = address(CONTAINER, 80);
	struct broker_turned msg;
	struct timespec from, to;
	struct world x;

	(void)state;
	open_transparent(&x);
	add_named(&x, 1);
	say_news(&x);
	msg = asked(&x);
	usleep(100000);
	say(&x, 1, msg.seq, 0, container);
	clock_gettime(CLOCK_MONOTONIC, &from);
	say_news(&x);
	expect_asked(&x, 1, 0, container);
	clock_gettime(CLOCK_MONOTONIC, &to);
	assert_true(to.tv_sec - from.tv_sec < 5); /* not 100 times as long as the answer */
	world_close(&x);
}

/* Port 1 is asked about again, later, and leads elsewhere. */
static void expect_asked_later(struct world *x)
{
	struct broker_turned msg;

	expect_silence();
	expect_nothing_asked();
	msg = asked(x);
	say(x, 1, msg.seq, 0, address(CONTAINER, 80));
	expect_turned(1);
	world_close(x);
}

static void test_not_yet(void **state)
{
	static const int why[] = {-EAGAIN, -ENOBUFS}; /* another keeper asks; no memory */
	struct world x;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(why); i++) {
		open_transparent(&x);
		add_named(&x, 1);
		say(&x, 1, asked(&x).seq, why[i], address(CONTAINER, 80));
		expect_asked_later(&x);
	}
}

/* The answer has been lost. */
static void test_no_answer(void **state)
{
	struct world x;

	(void)state;
	open_transparent(&x);
	add_named(&x, 1);
	asked(&x);
	expect_asked_later(&x);
}

/* The broker's channel has no room for the question. */
static void test_no_room_for_the_question(void **state)
{
	char junk[1024] = "", byte;
	struct world x;

	(void)state;
	open_transparent(&x);
	add_named(&x, 1);
	while (send(x.dp->broker.boot_fd, junk, sizeof(junk), MSG_DONTWAIT) > 0)
		;
	usleep(60000); /* the time of the first question */
	turns(&x);
	while (recv(far.broker, &byte, 1, MSG_DONTWAIT) > 0)
		;
	expect_asked_later(&x);
}

/* A new broker has not been asked, and knows nothing of the questions to the last one. */
static void test_new_broker(void **state)
{
	struct broker_turned first, second;
	struct world x;

	(void)state;
	open_transparent(&x);
	add_named(&x, 1);
	first = asked(&x);
	dp_turned_begin_anew(x.dp);
	second = asked(&x);
	assert_int_not_equal(first.seq, second.seq);
	say(&x, 1, first.seq, 0, address(CONTAINER, 80));
	expect_silence();
	say(&x, 1, second.seq, 0, address(CONTAINER, 80));
	expect_turned(1);
	expect_nothing_asked();
	world_close(&x);
}

/* The rules for a new port may come without news. */
static void test_looks_that_follow_a_port(void **state)
{
	struct broker_turned msg;
	struct world x;

	(void)state;
	open_transparent(&x);
	add_named_port(&x, 1);
	msg = asked(&x);
	say(&x, 1, msg.seq, 0, msg.addr);
	for (unsigned i = 0; i < 2; i++) {
		expect_nothing_asked();
		msg = asked(&x);
		say(&x, 1, msg.seq, 0, i == 0 ? msg.addr : address(CONTAINER, 80));
	}
	expect_turned(1);
	world_close(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_turned),
		cmocka_unit_test(test_answers_that_make_no_sense),
		cmocka_unit_test(test_ports_that_are_left_alone),
		cmocka_unit_test(test_walk),
		cmocka_unit_test(test_new_port),
		cmocka_unit_test(test_many_ports),
		cmocka_unit_test(test_slow_answer),
		cmocka_unit_test(test_not_yet),
		cmocka_unit_test(test_no_answer),
		cmocka_unit_test(test_no_room_for_the_question),
		cmocka_unit_test(test_new_broker),
		cmocka_unit_test(test_looks_that_follow_a_port),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
