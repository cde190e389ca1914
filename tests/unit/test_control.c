/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/fdpass.h"
#include "control_world.h"

/* An address is in use. The parent settles the port at once, and nothing is left of it. */
static void test_taken_address(void **state)
{
	struct port_route route;
	struct outcome first, o = {.calls = 0};
	struct world x;

	(void)state;
	world_open(&x);
	add(&x, 1, false, &first);
	expect_all(&x, DP_MSG_ADD, 1, 0);
	route = route_to(&x, false);
	dataplane_port_add(x.dp, port_of(2, &o), &route);
	assert_true(o.calls == 1 && o.err == -EADDRINUSE);
	assert_int_equal(o.by, PORT_BY_PARENT);
	expect_silence();
	world_close(&x);
}

/* Ports */

static void test_port_is_there_when_all_have_it(void **state)
{
	struct dp_msg first, second;
	struct outcome o;
	struct world x;

	(void)state;
	world_open(&x);
	add(&x, 1, false, &o);
	first = expect_told(0, DP_MSG_ADD, 1);
	second = expect_told(1, DP_MSG_ADD, 1);
	assert_int_equal(first.seq, second.seq);
	assert_false(address_is_free(&x));
	answer(&x, 0, &first, 0);
	assert_int_equal(o.calls, 0);
	answer(&x, 1, &second, 0);
	assert_true(o.calls == 1 && o.err == 0);
	expect_silence();
	world_close(&x);
}

/* One worker refuses a port. The others give it up, and then the port is refused with the reason.
 */
static void test_refused_port_is_undone(void **state)
{
	static const struct {
		int said, told;
	} cases[] = {{-EMFILE, -EMFILE}, {EMFILE, -EPROTO}, {INT32_MIN, -EPROTO}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct dp_msg msg;
		struct outcome o;
		struct world x;

		world_open(&x);
		add(&x, 1, false, &o);
		msg = expect_told(0, DP_MSG_ADD, 1);
		answer(&x, 0, &msg, cases[i].said);
		msg = expect_told(1, DP_MSG_ADD, 1);
		answer(&x, 1, &msg, 0);
		assert_int_equal(o.calls, 0);
		expect_all(&x, DP_MSG_REMOVE, 1, 0);
		assert_true(o.calls == 1 && o.err == cases[i].told);
		assert_int_equal(o.by, PORT_BY_WORKER);
		assert_true(address_is_free(&x));
		world_close(&x);
	}
}

static void test_removed_port_is_free(void **state)
{
	struct outcome o = {.calls = 0};
	struct dp_msg msg;
	struct world x;

	(void)state;
	world_open(&x);
	add_live(&x, 1);
	take_away(&x, 1, &o);
	msg = expect_told(0, DP_MSG_REMOVE, 1);
	answer(&x, 0, &msg, 0);
	assert_int_equal(o.calls, 0);
	msg = expect_told(1, DP_MSG_REMOVE, 1);
	answer(&x, 1, &msg, 0);
	assert_true(o.calls == 1 && o.err == 0);
	assert_true(address_is_free(&x));
	world_close(&x);
}

/* These answers do not count: about ports that do not exist, to earlier requests, and a second
 * answer to a request. */
static void test_stray_answers_count_for_nothing(void **state)
{
	struct dp_msg msg, stray;
	struct outcome o;
	struct world x;

	(void)state;
	world_open(&x);
	add(&x, 1, false, &o);
	msg = stray = expect_told(0, DP_MSG_ADD, 1);
	stray.seq++;
	answer(&x, 0, &stray, 0);
	answer(&x, 0, &stray, -EIO);
	stray = msg;
	stray.port_id = 77;
	answer(&x, 0, &stray, 0);
	stray.port_id = INT32_MIN;
	answer(&x, 0, &stray, 0);
	answer(&x, 0, &msg, 0);
	assert_int_equal(o.calls, 0);
	msg = expect_told(1, DP_MSG_ADD, 1);
	answer(&x, 1, &msg, 0);
	answer(&x, 1, &msg, -EIO);
	assert_true(o.calls == 1 && o.err == 0);
	world_close(&x);
}

/* A worker sends what no worker sends, or closes its channel. The data plane is ended. */
static void test_nonsense_ends_the_data_plane(void **state)
{
	struct dp_msg wrong = {.type = DP_MSG_ADD};
	struct world x;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		size_t lengths[] = {sizeof(wrong), 3, 0};

		world_open(&x);
		if (lengths[i])
			assert_int_equal(
				fdpass_send(far.control[1], &wrong, lengths[i], NULL, 0, 0), 0);
		else
			close_fd(&far.control[1]);
		turns(&x);
		assert_int_equal(far.hung_up, 1);
		world_close(&x);
	}
}

