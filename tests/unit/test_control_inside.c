/* SPDX-License-Identifier: Apache-2.0 */
/* The socket of a port in the namespace: what the broker is asked, and what it may answer. */
#include "cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/fdpass.h"
#include "control_world.h"

static struct broker_listen asked(void)
{
	struct broker_listen msg;

	assert_int_equal(recv(far.broker, &msg, sizeof(msg), MSG_DONTWAIT), sizeof(msg));
	return msg;
}

static void say(struct world *x, const struct broker_listen *to, int err, int fd)
{
	struct broker_listen_reply reply = {.port_id = to->port_id, .seq = to->seq, .err = err};

	assert_int_equal(fdpass_send(far.broker, &reply, sizeof(reply), &fd, fd >= 0, 0), 0);
	close_fd(&fd);
	turns(x);
}

static int listening(int family, int type)
{
	int fd = socket_of(family, type);

	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 1), 0);
	return fd;
}

/* Without SO_NETNS_COOKIE nobody can tell that a socket is of the namespace, so no port listens
 * there. */
static void needs_cookie(void)
{
	if (own_cookie() == 0) {
		print_message("no SO_NETNS_COOKIE: Linux before 5.14\n");
		skip();
	}
}

static void test_socket_inside_goes_to_one_worker(void **state)
{
	struct broker_listen msg;
	unsigned adds = 0, inside = 0;
	struct outcome o;
	struct world x;

	(void)state;
	needs_cookie();
	world_open(&x);
	add(&x, 1, true, &o);
	msg = asked();
	assert_int_equal(msg.port_id, 1);
	expect_silence(); /* the socket in the namespace comes first */
	say(&x, &msg, 0, listening(AF_INET, SOCK_STREAM));
	for (unsigned i = 0; i < WORKERS; i++) {
		struct dp_msg m;

		while ((m = told(i)).type) {
			assert_int_equal(m.type, DP_MSG_ADD);
			assert_int_equal(abs(m.port_id), 1);
			adds++;
			inside += m.port_id == -1;
			answer(&x, i, &m, 0);
		}
	}
	assert_int_equal(adds, WORKERS + 1);
	assert_int_equal(inside, 1);
	assert_true(o.calls == 1 && o.err == 0);
	world_close(&x);
}

/* A worker refuses a port that has a socket inside. Then a worker has settled it, not the broker.
 */
static void test_refused_port_with_a_socket_inside(void **state)
{
	struct broker_listen msg;
	struct outcome o;
	struct world x;

	(void)state;
	needs_cookie();
	world_open(&x);
	add(&x, 1, true, &o);
	msg = asked();
	say(&x, &msg, 0, listening(AF_INET, SOCK_STREAM));
	for (int round = 0; round < 2; round++)
		for (unsigned i = 0; i < WORKERS; i++) {
			struct dp_msg m;

			while ((m = told(i)).type)
				answer(&x, i, &m, m.type == DP_MSG_ADD ? -ENOSPC : 0);
		}
	assert_true(o.calls == 1 && o.err == -ENOSPC);
	assert_int_equal(o.by, PORT_BY_WORKER);
	assert_null(strstr(o.message, "in the namespace"));
	world_close(&x);
}

/* An address of the host that is taken, and a data plane that dies over the port: neither is the
 * socket inside to blame for. That it cannot be had itself is said. */
static void test_who_is_to_blame(void **state)
{
	struct port_route route;
	struct broker_listen msg;
	struct outcome o, first;
	struct world x;

	(void)state;
	needs_cookie();
	world_open(&x);
	add_live(&x, 1);
	route = route_to(&x, true);
	o = (struct outcome){.calls = 0};
	dataplane_port_add(x.dp, port_of(2, &o), &route);
	assert_true(o.calls == 1 && o.err == -EADDRINUSE);
	assert_int_equal(o.by, PORT_BY_PARENT);
	assert_null(strstr(o.message, "in the namespace"));
	add(&x, 3, true, &first);
	msg = asked();
	say(&x, &msg, 0, listening(AF_INET, SOCK_STREAM));
	plane_down(x.dp, true);
	turns(&x);
	assert_true(first.calls == 1 && first.err == -ECONNRESET);
	assert_int_equal(first.by, PORT_BY_DATA_PLANE);
	assert_null(strstr(first.message, "in the namespace"));
	plane_up(x.dp);
	dp_ports_offer(x.dp);
	expect_all(&x, DP_MSG_ADD, 1, 0);
	add(&x, 4, true, &first);
	msg = asked();
	say(&x, &msg, -EADDRINUSE, -1);
	assert_true(first.calls == 1 && first.err == -EADDRINUSE);
	assert_int_equal(first.by, PORT_BY_BROKER);
	assert_non_null(strstr(first.message, "cannot listen in the namespace"));
	world_close(&x);
}

