/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines and error messages. */
#include "cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/log_output.h"

static int real_stderr = -1;

/* Makes fd standard error; -1: the real one again. If a write to it blocks, an alarm ends the test.
 */
static void redirect(int fd)
{
	if (real_stderr < 0)
		real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	dup2(fd < 0 ? real_stderr : fd, STDERR_FILENO);
	log_output_open();
	alarm(fd < 0 ? 0 : 60);
}

/* Everything that can be read from fd now. */
static const char *drained(int fd)
{
	static char text[1 << 20];
	size_t len = 0;
	ssize_t n;

	assert_int_equal(fd_set_nonblock(fd, true), 0);
	while ((n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	return text;
}

/* Returns what say() writes to stderr. */
static const char *said(void (*say)(void))
{
	const char *text;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	redirect(fds[1]);
	say();
	redirect(-1);
	text = drained(fds[0]);
	close(fds[0]);
	close(fds[1]);
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

#define LINES 20000

static unsigned count(const char *text, const char *word)
{
	unsigned n = 0;

	for (const char *at = strstr(text, word); at; at = strstr(at + 1, word))
		n++;
	return n;
}

/* Nobody reads for a while. The lines that went out are whole. When somebody reads again, the next
 * line says how many were lost. */
static void check_full(int in, int out)
{
	const char *text;
	unsigned went;
	char notice[200];

	log_init("parent", false);
	redirect(out);
	for (int i = 0; i < LINES; i++)
		log_info("line %d", i);
	text = drained(in);
	went = count(text, "] line ");
	assert_in_range(went, 8, LINES - 1);
	assert_int_equal(count(text, "\n"), went);
	assert_null(strstr(text, "lost"));
	log_info("after");
	log_info("later");
	redirect(-1);
	snprintf(notice, sizeof(notice),
		 "[rootlesskit:parent] warning: %u log lines were lost here: standard error took "
		 "no more\n[rootlesskit:parent] after\n[rootlesskit:parent] later\n",
		 LINES - went);
	assert_string_equal(drained(in), notice);
}

static void test_full_pipe(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	check_full(fds[0], fds[1]);
	/* Others who hold the pipe find it in the mode that it had. */
	assert_int_equal(fcntl(fds[1], F_GETFL) & O_NONBLOCK, 0);
	close(fds[0]);
	close(fds[1]);
}

/* The pipe is another user's, so it cannot be opened again to set a mode of our own. */
static void test_full_pipe_of_another_user(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(fchmod(fds[1], 0), 0);
	setfsuid(65534);
	check_full(fds[0], fds[1]);
	setfsuid(geteuid());
	close(fds[0]);
	close(fds[1]);
}

static void test_full_socket(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	check_full(fds[0], fds[1]);
	close(fds[0]);
	close(fds[1]);
}

static void test_stopped_terminal(void **state)
{
	int outer = posix_openpt(O_RDWR | O_NOCTTY), inner;
	const char *text;

	(void)state;
	assert_true(outer >= 0 && grantpt(outer) == 0 && unlockpt(outer) == 0);
	inner = open(ptsname(outer), O_RDWR | O_NOCTTY);
	assert_true(inner >= 0);
	log_init("parent", false);
	redirect(inner);
	assert_int_equal(tcflow(inner, TCOOFF), 0); /* Ctrl-S */
	for (int i = 0; i < 3; i++)
		log_info("nobody sees this");
	assert_int_equal(tcflow(inner, TCOON), 0);
	log_info("after");
	redirect(-1);
	text = drained(outer);
	assert_null(strstr(text, "nobody"));
	assert_non_null(strstr(text, "3 log lines were lost"));
	assert_non_null(strstr(text, "] after\r\n"));
	close(inner);
	close(outer);
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
	e.whole = true;
	assert_int_equal(err_wrap(&e, -EINVAL, "step 1"), -ENOENT);
	assert_string_equal(e.msg, "step 2: open x: No such file or directory");
	assert_int_equal(err_set(&e, -EINVAL, "%05000d", 1), -EINVAL);
	assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
	/* The caller passes no place for a message. */
	assert_int_equal(err_set(NULL, -EINVAL, "x"), -EINVAL);
	assert_int_equal(err_errno(NULL, -EINVAL, "x"), -EINVAL);
	assert_int_equal(err_wrap(NULL, -EINVAL, "x"), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_one_line),
		cmocka_unit_test(test_long_line),
		cmocka_unit_test(test_errno_is_kept),
		cmocka_unit_test(test_full_pipe),
		cmocka_unit_test(test_full_pipe_of_another_user),
		cmocka_unit_test(test_full_socket),
		cmocka_unit_test(test_stopped_terminal),
		cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