/* Sends that fail for want of memory, from the next one on. */
static unsigned sends_failing;
/* No descriptor may be on its way any more. */
static bool no_descriptors;
static unsigned sends;

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): the linker's names */
ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	static const int errors[] = {ENOBUFS, ENOMEM};

	sends++;
	if (no_descriptors && msg->msg_controllen > 0) {
		errno = ETOOMANYREFS;
		return -1;
	}
	if (sends_failing == 0)
		return __real_sendmsg(fd, msg, flags);
	errno = errors[sends_failing-- % ARRAY_SIZE(errors)];
	return -1;
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

/* What is asked in a turn of the loop leaves at once, and so may the answers come. */
static void test_requests_leave_together(void **state)
{
	enum { PORTS = DP_MSGS_MAX };
	static struct outcome o[PORTS];
	struct dp_msg answers[PORTS];
	struct world x;

	(void)state;
	world_open(&x);
	for (int id = 1; id <= PORTS; id++)
		add(&x, id, false, &o[id - 1]);
	sends = 0;
	turns(&x);
	assert_int_equal(sends, WORKERS);
	for (unsigned i = 0; i < WORKERS; i++) {
		for (int id = 1; id <= PORTS; id++) {
			struct dp_msg msg = expect_told(i, DP_MSG_ADD, id);

			answers[id - 1] =
				(struct dp_msg){.type = DP_MSG_DONE, .seq = msg.seq, .port_id = id};
		}
		assert_int_equal(o[0].calls + o[PORTS - 1].calls, 0);
		assert_int_equal(fdpass_send(far.control[i], answers, sizeof(answers), NULL, 0, 0),
				 0);
		turns(&x);
	}
	for (int id = 1; id <= PORTS; id++)
		assert_true(o[id - 1].calls == 1 && o[id - 1].err == 0);
	world_close(&x);
}

/* While no descriptor can be passed, what brings none and is older still leaves. */
static void test_only_descriptors_wait(void **state)
{
	struct outcome adding, removing = {.calls = 0};
	struct world x;

	(void)state;
	world_open(&x);
	add_live(&x, 1);
	no_descriptors = true;
	take_away(&x, 1, &removing);
	add(&x, 2, false, &adding);
	expect_all(&x, DP_MSG_REMOVE, 1, 0);
	assert_true(removing.calls == 1 && removing.err == 0);
	expect_silence();
	no_descriptors = false;
	for (unsigned i = 0; i < 100 && x.dp->channels[WORKERS - 1].queue; i++)
		turns(&x);
	expect_all(&x, DP_MSG_ADD, 2, 0);
	assert_true(adding.calls == 1 && adding.err == 0);
	world_close(&x);
}

/* The worker ends while messages wait. */
static void test_channel_ends_with_messages(void **state)
{
	struct outcome o;
	struct world x;

	(void)state;
	world_open(&x);
	no_descriptors = true;
	add(&x, 1, false, &o);
	turns(&x);
	assert_non_null(x.dp->channels[0].retry);
	close_fd(&far.control[0]);
	for (unsigned i = 0; i < 20; i++)
		turns(&x);
	assert_int_equal(far.hung_up, 1);
	assert_null(x.dp->channels[0].retry);
	no_descriptors = false;
	world_close(&x);
}

/* Memory is short for some time: no message is lost, with a descriptor or without, and their order
 * stays. */
static void test_messages_wait_for_memory(void **state)
{
	struct outcome first, second, removing = {.calls = 0};
	struct dp_msg reload = {.type = DP_MSG_GO};
	struct world x;

	(void)state;
	world_open(&x);
	add_live(&x, 1);
	sends_failing = 20;
	add(&x, 2, false, &first);
	take_away(&x, 1, &removing);
	add(&x, 3, false, &second);
	for (unsigned i = 0; i < WORKERS; i++)
		assert_int_equal(dp_channel_post(&x.dp->channels[i], &reload, -1, false), 0);
	for (unsigned i = 0;
	     i < 5000 && (sends_failing || x.dp->channels[0].queue || x.dp->channels[1].queue); i++)
		turns(&x);
	assert_int_equal(sends_failing, 0);
	expect_all(&x, DP_MSG_ADD, 2, 0);
	expect_all(&x, DP_MSG_REMOVE, 1, 0);
	expect_all(&x, DP_MSG_ADD, 3, 0);
	expect_told(0, DP_MSG_GO, 0);
	expect_told(1, DP_MSG_GO, 0);
	assert_true(first.calls == 1 && first.err == 0);
	assert_true(removing.calls == 1 && removing.err == 0);
	assert_true(second.calls == 1 && second.err == 0);
	world_close(&x);
}

