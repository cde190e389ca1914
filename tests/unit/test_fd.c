/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
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

/* More than a pipe holds: write(2) is short as long as the reader is slow. */
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

/* Those that are closed, and only those, become /dev/null. */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_files, setup, teardown),
		cmocka_unit_test(test_write_all),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_fill_standard),
		cmocka_unit_test(test_scoped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
