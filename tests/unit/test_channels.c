/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/array.h"
#include "dataplane/dataplane.h"
#include "worker_world.h"

/* A worker's channels to the parent and to the broker: what is asked for, answered, refused, and
 * torn. */

static const struct io_sock tcp4 = {
	.family = AF_INET, .type = SOCK_STREAM, .protocol = IPPROTO_TCP, .netns_cookie = SIM_NETNS};

/* The next request to the broker. */
static struct broker_request expect_request(struct world *x, int family, int proto)
{
	struct broker_request req;

	for (int i = 0; !sim_channel_get(x->sim, x->broker, &req, sizeof(req)); i++) {
		assert_true(i < 1000);
		turn(x);
	}
	assert_int_equal(req.family, family);
	assert_int_equal(req.proto, proto);
	return req;
}

static void reply_with(struct world *x, const struct broker_reply *reply, const int *fds, size_t n)
{
	sim_channel_put(x->sim, x->broker, reply, sizeof(*reply), fds, n);
	turn(x);
	turn(x);
}

static void tcp_world(struct world *x, struct broker_request *req)
{
	world_open(x, 1, 0);
	add_port(x, PORT_TCP, 0);
	*req = expect_request(x, AF_INET, IPPROTO_TCP);
}

/* A socket that is not exactly what was ordered is closed and counted. The others are used. */
static void test_wrong_sockets_are_rejected(void **state)
{
	static const struct {
		struct io_sock is;
		bool used;
	} wrong[] = {
		{{AF_INET6, SOCK_STREAM, IPPROTO_TCP, SIM_NETNS}, false},
		{{AF_UNIX, SOCK_STREAM, 0, SIM_NETNS}, false},
		{{AF_INET, SOCK_DGRAM, IPPROTO_UDP, SIM_NETNS}, false},
		{{AF_INET, SOCK_RAW, IPPROTO_TCP, SIM_NETNS}, false},
		{{AF_INET, SOCK_STREAM, IPPROTO_SCTP, SIM_NETNS}, false},
		{{AF_INET, SOCK_STREAM, IPPROTO_TCP, SIM_NETNS + 1}, false},
		{{AF_INET, SOCK_STREAM, IPPROTO_TCP, SIM_NETNS}, true},
	};
	enum { WRONG = ARRAY_SIZE(wrong) };
	struct broker_reply reply = {.family = AF_INET, .proto = IPPROTO_TCP, .count = WRONG + 1};
	struct broker_request req;
	int fds[WRONG + 1];
	struct world x;
	unsigned before;

	(void)state;
	tcp_world(&x, &req);
	before = sim_open_fds(x.sim);
	for (size_t i = 0; i < WRONG; i++)
		fds[i] = sim_socket_like(x.sim, &wrong[i].is, wrong[i].used);
	fds[WRONG] = sim_socket_like(x.sim, &tcp4, false);
	reply_with(&x, &reply, fds, WRONG + 1);
	assert_int_equal(x.stats.sockets_rejected, WRONG);
	assert_int_equal(x.stats.sockets_received, 1);
	assert_int_equal(sim_open_fds(x.sim), before + 1);
	world_close(&x);
}

/* Sockets that nobody ordered are rejected: of another kind, once more, or of a kind that does not
 * exist. */
static void test_unordered_sockets_are_rejected(void **state)
{
	static const struct broker_reply replies[] = {
		{.family = AF_INET, .proto = IPPROTO_UDP, .count = 1},
		{.family = AF_INET6, .proto = IPPROTO_TCP, .count = 1},
		{.family = AF_UNIX, .proto = IPPROTO_TCP, .count = 1},
		{.family = AF_INET, .proto = IPPROTO_SCTP, .count = 1},
		{.family = 0, .proto = 0, .count = 1},
	};
	struct broker_request req;
	struct world x;
	unsigned before, n = 0;

	(void)state;
	tcp_world(&x, &req);
	before = sim_open_fds(x.sim);
	for (size_t i = 0; i < ARRAY_SIZE(replies); i++, n++) {
		struct io_sock is = {.family = replies[i].family,
				     .type = replies[i].proto == IPPROTO_UDP ? SOCK_DGRAM
									     : SOCK_STREAM,
				     .protocol = replies[i].proto,
				     .netns_cookie = SIM_NETNS};
		int fd = sim_socket_like(x.sim, &is, false);

		reply_with(&x, &replies[i], &fd, 1);
		assert_int_equal(x.stats.sockets_rejected, n + 1);
		assert_int_equal(sim_open_fds(x.sim), before);
	}
	/* An ordered batch is still taken, but only once. */
	for (unsigned i = 0; i < 2; i++) {
		struct broker_reply reply = {.family = AF_INET, .proto = IPPROTO_TCP, .count = 1};
		int fd = sim_socket_like(x.sim, &tcp4, false);

		sim_channel_put(x.sim, x.broker, &reply, sizeof(reply), &fd, 1);
	}
	turn(&x);
	assert_int_equal(x.stats.sockets_received, 1);
	assert_int_equal(x.stats.sockets_rejected, n + 1);
	world_close(&x);
}

