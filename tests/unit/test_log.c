/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines and error messages. */
#include "cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"

/* What say() writes to stderr. */
static const char *said(void (*say)(void))
{
	static char text[8192];
	int fds[2], saved = dup(STDERR_FILENO);
	ssize_t n;

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	dup2(fds[1], STDERR_FILENO);
	say();
	dup2(saved, STDERR_FILENO);
	n = read(fds[0], text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	close(fds[0]);
	close(fds[1]);
	close(saved);
	return text;
}

static void say_all(void)
{
	log_error("number %d", 1);
	log_warning("two");
	log_info("three");
	log_debug("four");
}

static void say_long(void)
{
	log_info("%05000d", 7);
}

static void test_lines(void **state)
{
	(void)state;
	log_init("parent", false);
	assert_false(log_is_debug());
	assert_string_equal(said(say_all), "[rootlesskit:parent] error: number 1\n"
					   "[rootlesskit:parent] warning: two\n"
					   "[rootlesskit:parent] three\n");
	log_init("child ", true);
	assert_true(log_is_debug());
	assert_string_equal(said(say_all), "[rootlesskit:child ] error: number 1\n"
					   "[rootlesskit:child ] warning: two\n"
					   "[rootlesskit:child ] three\n"
					   "[rootlesskit:child ] debug: four\n");
}

static void say_odd(void)
{
	log_info("one\ntwo\ttabs \033[31m \177 gr\303\274n");
}

static void test_one_line(void **state)
{
	(void)state;
	log_init("parent", false);
	assert_string_equal(said(say_odd),
			    "[rootlesskit:parent] one two tabs  [31m   gr\303\274n\n");
}

static void test_long_line(void **state)
{
	const char *line = said(say_long);

	(void)state;
	assert_int_equal(strlen(line), 2047);
	assert_int_equal(line[2046], '\n');
	assert_memory_equal(line, "[rootlesskit:", 13);
}

static void test_errno_is_kept(void **state)
{
	(void)state;
	errno = EXDEV;
	said(say_all);
	log_init("parent", false);
	errno = EXDEV;
	log_debug("nobody hears it");
	assert_int_equal(errno, EXDEV);
}

static void test_errors(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(err_set(&e, -EINVAL, "bad %s", "thing"), -EINVAL);
	assert_int_equal(e.code, -EINVAL);
	assert_string_equal(e.msg, "bad thing");
	assert_int_equal(err_errno(&e, -ENOENT, "open %s", "x"), -ENOENT);
	assert_string_equal(e.msg, "open x: No such file or directory");
	assert_int_equal(err_wrap(&e, -ENOENT, "step %d", 2), -ENOENT);
	assert_string_equal(e.msg, "step 2: open x: No such file or directory");
	assert_int_equal(err_set(&e, -EINVAL, "%05000d", 1), -EINVAL);
	assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
	/* Nobody wants to know. */
	assert_int_equal(err_set(NULL, -EINVAL, "x"), -EINVAL);
	assert_int_equal(err_errno(NULL, -EINVAL, "x"), -EINVAL);
	assert_int_equal(err_wrap(NULL, -EINVAL, "x"), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),	  cmocka_unit_test(test_one_line),
		cmocka_unit_test(test_long_line), cmocka_unit_test(test_errno_is_kept),
		cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
