/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "launch/statedir.h"
#include "launch_util.h"

static int setup(void **state)
{
	(void)state;
	scratch_make();
	setenv("HOME", "/nonexistent", 1);
	setenv("TMPDIR", scratch, 1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	scratch_remove();
	return 0;
}

static bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static void open_ok(const char *path, struct statedir *d)
{
	struct err e = {0};

	if (statedir_open(path, d, &e))
		fail_msg("%s", e.msg);
}

static void test_named_is_made_and_removed(void **state)
{
	struct statedir d;

	(void)state;
	open_ok(in_scratch("a/b"), &d);
	assert_string_equal(d.path, in_scratch("a/b"));
	assert_true(exists(in_scratch("a/b/lock")));
	write_text(in_scratch("a/b/api.sock"), "");
	statedir_close(&d);
	assert_false(exists(in_scratch("a/b")));
}

static void test_temporary(void **state)
{
	struct statedir d;
	struct stat st;
	int fd;

	(void)state;
	open_ok(NULL, &d);
	assert_int_equal(strncmp(d.path, in_scratch("rootlesskit"), strlen(scratch) + 12), 0);
	assert_int_equal(stat(d.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	/* systemd-tmpfiles takes an exclusive lock before it removes a directory: it must not get
	 * it. */
	fd = open(d.path, O_RDONLY | O_DIRECTORY);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), -1);
	assert_int_equal(errno, EWOULDBLOCK);
	close(fd);
	statedir_close(&d);
	assert_false(exists(d.path));
}

static void test_second_instance_is_refused(void **state)
{
	struct statedir first, second;
	struct err e = {0};

	(void)state;
	open_ok(in_scratch("s"), &first);
	write_text(in_scratch("s/child_pid"), "1");
	assert_int_equal(statedir_open(in_scratch("s"), &second, &e), -EBUSY);
	assert_non_null(strstr(e.msg, "another RootlessKit is running"));
	assert_true(exists(in_scratch("s/child_pid")));
	statedir_close(&first);
	open_ok(in_scratch("s"), &second);
	statedir_close(&second);
}

static void test_leftovers_go(void **state)
{
	struct statedir d;

	(void)state;
	assert_int_equal(mkdir(in_scratch("s"), 0755), 0);
	assert_int_equal(mkdir(in_scratch("s/dir"), 0755), 0);
	assert_int_equal(mkdir(in_scratch("s/dir/deep"), 0755), 0);
	write_text(in_scratch("s/dir/deep/file"), "x");
	write_text(in_scratch("s/child_pid"), "4711");
	write_text(in_scratch("s/lock"), "");
	open_ok(in_scratch("s"), &d);
	assert_false(exists(in_scratch("s/dir")));
	assert_false(exists(in_scratch("s/child_pid")));
	assert_true(exists(in_scratch("s/lock")));
	statedir_close(&d);
}

static void test_links_are_not_followed(void **state)
{
	struct statedir d;

	(void)state;
	assert_int_equal(mkdir(in_scratch("s"), 0755), 0);
	assert_int_equal(mkdir(in_scratch("precious"), 0755), 0);
	write_text(in_scratch("precious/file"), "x");
	assert_int_equal(symlink(in_scratch("precious"), in_scratch("s/link")), 0);
	open_ok(in_scratch("s"), &d);
	statedir_close(&d);
	assert_true(exists(in_scratch("precious/file")));
}

static void test_home_is_not_emptied(void **state)
{
	struct statedir d;
	struct err e = {0};

	(void)state;
	assert_int_equal(mkdir(in_scratch("h"), 0755), 0);
	assert_int_equal(mkdir(in_scratch("h/user"), 0755), 0);
	write_text(in_scratch("h/user/diary"), "x");
	setenv("HOME", in_scratch("h/user"), 1);
	assert_int_equal(statedir_open(in_scratch("h/user"), &d, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "home directory"));
	assert_int_equal(statedir_open(in_scratch("h"), &d, &e), -EINVAL);
	assert_int_equal(statedir_open("/", &d, &e), -EINVAL);
	assert_true(exists(in_scratch("h/user/diary")));
	assert_false(exists(in_scratch("h/user/lock")));
	/* Beside it is fine. */
	open_ok(in_scratch("h/use"), &d);
	statedir_close(&d);
	assert_true(exists(in_scratch("h/user/diary")));
}

static void test_child_pid(void **state)
{
	mode_t old = umask(077);
	struct statedir d;
	struct err e = {0};
	struct stat st;

	(void)state;
	open_ok(in_scratch("s"), &d);
	assert_int_equal(statedir_write_child_pid(&d, 4711, &e), 0);
	assert_string_equal(read_text(in_scratch("s/child_pid")), "4711");
	assert_int_equal(stat(in_scratch("s/child_pid"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0444);
	assert_false(exists(in_scratch("s/.child_pid")));
	statedir_close(&d);
	assert_false(exists(in_scratch("s")));
	umask(old);
}

static void test_what_cannot_be_made(void **state)
{
	struct statedir d;
	struct err e = {0};

	(void)state;
	write_text(in_scratch("file"), "");
	assert_true(statedir_open(in_scratch("file"), &d, &e) < 0);
	assert_non_null(strstr(e.msg, in_scratch("file")));
	assert_true(statedir_open(in_scratch("file/x"), &d, &e) < 0);
	assert_true(statedir_open("/proc/nowhere", &d, &e) < 0);
	setenv("TMPDIR", in_scratch("nowhere"), 1);
	assert_true(statedir_open(NULL, &d, &e) < 0);
	assert_non_null(strstr(e.msg, "nowhere"));
	assert_int_equal(d.lock_fd, -1);
	assert_int_equal(d.dir_fd, -1);
}

/* Many at once on one directory: each one that gets in is alone, whatever the others remove. */
static void test_instances_in_turn(void **state)
{
	int ok = 0, status;

	(void)state;
	for (int i = 0; i < 8; i++) {
		if (fork())
			continue;
		for (int k = 0; k < 200; k++) {
			struct statedir d;
			int fd, code = statedir_open(in_scratch("s"), &d, NULL);

			if (code == -EBUSY)
				continue;
			if (code)
				_exit(1);
			fd = open(in_scratch("s/alone"), O_CREAT | O_EXCL | O_WRONLY, 0600);
			if (fd < 0)
				_exit(2);
			close(fd);
			if (unlink(in_scratch("s/alone")))
				_exit(3);
			statedir_close(&d);
		}
		_exit(0);
	}
	while (wait(&status) > 0)
		ok += status == 0;
	assert_int_equal(ok, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_named_is_made_and_removed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_temporary, setup, teardown),
		cmocka_unit_test_setup_teardown(test_second_instance_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_leftovers_go, setup, teardown),
		cmocka_unit_test_setup_teardown(test_links_are_not_followed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_home_is_not_emptied, setup, teardown),
		cmocka_unit_test_setup_teardown(test_child_pid, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_cannot_be_made, setup, teardown),
		cmocka_unit_test_setup_teardown(test_instances_in_turn, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
