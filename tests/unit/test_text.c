/* SPDX-License-Identifier: Apache-2.0 */
/* Text by others, on its way to a terminal. */
#include "cmocka_all.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/text.h"

/* NOLINTBEGIN(misc-misleading-bidirectional): such is what is to be replaced */
static const char *const cases[][2] = {
	{"", ""},
	{"plain", "plain"},
	{"a\tb\nc\033[2Jd\177", "a b c [2Jd "},
	{"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
	{"\xc2\x80|\xc2\x9b|\xc2\x9f|\xc2\xa0",
	 " | | |\xc2\xa0"},			/* C1, and the first character after C1 */
	{"\x9b|\xff|\xc3", " | | "},		/* not UTF-8 */
	{"\xc0\x9b", "  "},			/* an overlong ESC [ */
	{"\xe2\x82", "  "},			/* cut off */
	{"a\xe2\x80\xaetxt.exe", "a txt.exe"},	/* right-to-left override */
	{"a\xe2\x81\xa6\xe2\x80\xa8z", "a  z"}, /* an isolate; the end of a line */
	{"a\xd8\x9c\xe2\x80\x8f", "a  "},	/* marks of direction */
	{"a\xe2\x80\x93\xe2\x80\xafz", "a\xe2\x80\x93\xe2\x80\xafz"}, /* none of the above */
};
/* NOLINTEND(misc-misleading-bidirectional) */

static void test_make_printable(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[64];

		snprintf(text, sizeof(text), "%s", cases[i][0]);
		assert_string_equal(text_make_printable(text), cases[i][1]);
	}
}

static void test_put_printable(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *text = NULL;
		size_t len = 0;
		FILE *file = open_memstream(&text, &len);

		assert_non_null(file);
		text_put_printable(cases[i][0], file);
		fclose(file);
		assert_string_equal(text, cases[i][1]);
		free(text);
	}
}

static void test_utf8(void **state)
{
	uint32_t rune = 0;

	(void)state;
	assert_int_equal(text_utf8_at("\xe2\x82\xac", &rune), 3);
	assert_int_equal(rune, 0x20ac);
	assert_int_equal(text_utf8_at("\xed\xa0\x80", &rune), 0); /* half of a surrogate pair */
	assert_int_equal(text_utf8_at("\xf4\x90\x80\x80", &rune), 0);
}

static void test_numbers(void **state)
{
	static const struct {
		const char *text;
		int code;
		long long number;
	} numbers[] = {
		{"0", 0, 0},
		{"80", 0, 80},
		{"+080", 0, 80},
		{"-20100", 0, -20100},
		{"9223372036854775807", 0, LLONG_MAX},
		{"-9223372036854775808", 0, LLONG_MIN},
		{"9223372036854775808", -ERANGE, 1},
		{"-9223372036854775809", -ERANGE, 1},
		{"", -EINVAL, 1},
		{"-", -EINVAL, 1},
		{"+", -EINVAL, 1},
		{"--1", -EINVAL, 1},
		{"+-1", -EINVAL, 1},
		{" 1", -EINVAL, 1},
		{"\t1", -EINVAL, 1},
		{"\n1", -EINVAL, 1},
		{"\v1", -EINVAL, 1},
		{"\f1", -EINVAL, 1},
		{"\r1", -EINVAL, 1},
		{"1 ", -EINVAL, 1},
		{"1\n", -EINVAL, 1},
		{"0x10", -EINVAL, 1},
		{"1e3", -EINVAL, 1},
		{"1.0", -EINVAL, 1},
		{"1_000", -EINVAL, 1},
		{"\xd9\xa1", -EINVAL, 1}, /* a digit of another script */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		long long number = 1;

		assert_int_equal(text_parse_number(numbers[i].text, &number), numbers[i].code);
		assert_int_equal(number, numbers[i].number);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_make_printable),
		cmocka_unit_test(test_put_printable),
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