/* After a reload the new workers' channels take the place of the old ones, with the messages that
 * wait in them, and the workers' answers are heard. */
static void test_channels_are_adopted(void **state)
{
	struct dp_channel next[LIMIT_WORKERS];
	struct dp_msg go = {.type = DP_MSG_GO};
	int fds[WORKERS], ends[WORKERS];
	struct outcome o;
	struct world x;

	(void)state;
	world_open(&x);
	dp_channels_init(x.dp, next, &x.dp->plane);
	assert_int_equal(dp_pairs_open(fds, ends, WORKERS), 0);
	assert_int_equal(dp_channels_open(next, x.dp, fds), 0);
	sends_failing = 2 * WORKERS;
	for (unsigned i = 0; i < WORKERS; i++)
		assert_int_equal(dp_channel_post(&next[i], &go, -1, false), 0);
	assert_non_null(next[0].queue);
	plane_down(x.dp, false);
	dp_channels_adopt(x.dp->channels, next, WORKERS);
	for (unsigned i = 0; i < WORKERS; i++)
		far.control[i] = ends[i];
	x.dp->plane.state = DP_CHILD_UP;
	for (unsigned i = 0; i < 5000 && (x.dp->channels[0].queue || x.dp->channels[1].queue); i++)
		turns(&x);
	expect_told(0, DP_MSG_GO, 0);
	expect_told(1, DP_MSG_GO, 0);
	add(&x, 1, false, &o);
	expect_all(&x, DP_MSG_ADD, 1, 0);
	assert_true(o.calls == 1 && o.err == 0);
	world_close(&x);
}

