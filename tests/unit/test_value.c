/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <limits.h>

#include "base/array.h"
#include "cli/value.h"

static void test_value_int(void **state)
{
	static const struct {
		const char *text;
		int value;
	} right[] = {{"0", 0},	   {"1500", 1500}, {"+7", 7},	  {"-7", -7},
		     {"0x10", 16}, {"0X1f", 31},   {"0o17", 15},  {"017", 15},
		     {"0b101", 5}, {"0x_10", 16},  {"0x1_0", 16}, {"2147483647", INT_MAX}};
	static const char *const wrong[] = {"",	     "-",   "+",   "x",	  "1x",	   " 1",
					    "1 ",    "0x",  "08",  "0b2", "1_000", "0x1_",
					    "0x__1", "--1", "1e3", "1.0"};
	int n = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(right); i++) {
		if (value_parse_int(right[i].text, &n) < 0 || n != right[i].value)
			fail_msg("%s became %d", right[i].text, n);
	}
	n = 77;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		if (value_parse_int(wrong[i], &n) != -EINVAL || n != 77)
			fail_msg("%s was taken", wrong[i]);
	assert_int_equal(value_parse_int("2147483648", &n), -ERANGE);
	assert_int_equal(value_parse_int("99999999999999999999999999", &n), -ERANGE);
}

static void test_value_duration(void **state)
{
	static const struct {
		const char *text;
		int ms;
	} right[] = {{"0", 0},
		     {"90", 90000},
		     {"90s", 90000},
		     {"1m30s", 90000},
		     {"1.5", 1500},
		     {"1.5h", 5400000},
		     {"500ms", 500},
		     {".5s", 500},
		     {"1.s", 1000},
		     {"1us", 1},
		     {"1ns", 1},
		     {"1500\xc2\xb5s", 2},
		     {"1h1m1s1ms", 3661001},
		     {"0s", 0}};
	static const char *const wrong[] = {"",	  "s",	    "1x",  "1s1", "-1s",  "1 s",  ".",
					    ".s", "1.2.3s", "inf", "nan", "1e3s", "0x1s", "1S"};
	int n = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(right); i++)
		if (value_parse_duration_ms(right[i].text, &n) < 0 || n != right[i].ms)
			fail_msg("%s became %d", right[i].text, n);
	n = 77;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		if (value_parse_duration_ms(wrong[i], &n) != -EINVAL || n != 77)
			fail_msg("%s was taken", wrong[i]);
	assert_int_equal(value_parse_duration_ms("9999999h", &n), -ERANGE);
	assert_int_equal(value_parse_duration_ms("999999999999999999999999999", &n), -ERANGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_value_int),
		cmocka_unit_test(test_value_duration),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