/* When an answer brings no socket, the worker asks again after a while, not at once. The answer may
 * have an error, of either sign, or none. */
static void test_errors_are_retried_later(void **state)
{
	static const int errors[] = {-EMFILE, 0, EMFILE, INT32_MAX};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		struct broker_reply reply = {.family = AF_INET, .proto = IPPROTO_TCP, .count = 8};
		struct broker_request req;
		struct world x;
		uint64_t asked_ns;

		tcp_world(&x, &req);
		reply.err = errors[i];
		asked_ns = sim_now(x.sim);
		reply_with(&x, &reply, NULL, 0);
		sim_client_connect(x.sim, x.listener);
		expect_request(&x, AF_INET, IPPROTO_TCP);
		assert_in_range(sim_now(x.sim) - asked_ns, 50 * MS_NS, 60 * MS_NS);
		world_close(&x);
	}
}

/* The sockets of an answer with an error count. */
static void test_error_with_sockets(void **state)
{
	struct broker_reply reply = {
		.family = AF_INET, .proto = IPPROTO_TCP, .count = 8, .err = -EMFILE};
	struct broker_request req;
	struct world x;
	int fds[2];

	(void)state;
	tcp_world(&x, &req);
	for (int i = 0; i < 2; i++)
		fds[i] = sim_socket_like(x.sim, &tcp4, false);
	reply_with(&x, &reply, fds, 2);
	assert_int_equal(x.stats.sockets_received, 2);
	sim_client_connect(x.sim, x.listener);
	turn(&x);
	turn(&x);
	assert_int_equal(x.stats.tcp_connected, 1);
	world_close(&x);
}

/* When a worker has no descriptors left, it loses the sockets of that message, and only those. */
static void test_lost_descriptors_concern_one_pool(void **state)
{
	struct broker_reply tcp = {.family = AF_INET, .proto = IPPROTO_TCP, .count = 1};
	struct broker_reply udp = {.family = AF_INET, .proto = IPPROTO_UDP, .count = 1};
	struct broker_request req;
	struct world x;
	int fd;

	(void)state;
	tcp_world(&x, &req);
	add_port(&x, PORT_UDP, 0);
	expect_request(&x, AF_INET, IPPROTO_UDP);
	fd = sim_socket(x.sim, false);
	sim_channel_put(x.sim, x.broker, &tcp, sizeof(tcp), &fd, 1);
	sim_channel_lose_fds(x.sim, x.broker, 1);
	fd = sim_socket(x.sim, true);
	reply_with(&x, &udp, &fd, 1);
	assert_int_equal(x.stats.sockets_received, 1);
	assert_int_equal(x.stats.sockets_rejected, 0);
	pass(&x, 60 * MS_NS);
	assert_true(x.stats.sockets_received > 1);
	world_close(&x);
}

/* The broker has died. Its channel ends, the next broker's channel is used, and what the old broker
 * owed is asked for again. */
static void test_next_broker_is_asked(void **state)
{
	struct dp_msg msg = {.type = DP_MSG_NEW_BROKER};
	struct broker_request req, again;
	struct world x;
	int old, next;

	(void)state;
	tcp_world(&x, &req);
	old = x.broker;
	next = sim_channel(x.sim);
	tell_worker(&x, x.control, &msg, next);
	turn(&x);
	turn(&x);
	assert_true(sim_channel_open(x.sim, old)); /* an answer may still be in it */
	sim_channel_end(x.sim, old);
	x.broker = next;
	again = expect_request(&x, AF_INET, IPPROTO_TCP);
	assert_int_equal(again.count, req.count);
	assert_false(sim_channel_open(x.sim, old));
	world_close(&x);
}

