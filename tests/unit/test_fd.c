/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/limits.h"
#include "file.h"

static char path[64];

static int setup(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "/tmp/test_fd.%d", (int)getpid());
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return 0;
}

static void test_files(void **state)
{
	char buf[8];
	struct stat st;

	(void)state;
	assert_int_equal(fd_read_file(path, buf, sizeof(buf)), -ENOENT);
	umask(0);
	assert_int_equal(file_write(path, "1234567", 0640), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_int_equal(fd_read_file(path, buf, sizeof(buf)), 7);
	assert_string_equal(buf, "1234567");
	/* There must be room for the NUL. */
	assert_int_equal(file_write(path, "12345678", 0640), 0);
	assert_int_equal(fd_read_file(path, buf, sizeof(buf)), -EFBIG);
	assert_int_equal(file_write(path, "", 0640), 0);
	assert_int_equal(fd_read_file(path, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "");
	assert_int_equal(file_write("/dev/full", "x", 0640), -ENOSPC);
}

/* The bytes are more than a pipe holds, so write(2) is short as long as the reader is slow. */
static void test_write_all(void **state)
{
	static char data[1 << 20];
	int fds[2], status;
	size_t len = 0;
	pid_t pid;

	(void)state;
	memset(data, 'x', sizeof(data));
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		close(fds[0]);
		_exit(fd_write_all(fds[1], data, sizeof(data)) != 0);
	}
	close(fds[1]);
	for (ssize_t n; (n = read(fds[0], data, 1000)) > 0;)
		len += (size_t)n;
	close(fds[0]);
	assert_int_equal(len, sizeof(data));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_flags(void **state)
{
	int fd = open("/dev/null", O_RDONLY);

	(void)state;
	assert_int_equal(fd_set_cloexec(fd, true), 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fd_set_cloexec(fd, false), 0);
	assert_int_equal(fcntl(fd, F_GETFD), 0);
	assert_int_equal(fd_set_nonblock(fd, true), 0);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_int_equal(fd_set_nonblock(fd, false), 0);
	assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
	close_fd(&fd);
	assert_int_equal(fd, -1);
	close_fd(&fd);
	assert_int_equal(fd_set_cloexec(fd, true), -EBADF);
	assert_int_equal(fd_set_nonblock(fd, true), -EBADF);
}

/* fd_fill_standard opens /dev/null for the standard descriptors that are closed, and touches no
 * other. */
static int fill(int mask)
{
	struct stat null, now, before[3];

	stat("/dev/null", &null);
	for (int fd = 0; fd < 3; fd++) {
		fstat(fd, &before[fd]);
		if (mask & 1 << fd)
			close(fd);
	}
	if (fd_fill_standard() != 0)
		return 1;
	for (int fd = 0; fd < 3; fd++) {
		const struct stat *want = mask & 1 << fd ? &null : &before[fd];

		if (fstat(fd, &now) < 0 || now.st_ino != want->st_ino)
			return 2;
		if (fcntl(fd, F_GETFD) != 0)
			return 3;
	}
	return 0;
}

static void test_fill_standard(void **state)
{
	(void)state;
	for (int mask = 0; mask < 8; mask++) {
		int status;
		pid_t pid = fork();

		if (pid == 0)
			_exit(fill(mask));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
}

static int handed_on(void)
{
	auto_fd int fd = open("/dev/null", O_RDONLY);

	return steal_fd(&fd);
}

static int dropped(void)
{
	auto_fd int fd = open("/dev/null", O_RDONLY);

	return fd;
}

static void test_scoped(void **state)
{
	int fd = dropped();

	(void)state;
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	fd = handed_on();
	assert_true(fcntl(fd, F_GETFD) >= 0);
	close(fd);
}

/* The limit of descriptors that the process is told that it has. */
static struct rlimit limit;
static bool limit_is_fake, limit_is_fixed, limit_is_unknown;

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): the linker's names */
int __real_getrlimit(__rlimit_resource_t what, struct rlimit *out);
int __real_setrlimit(__rlimit_resource_t what, const struct rlimit *in);
int __wrap_getrlimit(__rlimit_resource_t what, struct rlimit *out);
int __wrap_setrlimit(__rlimit_resource_t what, const struct rlimit *in);

/* clang's sanitizers call these functions, too, before they are ready for what they would add. */
#if defined(__has_attribute) && __has_attribute(disable_sanitizer_instrumentation)
#define PLAIN __attribute__((disable_sanitizer_instrumentation))
#else
#define PLAIN
#endif

PLAIN int __wrap_getrlimit(__rlimit_resource_t what, struct rlimit *out)
{
	if (!limit_is_fake)
		return __real_getrlimit(what, out);
	assert_int_equal(what, RLIMIT_NOFILE);
	errno = EPERM;
	if (limit_is_unknown)
		return -1;
	*out = limit;
	return 0;
}

PLAIN int __wrap_setrlimit(__rlimit_resource_t what, const struct rlimit *in)
{
	if (!limit_is_fake)
		return __real_setrlimit(what, in);
	assert_int_equal(what, RLIMIT_NOFILE);
	assert_true(in->rlim_cur <= in->rlim_max && in->rlim_max == limit.rlim_max);
	errno = EPERM;
	if (limit_is_fixed)
		return -1;
	limit = *in;
	return 0;
}

/* The C library's names where files are large (_FILE_OFFSET_BITS). */
int __wrap_getrlimit64(__rlimit_resource_t what, struct rlimit *out)
	__attribute__((alias("__wrap_getrlimit")));
int __wrap_setrlimit64(__rlimit_resource_t what, const struct rlimit *in)
	__attribute__((alias("__wrap_setrlimit")));
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

/* Whatever the user may have: never more than tables by descriptor are made for, and the kernel is
 * told so, too, which gives no higher number then. */
static void test_limit(void **state)
{
	static const struct {
		rlim_t soft, hard;
		bool fixed;
		unsigned before, after;
		rlim_t kernel;
	} rows[] = {
		{1024, 20000, false, 1024, 20000, 20000},
		{1024, RLIM_INFINITY, false, 1024, LIMIT_NOFILE, LIMIT_NOFILE},
		{RLIM_INFINITY, RLIM_INFINITY, false, LIMIT_NOFILE, LIMIT_NOFILE, LIMIT_NOFILE},
		{4 * LIMIT_NOFILE, 8 * LIMIT_NOFILE, false, LIMIT_NOFILE, LIMIT_NOFILE,
		 LIMIT_NOFILE},
		{RLIM_INFINITY, RLIM_INFINITY, true, LIMIT_NOFILE, LIMIT_NOFILE, RLIM_INFINITY},
		{256, 256, true, 256, 256, 256},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		unsigned before, after;

		limit = (struct rlimit){.rlim_cur = rows[i].soft, .rlim_max = rows[i].hard};
		limit_is_fixed = rows[i].fixed;
		limit_is_fake = true;
		before = fd_limit();
		after = fd_limit_raise();
		limit_is_fake = false;
		assert_int_equal(before, rows[i].before);
		assert_int_equal(after, rows[i].after);
		assert_true(limit.rlim_cur == rows[i].kernel);
	}
	limit_is_fake = limit_is_unknown = true;
	assert_int_equal(fd_limit_raise(), 1024);
	limit_is_fake = limit_is_unknown = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_files, setup, teardown),
		cmocka_unit_test(test_write_all),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_fill_standard),
		cmocka_unit_test(test_scoped),
		cmocka_unit_test(test_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
