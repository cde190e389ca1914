/* SPDX-License-Identifier: Apache-2.0 */
/* worker/rhythm.c: when a worker looks for events before it sleeps. */
#include "cmocka_all.h"

#include "dataplane/worker/rhythm.h"

#define US 1000ull

static struct rhythm r;
static uint64_t now_ns;

static int reset(void **state)
{
	(void)state;
	r = (struct rhythm){.row = 0};
	now_ns = 1;
	return 0;
}

/* One wait, that long. Returns how long it was told to look. */
static uint32_t wait_us(uint64_t us)
{
	uint32_t look_ns = rhythm_begin(&r, now_ns);

	now_ns += us * US;
	rhythm_end(&r, now_ns, false);
	return look_ns;
}

/* Waits until it is told to look, at most so often. The number of waits that slept. */
static unsigned waits_until_look(uint64_t us, unsigned max)
{
	unsigned n = 0;

	while (n < max && wait_us(us) == 0)
		n++;
	return n;
}

static void test_rhythm(void **state)
{
	(void)state;
	assert_int_equal(waits_until_look(90, 100), 16);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(wait_us(40), 100 * US);
}

static void test_no_rhythm(void **state)
{
	(void)state;
	assert_int_equal(waits_until_look(200, 1000), 1000);
	for (unsigned i = 0; i < 1000; i++) {
		/* The answer is quick, the next question is not. */
		assert_int_equal(wait_us(40), 0);
		assert_int_equal(wait_us(1000), 0);
	}
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(wait_us(40), 0);
		rhythm_break(&r);
	}
}

/* What looks in vain cost is bounded. */
static void test_misses(void **state)
{
	uint64_t looked_us = 0, began_ns = now_ns;

	(void)state;
	for (unsigned i = 0; i < 100000; i++)
		if (wait_us(i % 20 == 19 ? 300 : 30))
			looked_us += i % 20 == 19 ? 100 : 0;
	assert_true(looked_us > 0);
	assert_true(looked_us * US < (now_ns - began_ns) / 100);
	/* A rhythm without misses gets its looks back. */
	for (unsigned i = 0; i < 1000000 && r.misses; i++)
		wait_us(30);
	assert_int_equal(r.misses, 0);
}

/* After a connection has begun, a few waits look. */
static void test_new_connection(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		rhythm_expect(&r);
		for (unsigned n = 0; n < 3; n++)
			assert_int_equal(wait_us(40), 100 * US);
		assert_int_equal(wait_us(1000), 0);
	}
	/* Its server is far away: later connections are not looked for. */
	rhythm_expect(&r);
	assert_int_equal(wait_us(40), 100 * US);
	assert_int_equal(wait_us(20000), 100 * US);
	assert_int_equal(wait_us(40), 0);
	r.off_ns = now_ns + 1000 * US;
	rhythm_expect(&r);
	assert_int_equal(wait_us(40), 0);
	r.off_ns = 0;
	rhythm_expect(&r);
	rhythm_break(&r);
	assert_int_equal(wait_us(40), 0);
}

static void test_processors_are_short(void **state)
{
	(void)state;
	waits_until_look(90, 100);
	assert_int_equal(rhythm_begin(&r, now_ns), 100 * US);
	rhythm_end(&r, now_ns + 30 * US, true);
	assert_in_range(waits_until_look(90, 10000), 1000, 1200); /* 0.1 s */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_rhythm, reset),
		cmocka_unit_test_setup(test_no_rhythm, reset),
		cmocka_unit_test_setup(test_misses, reset),
		cmocka_unit_test_setup(test_new_connection, reset),
		cmocka_unit_test_setup(test_processors_are_short, reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