/* The channel ends before the parent announces the next broker. */
static void test_next_broker_comes_late(void **state)
{
	struct dp_msg msg = {.type = DP_MSG_NEW_BROKER};
	struct broker_request req;
	struct world x;
	int next, client;

	(void)state;
	tcp_world(&x, &req);
	sim_channel_end(x.sim, x.broker);
	client = sim_client_connect(x.sim, x.listener);
	settle(&x);
	assert_false(sim_channel_open(x.sim, x.broker));
	assert_int_equal(x.stats.tcp_flows, 1);
	next = sim_channel(x.sim);
	tell_worker(&x, x.control, &msg, next);
	x.broker = next;
	settle(&x);
	assert_int_equal(x.stats.tcp_connected, 1);
	assert_false(sim_far_saw_reset(x.sim, client));
	world_close(&x);
}

/* The worker has no descriptor for the next broker's channel. It says so, and uses another one. */
static void test_next_broker_without_its_channel(void **state)
{
	struct dp_msg msg = {.type = DP_MSG_NEW_BROKER}, said;
	struct broker_request req;
	struct world x;

	(void)state;
	tcp_world(&x, &req);
	sim_channel_end(x.sim, x.broker);
	tell_worker(&x, x.control, &msg, -1); /* which never had a channel */
	settle(&x);
	assert_false(sim_channel_get(x.sim, x.control, &said, sizeof(said)));
	tell_worker(&x, x.control, &msg, sim_channel(x.sim));
	sim_channel_lose_fds(x.sim, x.control, 1);
	settle(&x);
	assert_true(sim_channel_get(x.sim, x.control, &said, sizeof(said)));
	assert_int_equal(said.type, DP_MSG_NEW_BROKER);
	x.broker = sim_channel(x.sim);
	tell_worker(&x, x.control, &msg, x.broker);
	expect_request(&x, AF_INET, IPPROTO_TCP);
	world_close(&x);
}

/* Two brokers are announced while the first one is still there. The later one counts, and nothing
 * leaks. */
static void test_last_broker_counts(void **state)
{
	struct dp_msg msg = {.type = DP_MSG_NEW_BROKER};
	struct broker_request req;
	struct world x;
	int next[2];

	(void)state;
	tcp_world(&x, &req);
	for (int i = 0; i < 2; i++) {
		next[i] = sim_channel(x.sim);
		tell_worker(&x, x.control, &msg, next[i]);
	}
	turn(&x);
	turn(&x);
	assert_false(sim_channel_open(x.sim, next[0]));
	sim_channel_end(x.sim, x.broker);
	x.broker = next[1];
	expect_request(&x, AF_INET, IPPROTO_TCP);
	world_close(&x);
}

/* A message of the wrong length ends the channel. Its descriptors are closed. */
static void test_torn_reply_ends_broker(void **state)
{
	static const size_t lengths[] = {1, sizeof(struct broker_reply) - 1,
					 sizeof(struct broker_reply) + 1, 200};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		uint8_t torn[256] = {AF_INET, IPPROTO_TCP, 1};
		struct broker_request req;
		struct world x;
		unsigned before;
		int fd;

		tcp_world(&x, &req);
		before = sim_open_fds(x.sim);
		fd = sim_socket(x.sim, false);
		sim_channel_put(x.sim, x.broker, torn, lengths[i], &fd, 1);
		settle(&x);
		assert_false(sim_channel_open(x.sim, x.broker));
		assert_int_equal(sim_open_fds(x.sim), before - 1);
		world_close(&x);
	}
}

/* The channel to the broker is full. The request goes out when there is room. */
static void test_request_waits_for_room(void **state)
{
	struct world x;

	(void)state;
	world_open(&x, 1, 0);
	sim_channel_room(x.sim, x.broker, 0);
	add_port(&x, PORT_TCP, 0);
	turn(&x);
	assert_int_equal(x.stats.sockets_requested, 0);
	sim_client_connect(x.sim, x.listener);
	turn(&x);
	sim_channel_room(x.sim, x.broker, 8);
	expect_request(&x, AF_INET, IPPROTO_TCP);
	world_close(&x);
}

/* The parent */

static int ended_after(struct world *x)
{
	int code = 0;

	for (int i = 0; i < 10 && code <= 0; i++) {
		sim_let_pass(x->sim, MS_NS);
		code = worker_turn(x->w);
		assert_true(code >= 0 || code == -ETIME);
	}
	return code;
}

static void test_end_of_control_ends_worker(void **state)
{
	struct world x;

	(void)state;
	world_open(&x, 1, 0);
	add_port(&x, PORT_TCP, 0);
	assert_true(ended_after(&x) <= 0);
	sim_channel_end(x.sim, x.control);
	assert_int_equal(ended_after(&x), 1);
	world_close(&x);
}

