/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <string.h>

#include "base/library.h"

struct text {
	int before;
	__typeof__(&strlen) len;
	__typeof__(&strcmp) cmp;
	void (*no_such_function)(void);
	int after;
};

static const struct library_symbol symbols[] = {
	{"strlen", offsetof(struct text, len)},
	{"strcmp", offsetof(struct text, cmp)},
	{"no_such_function", offsetof(struct text, no_such_function)},
};

static int load(const char *soname, size_t n_symbols, struct text *text, struct err *e)
{
	*text = (struct text){.before = 1, .after = 2};
	return library_load(soname, "the library of everything", "libeverything1", symbols,
			    n_symbols, text, e);
}

static void test_functions(void **state)
{
	struct text text;
	struct err e = {0};

	(void)state;
	assert_int_equal(load("libc.so.6", 2, &text, &e), 0);
	assert_int_equal(text.len("four"), 4);
	assert_int_equal(text.cmp("a", "a"), 0);
	assert_null(text.no_such_function);
	assert_true(text.before == 1 && text.after == 2);
}

static void test_no_library(void **state)
{
	struct text text;
	struct err e = {0};

	(void)state;
	assert_int_equal(load("libno-such-library.so.1", 2, &text, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "the library of everything cannot be loaded (Debian's "
				      "package is libeverything1): "));
	assert_non_null(strstr(e.msg, "libno-such-library.so.1"));
	assert_null(text.len);
}

static void test_no_function(void **state)
{
	struct text text;
	struct err e = {0};

	(void)state;
	assert_int_equal(load("libc.so.6", 3, &text, &e), -ENOENT);
	assert_string_equal(e.msg, "libc.so.6 lacks no_such_function");
	assert_true(!text.len && !text.cmp && !text.no_such_function);
	assert_true(text.before == 1 && text.after == 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_functions),
		cmocka_unit_test(test_no_library),
		cmocka_unit_test(test_no_function),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
