/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include "dataplane/worker/sockpool.h"

#include "io_sim.h"

/* The pool of sockets, with a simulated kernel and a broker that makes all that is asked for. */

#define SECOND 1000000000ull
#define TRIM   (5 * SECOND)

struct box {
	struct sim *sim;
	struct sockpool pool;
	uint64_t now_ns;
};

static void box_open(struct box *b)
{
	b->sim = sim_open(1, 0);
	b->now_ns = SECOND;
	sockpool_init(&b->pool, sim_io(b->sim), FDPASS_MAX);
}

static void box_close(struct box *b)
{
	sockpool_close(&b->pool);
	assert_int_equal(sim_open_fds(b->sim), 0);
	sim_close(b->sim);
}

/* The worker asks for what is wanted, as at the end of a turn, and the broker answers. Returns how
 * many sockets came. */
static unsigned refill(struct box *b)
{
	unsigned n = sockpool_wanted(&b->pool, b->now_ns);
	int fds[FDPASS_MAX];

	if (n == 0)
		return 0;
	assert_true(n <= FDPASS_MAX);
	sockpool_requested(&b->pool, b->now_ns);
	assert_int_equal(sockpool_wanted(&b->pool, b->now_ns), 0);
	for (unsigned i = 0; i < n; i++)
		fds[i] = sim_socket(b->sim, false);
	sockpool_fill(&b->pool, fds, n, 0, b->now_ns);
	return n;
}

static bool take(struct box *b)
{
	int fd = sockpool_take(&b->pool);

	if (fd < 0)
		return false;
	sim_io(b->sim)->ops->close_fd(sim_io(b->sim), fd);
	return true;
}

/* Takes n sockets, one each millisecond. Returns how many times the pool was empty. */
static unsigned rush(struct box *b, unsigned n)
{
	unsigned missed = 0;

	for (unsigned i = 0; i < n; i++) {
		missed += !take(b);
		b->now_ns += 1000000;
		refill(b);
	}
	return missed;
}

/* Trims the pool until it is at rest. Returns how many times that took. */
static unsigned rest(struct box *b)
{
	unsigned times = 1;

	while (b->now_ns += TRIM, sockpool_trim(&b->pool)) {
		refill(b);
		assert_true(++times < 20);
	}
	refill(b);
	return times;
}

static void test_holds_nothing_without_a_port(void **state)
{
	struct box b;

	(void)state;
	box_open(&b);
	assert_int_equal(refill(&b), 0);
	b.pool.users = 1;
	assert_int_equal(refill(&b), SOCKPOOL_REST);
	b.pool.users = 0;
	rest(&b);
	assert_int_equal(b.pool.n, 0);
	assert_int_equal(refill(&b), 0);
	box_close(&b);
}

static void test_grows_in_a_rush_and_comes_to_rest(void **state)
{
	struct box b;

	(void)state;
	box_open(&b);
	b.pool.users = 1;
	refill(&b);
	assert_int_equal(rush(&b, 2000), 0);
	assert_true(b.pool.batch > SOCKPOOL_REST);
	assert_true(rest(&b) < 10);
	assert_int_equal(b.pool.batch, SOCKPOOL_REST);
	assert_int_equal(b.pool.n, SOCKPOOL_REST);
	box_close(&b);
}

/* However many sockets were taken, the pool is full again at rest. */
static void test_is_full_at_rest(void **state)
{
	struct box b;

	(void)state;
	for (unsigned taken = 0; taken < 2 * SOCKPOOL_REST; taken++) {
		box_open(&b);
		b.pool.users = 1;
		refill(&b);
		for (unsigned i = 0; i < taken; i++, b.now_ns += SECOND) {
			take(&b);
			refill(&b);
		}
		rest(&b);
		assert_int_equal(b.pool.n, SOCKPOOL_REST);
		box_close(&b);
	}
}

static void test_waiting_flows_get_theirs(void **state)
{
	struct box b;

	(void)state;
	box_open(&b);
	/* No port counts on this pool, but a flow waits for it: its port's second target is of
	 * another family. */
	b.pool.waiting = 1;
	assert_int_equal(refill(&b), SOCKPOOL_REST);
	b.pool.waiting = 0;
	rest(&b);
	assert_int_equal(b.pool.n, 0);
	b.pool.waiting = 10000;
	assert_int_equal(refill(&b), FDPASS_MAX);
	box_close(&b);
}

static void test_failed_request_is_not_repeated_at_once(void **state)
{
	struct box b;

	(void)state;
	box_open(&b);
	b.pool.users = 1;
	assert_int_equal(sockpool_wanted(&b.pool, b.now_ns), SOCKPOOL_REST);
	sockpool_requested(&b.pool, b.now_ns);
	sockpool_fill(&b.pool, NULL, 0, -24, b.now_ns);
	assert_int_equal(sockpool_wanted(&b.pool, b.now_ns), 0);
	assert_int_equal(sockpool_wanted(&b.pool, b.now_ns + SECOND), SOCKPOOL_REST);
	/* A new broker is asked at once. */
	sockpool_reset(&b.pool);
	assert_int_equal(sockpool_wanted(&b.pool, b.now_ns), SOCKPOOL_REST);
	box_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_holds_nothing_without_a_port),
		cmocka_unit_test(test_grows_in_a_rush_and_comes_to_rest),
		cmocka_unit_test(test_is_full_at_rest),
		cmocka_unit_test(test_waiting_flows_get_theirs),
		cmocka_unit_test(test_failed_request_is_not_repeated_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
