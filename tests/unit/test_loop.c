/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <unistd.h>

#include "base/loop.h"

static struct loop *loop;
static int a[2], b[2]; /* pipes */
static struct loop_source *src_a, *src_b, *timer;
static int calls_a, calls_b, ticks;
static uint32_t events_a;
static bool no_memory;

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): the linker's names */
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	return no_memory ? NULL : __real_malloc(size);
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

static int setup(void **state)
{
	(void)state;
	calls_a = calls_b = ticks = 0;
	return loop_open(&loop) || pipe(a) || pipe(b);
}

static int teardown(void **state)
{
	(void)state;
	loop_close(loop);
	for (int i = 0; i < 2; i++) {
		close(a[i]);
		close(b[i]);
	}
	return 0;
}

static void on_a(void *arg, uint32_t events)
{
	assert_ptr_equal(arg, a);
	events_a = events;
	calls_a++;
}

static void on_b(void *arg, uint32_t events)
{
	(void)arg;
	(void)events;
	calls_b++;
}

static void tick(void *arg, uint32_t events)
{
	(void)arg;
	(void)events;
	ticks++;
}

static void turn(int timeout_ms)
{
	assert_int_equal(loop_run_once(loop, timeout_ms), 0);
}

static void test_readable(void **state)
{
	(void)state;
	src_a = loop_add_fd(loop, a[0], EPOLLIN, on_a, b);
	assert_non_null(src_a);
	loop_source_set_arg(src_a, a);
	loop_source_set_arg(NULL, a);
	turn(0);
	assert_int_equal(calls_a, 0);
	assert_int_equal(write(a[1], "x", 1), 1);
	turn(-1);
	turn(-1); /* level-triggered: the byte has not been read */
	assert_int_equal(calls_a, 2);
	assert_int_equal(events_a, EPOLLIN);
	assert_int_equal(loop_source_set_events(src_a, 0), 0);
	turn(0);
	assert_int_equal(calls_a, 2);
	assert_int_equal(loop_source_set_events(src_a, EPOLLIN), 0);
	close(a[1]);
	a[1] = -1;
	turn(-1);
	assert_true(events_a & EPOLLHUP);
	loop_remove(src_a);
	turn(0);
	assert_int_equal(calls_a, 3);
}

static void test_bad_descriptor(void **state)
{
	(void)state;
	errno = 0;
	assert_null(loop_add_fd(loop, -1, EPOLLIN, on_a, a));
	assert_int_equal(errno, EBADF);
	loop_remove(NULL);
}

static void remove_both(void *arg, uint32_t events)
{
	(void)arg;
	(void)events;
	calls_a++;
	loop_remove(src_a);
	loop_remove(src_b);
}

/* Both pipes are ready in the same turn. The one that is looked at first removes the other. */
static void test_removed_from_within(void **state)
{
	(void)state;
	src_a = loop_add_fd(loop, a[0], EPOLLIN, remove_both, NULL);
	src_b = loop_add_fd(loop, b[0], EPOLLIN, remove_both, NULL);
	assert_int_equal(write(a[1], "x", 1), 1);
	assert_int_equal(write(b[1], "x", 1), 1);
	turn(-1);
	turn(0);
	assert_int_equal(calls_a, 1);
}

static void test_timers(void **state)
{
	uint64_t start = loop_now_ms();

	(void)state;
	assert_non_null(loop_add_timer(loop, 30, tick, NULL));
	assert_non_null(loop_add_timer(loop, 0, tick, NULL));
	timer = loop_add_timer(loop, 10, tick, NULL);
	loop_remove(timer);
	turn(-1);
	assert_int_equal(ticks, 1);
	while (ticks < 2)
		turn(-1);
	assert_true(loop_now_ms() - start >= 30);
	turn(0);
	assert_int_equal(ticks, 2);
}

static void again(void *arg, uint32_t events)
{
	(void)arg;
	(void)events;
	if (++ticks < 3)
		assert_non_null(loop_add_timer(loop, 0, again, NULL));
}

static void test_timer_that_sets_another(void **state)
{
	(void)state;
	assert_non_null(loop_add_timer(loop, 0, again, NULL));
	while (ticks < 3)
		turn(-1);
	turn(0);
	assert_int_equal(ticks, 3);
}

static void drop_b(void *arg, uint32_t events)
{
	(void)arg;
	(void)events;
	loop_remove(src_b);
}

/* What is tried again and again does not end because memory is short for a while. */
static void test_timers_without_memory(void **state)
{
	struct loop_source *many[64];
	unsigned n = 0, left = 0;

	(void)state;
	no_memory = true;
	assert_non_null(loop_add_timer(loop, 0, again, NULL));
	while (ticks < 3)
		turn(-1);
	turn(0);
	while (n < 64 && (many[n] = loop_add_timer(loop, 1000, tick, NULL)))
		n++;
	assert_in_range(n, 10, 63);
	loop_remove(many[0]);
	turn(0);
	while (left < 64 && loop_add_timer(loop, 1000, tick, NULL))
		left++;
	assert_int_equal(left, 1);
	no_memory = false;
	assert_non_null(loop_add_timer(loop, 0, tick, NULL));
	turn(-1);
	assert_int_equal(ticks, 4);
}

static void test_timer_removes_a_ready_source(void **state)
{
	(void)state;
	src_b = loop_add_fd(loop, b[0], EPOLLIN, on_b, NULL);
	assert_int_equal(write(b[1], "x", 1), 1);
	assert_non_null(loop_add_timer(loop, 0, drop_b, NULL));
	turn(-1);
	turn(0);
	turn(0);
	assert_true(calls_b <= 1);
	loop_remove(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_readable, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_descriptor, setup, teardown),
		cmocka_unit_test_setup_teardown(test_removed_from_within, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timer_that_sets_another, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timers_without_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timer_removes_a_ready_source, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