static void test_torn_request_ends_worker(void **state)
{
	static const size_t lengths[] = {1, sizeof(struct dp_msg) - 1, sizeof(struct dp_msg) + 1};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		uint8_t torn[sizeof(struct dp_msg) + 1] = {DP_MSG_ADD};
		struct world x;
		int fd;

		world_open(&x, 1, 0);
		fd = sim_listener(x.sim, AF_INET);
		sim_channel_put(x.sim, x.control, torn, lengths[i], &fd, 1);
		assert_int_equal(ended_after(&x), 1);
		assert_int_equal(sim_open_fds(x.sim), 2);
		world_close(&x);
	}
}

static void test_unknown_request_ends_worker(void **state)
{
	struct dp_msg msg = {.type = DP_MSG_DONE}, answer;
	struct world x;
	int fd;

	(void)state;
	world_open(&x, 1, 0);
	fd = sim_listener(x.sim, AF_INET);
	tell_worker(&x, x.control, &msg, fd);
	/* What was sent with it is not obeyed any more. */
	ask_remove(&x, 5);
	assert_int_equal(ended_after(&x), 1);
	assert_false(next_answer(&x, &answer));
	assert_int_equal(sim_open_fds(x.sim), 2);
	world_close(&x);
}

/* Requests that cannot be met are refused with the reason. Their sockets are closed. */
static void test_bad_ports_are_refused(void **state)
{
	struct dp_msg msg;
	struct world x;

	(void)state;
	world_open(&x, 1, 0);
	msg = port_msg(&x, PORT_TCP, 0);
	ask_add(&x, &msg, -1);
	expect_answer(&x, msg.port_id, x.seq, -EMFILE);
	msg.proto = PORT_UDP + 1;
	ask_add(&x, &msg, sim_listener(x.sim, AF_INET));
	expect_answer(&x, msg.port_id, x.seq, -EINVAL);
	msg = port_msg(&x, PORT_TCP, 0);
	msg.target.sa.sa_family = AF_UNIX;
	ask_add(&x, &msg, sim_listener(x.sim, AF_INET));
	expect_answer(&x, msg.port_id, x.seq, -EINVAL);
	msg = port_msg(&x, PORT_TCP, 0);
	msg.slot = 8;
	ask_add(&x, &msg, sim_listener(x.sim, AF_INET));
	expect_answer(&x, msg.port_id, x.seq, -EINVAL);
	add_port(&x, PORT_TCP, 0);
	msg = port_msg(&x, PORT_TCP, 0);
	msg.port_id = --x.port_id;
	ask_add(&x, &msg, sim_listener(x.sim, AF_INET));
	expect_answer(&x, msg.port_id, x.seq, -EEXIST);
	ask_remove(&x, 12345);
	expect_answer(&x, 12345, x.seq, -ENOENT);
	assert_int_equal(sim_open_fds(x.sim), 2 + 1);
	world_close(&x);
}

/* Requests that are sent at once, with descriptors and without: each gets its own, and is answered
 * in its order. */