/* A worker that does not read now gets everything later, in order. */
static void test_full_channel_keeps_order(void **state)
{
	enum { PORTS = 40 };
	static struct outcome o[PORTS];
	struct dp_msg first[WORKERS];
	int small = 1;
	struct world x;

	(void)state;
	world_open(&x);
	for (unsigned i = 0; i < WORKERS; i++)
		setsockopt(x.dp->channels[i].fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	for (int id = 1; id < PORTS; id++) {
		add(&x, id, false, &o[id - 1]);
		turns(&x); /* each leaves alone */
	}
	assert_non_null(x.dp->channels[0].queue);
	/* A message that is sent when there is room again must not overtake those that wait. */
	for (unsigned i = 0; i < WORKERS; i++)
		first[i] = expect_told(i, DP_MSG_ADD, 1);
	add(&x, PORTS, false, &o[PORTS - 1]);
	for (unsigned i = 0; i < WORKERS; i++)
		answer(&x, i, &first[i], 0);
	for (int id = 2; id <= PORTS; id++) {
		for (unsigned i = 0; i < WORKERS; i++) {
			struct dp_msg msg = expect_told(i, DP_MSG_ADD, id);

			answer(&x, i, &msg, 0);
		}
		assert_true(o[id - 1].calls == 1 && o[id - 1].err == 0);
	}
	assert_null(x.dp->channels[0].queue);
	expect_silence();
	world_close(&x);
}

/* Death of the data plane */

static void test_next_data_plane_gets_all_ports(void **state)
{
	struct outcome adding, removing = {.calls = 0};
	struct world x;

	(void)state;
	world_open(&x);
	add_live(&x, 1);
	add_live(&x, 2);
	add(&x, 3, false, &adding);
	take_away(&x, 2, &removing);
	plane_down(x.dp, false);
	turns(&x);
	assert_true(removing.calls == 1 && removing.err == 0);
	assert_int_equal(adding.calls, 0);
	plane_up(x.dp);
	dp_ports_offer(x.dp);
	expect_all(&x, DP_MSG_ADD, 1, 0);
	expect_all(&x, DP_MSG_ADD, 3, 0);
	assert_true(adding.calls == 1 && adding.err == 0);
	expect_silence();
	/* A live port that the new data plane refuses is kept, for the next one. */
	plane_down(x.dp, false);
	plane_up(x.dp);
	dp_ports_offer(x.dp);
	expect_all(&x, DP_MSG_ADD, 1, -EMFILE);
	expect_all(&x, DP_MSG_ADD, 3, 0);
	take_away(&x, 1, &removing);
	world_close(&x);
}

/* Data planes die over a port. It is refused after the second. */
static void test_deadly_port_is_refused(void **state)
{
	struct outcome o;
	struct world x;

	(void)state;
	world_open(&x);
	add(&x, 1, false, &o);
	plane_down(x.dp, false);
	turns(&x);
	assert_int_equal(o.calls, 0);
	plane_up(x.dp);
	dp_ports_offer(x.dp);
	plane_down(x.dp, false);
	turns(&x);
	assert_true(o.calls == 1 && o.err == -ECONNRESET);
	assert_int_equal(o.by, PORT_BY_DATA_PLANE);
	assert_true(address_is_free(&x));
	add(&x, 2, false, &o); /* a port that no data plane was offered */
	plane_down(x.dp, true);
	turns(&x);
	assert_true(o.calls == 1 && o.err == -ECONNRESET);
	world_close(&x);
}

/* A worker had no descriptor for its channel to the broker: another one is opened, at both ends,
 * and for that worker alone. */
static void test_channel_is_opened_again(void **state)
{
	struct dp_msg lost = {.type = DP_MSG_NEW_BROKER, .err = -EMFILE};
	struct broker_channels channels;
	struct pollfd pfd;
	struct world x;
	size_t n = 1;
	char byte;
	int fd;

	(void)state;
	world_open(&x);
	pfd = (struct pollfd){.fd = far.broker, .events = POLLIN};
	for (unsigned i = 0; i < 2; i++) /* it may be said twice */
		assert_int_equal(fdpass_send(far.control[1], &lost, sizeof(lost), NULL, 0, 0), 0);
	turns(&x);
	for (unsigned i = 0; poll(&pfd, 1, 0) == 0; i++) {
		assert_true(i < 1000);
		usleep(10000);
		turns(&x);
	}
	assert_int_equal(fdpass_recv(far.broker, &channels, sizeof(channels), &fd, &n, 0),
			 sizeof(channels));
	assert_true(channels.workers == 1 && n == 1);
	assert_int_equal(expect_told(1, DP_MSG_NEW_BROKER, 0).brings_fd, 1);
	expect_silence();
	turns(&x);
	assert_int_equal(recv(far.broker, &byte, 1, MSG_DONTWAIT), -1);
	close(fd);
	world_close(&x);
}

/* The default leaves every other CPU to clients and servers. */
static void test_workers(void **state)
{
	static const struct {
		unsigned cpus, workers;
	} defaults[] = {
		{0, 1},	  {1, 1},   {2, 1},   {3, 2},	 {4, 2},    {5, 3},	{8, 4},
		{63, 32}, {64, 32}, {65, 33}, {127, 64}, {128, 64}, {1024, 64}, {UINT_MAX, 64},
	};
	cpu_set_t cpus;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(defaults); i++)
		assert_int_equal(dp_workers_for_cpus(defaults[i].cpus), defaults[i].workers);
	assert_int_equal(dataplane_worker_count(1), 1);
	assert_int_equal(dataplane_worker_count(7), 7);
	assert_int_equal(dataplane_worker_count(64), 64);
	assert_int_equal(dataplane_worker_count(65), 64);
	assert_return_code(sched_getaffinity(0, sizeof(cpus), &cpus), errno);
	assert_int_equal(dataplane_worker_count(0),
			 dp_workers_for_cpus((unsigned)CPU_COUNT(&cpus)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_port_is_there_when_all_have_it),
		cmocka_unit_test(test_taken_address),
		cmocka_unit_test(test_refused_port_is_undone),
		cmocka_unit_test(test_removed_port_is_free),
		cmocka_unit_test(test_stray_answers_count_for_nothing),
		cmocka_unit_test(test_nonsense_ends_the_data_plane),
		cmocka_unit_test(test_full_channel_keeps_order),
		cmocka_unit_test(test_requests_leave_together),
		cmocka_unit_test(test_only_descriptors_wait),
		cmocka_unit_test(test_channel_ends_with_messages),
		cmocka_unit_test(test_channel_is_opened_again),
		cmocka_unit_test(test_messages_wait_for_memory),
		cmocka_unit_test(test_channels_are_adopted),
		cmocka_unit_test(test_next_data_plane_gets_all_ports),
		cmocka_unit_test(test_deadly_port_is_refused),
		cmocka_unit_test(test_workers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
