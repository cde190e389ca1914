/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ns/subid.h"

static struct id_ranges r;

static int fresh(void **state)
{
	(void)state;
	memset(&r, 0, sizeof(r));
	return 0;
}

static void assert_range(size_t i, unsigned long start, unsigned long count)
{
	assert_true(i < r.n);
	assert_int_equal(r.range[i].start, start);
	assert_int_equal(r.range[i].count, count);
}

static void test_by_name_and_by_number(void **state)
{
	(void)state;
	assert_int_equal(subid_parse("root:1:2\n"
				     "penguin:231072:65536\n"
				     "penguins:1000:10\n"
				     "1001:400000:1000\n"
				     "10011:500000:1000\n"
				     "penguin:600000:1\n",
				     "penguin", 1001, &r),
			 0);
	assert_int_equal(r.n, 3);
	assert_range(0, 231072, 65536);
	assert_range(1, 400000, 1000);
	assert_range(2, 600000, 1);
}

static void test_user_without_a_name(void **state)
{
	(void)state;
	assert_int_equal(subid_parse("a:1:2\n54321:100000:65536", NULL, 54321, &r), 0);
	assert_int_equal(r.n, 1);
	assert_range(0, 100000, 65536);
}

static void test_lines_that_are_none(void **state)
{
	(void)state;
	assert_int_equal(subid_parse("\n# penguin:1:2\n:5:6\npenguin\npenguin:\npenguin:1\n"
				     "penguin:x:2\npenguin:1:y\npenguin:-1:2\npenguin:1:-2\n"
				     "penguin:1 :2\npenguin:1:2x\npenguin:10:0\n"
				     "penguin:99999999999999999999999:1\n"
				     "penguin:4294967295:2\npenguin::7\n",
				     "penguin", 1001, &r),
			 0);
	assert_int_equal(r.n, 0);
}

static void test_overlaps_are_left_out(void **state)
{
	(void)state;
	assert_int_equal(subid_parse("p:100:10\np:100:10\np:109:1\np:110:5\np:90:11\np:90:10\n"
				     "p:0:1000\n",
				     "p", 7, &r),
			 0);
	assert_int_equal(r.n, 3);
	assert_range(0, 100, 10);
	assert_range(1, 110, 5);
	assert_range(2, 90, 10);
}

static void test_too_many(void **state)
{
	static char text[64 * (SUBID_RANGES_MAX + 1)];
	size_t len = 0;

	(void)state;
	for (int i = 0; i < SUBID_RANGES_MAX + 1; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "p:%d:1\n", 1000 + 2 * i);
	assert_int_equal(subid_parse(text, "p", 7, &r), -E2BIG);
	assert_int_equal(r.n, SUBID_RANGES_MAX);
}

static void test_getsubids(void **state)
{
	(void)state;
	assert_int_equal(subid_parse_getsubids("0: penguin 231072 65536\n"
					       "1: penguin 400000 1000\n"
					       "Error fetching ranges\n"
					       "2: penguin x 1\n3: penguin 1\n: \n 4\n",
					       &r),
			 0);
	assert_int_equal(r.n, 2);
	assert_range(0, 231072, 65536);
	assert_range(1, 400000, 1000);
}

/* No machine has sub-ids for this number. */
static void test_none_names_the_user_and_the_remedy(void **state)
{
	struct subids *ids = malloc(sizeof(*ids));
	struct err e = {0};

	(void)state;
	assert_int_equal(subid_lookup("static", 3999999999U, -1, ids, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "No subuid ranges found for user 3999999999"));
	assert_non_null(strstr(e.msg, "/etc/subuid"));
	assert_int_equal(subid_lookup("auto", 3999999999U, -1, ids, &e), -ENOENT);
	assert_int_equal(subid_lookup("dynamic", 3999999999U, -1, ids, &e), -ENOENT);
	free(ids);
}

static void test_fit(void **state)
{
	struct id_ranges mine = {.n = 0};
	size_t left_out;

	(void)state;
	for (unsigned long i = 0; i < 100; i++)
		mine.range[mine.n++] = (struct id_range){1000000 + i * 2000, 1000};
	assert_int_equal(subid_fit(&mine), 0);
	assert_int_equal(mine.n, 100);
	while (mine.n < 200) {
		mine.range[mine.n] = (struct id_range){100000000 + mine.n * 200000, 100000};
		mine.n++;
	}
	left_out = subid_fit(&mine);
	assert_true(left_out > 0 && left_out < 100);
	assert_int_equal(mine.n, 200 - left_out);
	assert_int_equal(subid_fit(&mine), 0);
}

static void test_dropped_are_counted(void **state)
{
	struct id_ranges mine = {.n = 0};

	(void)state;
	assert_int_equal(
		subid_parse("me:1000:10\nme:1000:10\nme:1005:10\nme:2000:0\n", "me", 5, &mine), 0);
	assert_int_equal(mine.n, 1);
	assert_int_equal(mine.dropped, 2); /* the same range a second time does not count */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_by_name_and_by_number, fresh),
		cmocka_unit_test_setup(test_user_without_a_name, fresh),
		cmocka_unit_test_setup(test_lines_that_are_none, fresh),
		cmocka_unit_test_setup(test_overlaps_are_left_out, fresh),
		cmocka_unit_test_setup(test_too_many, fresh),
		cmocka_unit_test_setup(test_getsubids, fresh),
		cmocka_unit_test_setup(test_none_names_the_user_and_the_remedy, fresh),
		cmocka_unit_test(test_fit),
		cmocka_unit_test(test_dropped_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