/* What a broker may send instead of the socket, and what becomes of the port. */
static void test_wrong_answers_of_the_broker(void **state)
{
	static const struct {
		int err, family, type; /* type 0: there is no socket */
		bool listens, foreign;
		int told;
	} cases[] = {
		{0, 0, 0, false, false, -EPROTO},
		{0, AF_INET, SOCK_STREAM, false, false, -EPROTO},
		{0, AF_INET, SOCK_DGRAM, false, false, -EPROTO},
		{0, AF_INET6, SOCK_STREAM, true, false, -EPROTO},
		{0, AF_UNIX, SOCK_STREAM, false, false, -EPROTO},
		{0, AF_INET, SOCK_STREAM, true, true, -EPROTO},
		{5, 0, 0, false, false, -EPROTO},
		{5, AF_INET, SOCK_STREAM, true, false, -EPROTO},
		{5, AF_INET, SOCK_DGRAM, false, false, -EPROTO},
		{INT32_MAX, 0, 0, false, false, -EPROTO},
		{INT32_MIN, 0, 0, false, false, -EPROTO},
		{-EADDRINUSE, 0, 0, false, false, -EADDRINUSE},
		{-EADDRINUSE, AF_INET, SOCK_STREAM, true, false, -EADDRINUSE},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct broker_listen msg;
		struct outcome o;
		struct world x;
		int fd = -1;

		print_message("case %zu\n", i);
		world_open(&x);
		add(&x, 1, true, &o);
		msg = asked();
		if (cases[i].listens)
			fd = listening(cases[i].family, cases[i].type);
		else if (cases[i].type)
			fd = socket_of(cases[i].family, cases[i].type);
		x.dp->broker.cookie += cases[i].foreign;
		say(&x, &msg, cases[i].err, fd);
		assert_int_equal(o.calls, 1);
		assert_int_equal(o.err, cases[i].told);
		assert_int_equal(o.by, PORT_BY_BROKER);
		expect_silence();
		assert_true(address_is_free(&x));
		world_close(&x);
	}
}

/* A positive error must not be taken for a descriptor: the parent's own descriptors stay as they
 * were. */
static void test_positive_error_is_no_descriptor(void **state)
{
	auto_fd int mine = listening(AF_INET, SOCK_STREAM);
	struct broker_listen msg;
	struct outcome o;
	struct world x;

	(void)state;
	world_open(&x);
	add(&x, 1, true, &o);
	msg = asked();
	say(&x, &msg, mine, -1);
	assert_true(o.calls == 1 && o.err == -EPROTO);
	expect_silence();
	assert_int_equal(fcntl(mine, F_GETFD), FD_CLOEXEC);
	world_close(&x);
}

/* The namespace does not have the address. The port is served outside alone. */
static void test_address_that_is_not_inside(void **state)
{
	static const int errors[] = {-EADDRNOTAVAIL, -EAFNOSUPPORT};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		struct broker_listen msg;
		struct outcome o;
		struct world x;

		world_open(&x);
		add(&x, 1, true, &o);
		msg = asked();
		say(&x, &msg, errors[i], -1);
		expect_all(&x, DP_MSG_ADD, 1, 0);
		assert_true(o.calls == 1 && o.err == 0);
		world_close(&x);
	}
}

/* Sockets for ports that do not exist, or for an earlier request, are closed, and nothing else
 * happens. */
static void test_sockets_nobody_asked_for(void **state)
{
	struct broker_listen msg, stray;
	struct outcome o;
	struct world x;
	unsigned before;

	(void)state;
	world_open(&x);
	add(&x, 1, true, &o);
	msg = stray = asked();
	before = open_fds();
	stray.seq--;
	say(&x, &stray, 0, listening(AF_INET, SOCK_STREAM));
	stray = msg;
	stray.port_id = 9;
	say(&x, &stray, 0, listening(AF_INET, SOCK_STREAM));
	assert_int_equal(o.calls, 0);
	assert_int_equal(open_fds(), before);
	say(&x, &msg, 0, listening(AF_INET, SOCK_STREAM));
	before = open_fds();
	say(&x, &msg, 0, listening(AF_INET, SOCK_STREAM)); /* the same answer a second time */
	assert_int_equal(open_fds(), before);
	world_close(&x);
}

static void test_torn_answer_of_the_broker(void **state)
{
	struct broker_listen msg;
	struct outcome o;
	struct world x;
	int fd;

	(void)state;
	world_open(&x);
	add(&x, 1, true, &o);
	msg = asked();
	fd = listening(AF_INET, SOCK_STREAM);
	assert_int_equal(fdpass_send(far.broker, &msg, 5, &fd, 1, 0), 0);
	close(fd);
	turns(&x);
	assert_int_equal(far.hung_up, 1);
	assert_int_equal(o.calls, 0);
	/* A new broker is asked for the socket again. */
	dp_ports_ask_broker(x.dp, true);
	assert_int_equal(asked().port_id, 1);
	dp_ports_broker_hopeless(x.dp);
	turns(&x);
	assert_true(o.calls == 1 && o.err == -ECONNRESET);
	world_close(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_socket_inside_goes_to_one_worker),
		cmocka_unit_test(test_refused_port_with_a_socket_inside),
		cmocka_unit_test(test_who_is_to_blame),
		cmocka_unit_test(test_wrong_answers_of_the_broker),
		cmocka_unit_test(test_positive_error_is_no_descriptor),
		cmocka_unit_test(test_address_that_is_not_inside),
		cmocka_unit_test(test_sockets_nobody_asked_for),
		cmocka_unit_test(test_torn_answer_of_the_broker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