static void test_requests_at_once(void **state)
{
	struct world x;
	int listeners[2];

	(void)state;
	world_open(&x, 1, 0);
	for (int i = 0; i < 2; i++) {
		struct dp_msg msg = port_msg(&x, PORT_TCP, 0);

		listeners[i] = sim_listener(x.sim, AF_INET);
		ask_remove(&x, 100 + i);
		ask_add(&x, &msg, listeners[i]);
	}
	expect_answer(&x, 100, 1, -ENOENT);
	expect_answer(&x, 1, 2, 0);
	expect_answer(&x, 101, 3, -ENOENT);
	expect_answer(&x, 2, 4, 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(listener_find(x.w, i + 1)->fd, listeners[i]);
	world_close(&x);
}

/* The worker has no descriptors left. The message itself is whole, so the worker refuses the
 * requests whose descriptor has not come, with the reason. */
static void test_port_without_its_descriptor(void **state)
{
	struct world x;

	(void)state;
	world_open(&x, 1, 0);
	for (int i = 0; i < 3; i++) {
		struct dp_msg msg = port_msg(&x, PORT_TCP, 0);

		ask_add(&x, &msg, sim_listener(x.sim, AF_INET));
	}
	ask_remove(&x, 100);
	sim_channel_lose_fds(x.sim, x.control, 2);
	expect_answer(&x, 1, 1, 0);
	expect_answer(&x, 2, 2, -EMFILE);
	expect_answer(&x, 3, 3, -EMFILE);
	expect_answer(&x, 100, 4, -ENOENT);
	assert_int_equal(sim_open_fds(x.sim), 2 + 1);
	world_close(&x);
}

static void test_table_of_ports_is_full(void **state)
{
	struct dp_msg msg;
	struct world x;

	(void)state;
	world_open(&x, 1, 0);
	for (int i = 0; i < 8; i++)
		add_port(&x, PORT_TCP, 0);
	msg = port_msg(&x, PORT_TCP, 0);
	ask_add(&x, &msg, sim_listener(x.sim, AF_INET));
	expect_answer(&x, msg.port_id, x.seq, -ENOSPC);
	x.port_id = 3;
	remove_port(&x);
	expect_answer(&x, 3, x.seq, 0);
	x.port_id = 20;
	add_port(&x, PORT_UDP, 0);
	world_close(&x);
}

/* The parent reads nothing. The worker goes on, keeps its answers in their order, and reads no more
 * requests than it has places for answers. */
static void test_answers_wait_for_parent(void **state)
{
	enum { REQUESTS = ANSWERS_SPARE + 8 + 40 };
	struct world x;
	uint32_t sent = 0, answered = 0;
	int client;

	(void)state;
	world_open(&x, 1, 0);
	add_port(&x, PORT_TCP, 0);
	x.seq = 0;
	sim_channel_room(x.sim, x.control, 0);
	while (sent < REQUESTS) {
		for (int i = 0; i < 20; i++, sent++)
			ask_remove(&x, 1000 + (int)sent);
		turn(&x);
		if (x.w->requests.waiting)
			break;
	}
	settle(&x);
	assert_true(x.w->requests.waiting);
	assert_in_range(x.w->answers.n, x.w->answers.max - DP_MSGS_MAX + 1, x.w->answers.max);
	client = sim_client_connect(x.sim, x.listener);
	settle(&x);
	assert_int_equal(x.stats.tcp_connected, 1);
	assert_false(sim_far_saw_reset(x.sim, client));
	while (answered < sent) {
		sim_channel_room(x.sim, x.control, 3);
		expect_answer(&x, 1000 + (int)answered, answered + 1, -ENOENT);
		answered++;
	}
	sim_channel_room(x.sim, x.control, 3);
	add_port(&x, PORT_TCP, 0);
	world_close(&x);
}

/* A port that is being closed keeps a place for its answer, however many requests follow. */
static void test_removals_keep_their_place(void **state)
{
	struct world x;
	struct dp_msg answer;
	unsigned n = 0, found = 0;

	(void)state;
	world_open(&x, 1, 0);
	add_port(&x, PORT_TCP, 0);
	x.no_sockets = true;
	sim_client_connect(x.sim, x.listener);
	settle(&x);
	sim_channel_room(x.sim, x.control, 0);
	remove_port(&x);
	while (!x.w->requests.waiting) {
		for (int i = 0; i < 20; i++)
			ask_remove(&x, 1000);
		turn(&x);
	}
	settle(&x);
	assert_int_equal(x.stats.listeners, 0);
	for (int idle = 0; idle < 100; idle++) {
		sim_channel_room(x.sim, x.control, 10);
		turn(&x);
		while (next_answer(&x, &answer)) {
			n++;
			found += answer.port_id == x.port_id && answer.err == 0;
		}
	}
	assert_true(n > ANSWERS_SPARE - DP_MSGS_MAX);
	assert_int_equal(found, 1);
	world_close(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wrong_sockets_are_rejected),
		cmocka_unit_test(test_unordered_sockets_are_rejected),
		cmocka_unit_test(test_errors_are_retried_later),
		cmocka_unit_test(test_error_with_sockets),
		cmocka_unit_test(test_lost_descriptors_concern_one_pool),
		cmocka_unit_test(test_next_broker_is_asked),
		cmocka_unit_test(test_next_broker_comes_late),
		cmocka_unit_test(test_next_broker_without_its_channel),
		cmocka_unit_test(test_last_broker_counts),
		cmocka_unit_test(test_torn_reply_ends_broker),
		cmocka_unit_test(test_request_waits_for_room),
		cmocka_unit_test(test_end_of_control_ends_worker),
		cmocka_unit_test(test_torn_request_ends_worker),
		cmocka_unit_test(test_unknown_request_ends_worker),
		cmocka_unit_test(test_bad_ports_are_refused),
		cmocka_unit_test(test_requests_at_once),
		cmocka_unit_test(test_port_without_its_descriptor),
		cmocka_unit_test(test_table_of_ports_is_full),
		cmocka_unit_test(test_answers_wait_for_parent),
		cmocka_unit_test(test_removals_keep_their_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
