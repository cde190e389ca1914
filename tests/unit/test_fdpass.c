/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fdpass.h"

static int pair[2];

static int setup(void **state)
{
	(void)state;
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair);
}

static int teardown(void **state)
{
	(void)state;
	close(pair[0]);
	close(pair[1]);
	return 0;
}

static int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void test_message(void **state)
{
	char buf[16];
	size_t n = 0;

	(void)state;
	assert_int_equal(fdpass_recv(pair[1], buf, sizeof(buf), NULL, &n, 0), -EAGAIN);
	assert_int_equal(fdpass_send(pair[0], "hello", 5, NULL, 0, 0), 0);
	assert_int_equal(fdpass_recv(pair[1], buf, sizeof(buf), NULL, NULL, 0), 5);
	assert_memory_equal(buf, "hello", 5);
}

static void test_descriptors(void **state)
{
	int sent[FDPASS_MAX], got[FDPASS_MAX], before = count_fds();
	size_t n = FDPASS_MAX;
	struct stat a, b;
	char buf[4];

	(void)state;
	for (int i = 0; i < FDPASS_MAX; i++)
		sent[i] = i % 2 ? pair[0] : pair[1];
	assert_int_equal(fdpass_send(pair[0], "x", 1, sent, FDPASS_MAX, 0), 0);
	assert_int_equal(fdpass_recv(pair[1], buf, sizeof(buf), got, &n, 0), 1);
	assert_int_equal(n, FDPASS_MAX);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(fstat(sent[i], &a), 0);
		assert_int_equal(fstat(got[i], &b), 0);
		assert_int_equal(a.st_ino, b.st_ino);
		assert_int_equal(fcntl(got[i], F_GETFD), FD_CLOEXEC);
	}
	fdpass_close(got, n);
	assert_int_equal(count_fds(), before);
}

/* Descriptors without room for them are closed, not leaked. */
static void test_more_than_room(void **state)
{
	int sent[3] = {pair[0], pair[0], pair[0]}, got[1], before = count_fds();
	size_t n = 1;
	char buf[4];

	(void)state;
	assert_int_equal(fdpass_send(pair[0], "x", 1, sent, 3, 0), 0);
	assert_int_equal(fdpass_recv(pair[1], buf, sizeof(buf), got, &n, 0), 1);
	assert_int_equal(n, 1);
	fdpass_close(got, n);
	assert_int_equal(fdpass_send(pair[0], "x", 1, sent, 3, 0), 0);
	assert_int_equal(fdpass_recv(pair[1], buf, sizeof(buf), NULL, NULL, 0), 1);
	assert_int_equal(fdpass_send(pair[0], "longer than the buffer", 22, sent, 3, 0), 0);
	n = 1;
	assert_int_equal(fdpass_recv(pair[1], buf, sizeof(buf), got, &n, 0), -EMSGSIZE);
	assert_int_equal(n, 0);
	assert_int_equal(count_fds(), before);
}

static int without_descriptors(void)
{
	int sent[8], got[8];
	struct rlimit limit = {.rlim_cur = (rlim_t)pair[1] + 3, .rlim_max = (rlim_t)pair[1] + 3};
	size_t n = 8;
	bool lost;
	char buf[4];

	for (int i = 0; i < 8; i++)
		sent[i] = pair[0];
	if (fdpass_send(pair[0], "x", 1, sent, 8, 0) || setrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 1;
	if (fdpass_recv(pair[1], buf, sizeof(buf), got, &n, 0) != -EMFILE || n != 0)
		return 2;
	/* The descriptors that did fit are closed again, or kept. */
	n = 8;
	if (fdpass_send(pair[0], "x", 1, sent, 8, 0) ||
	    fdpass_recv_most(pair[1], buf, sizeof(buf), got, &n, &lost, 0) != 1 || !lost || n != 2)
		return 3;
	if (open("/dev/null", O_RDONLY) >= 0)
		return 4;
	fdpass_close(got, n);
	return open("/dev/null", O_RDONLY) < 0 ? 5 : 0;
}

static void test_out_of_descriptors(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		_exit(without_descriptors());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_other_end_gone(void **state)
{
	size_t n = 0;
	char byte;

	(void)state;
	close(pair[0]);
	assert_int_equal(fdpass_recv(pair[1], &byte, 1, NULL, &n, 0), 0);
	assert_int_equal(fdpass_send(pair[1], "x", 1, NULL, 0, 0), -EPIPE);
	pair[0] = -1;
}

/* A process that ends with an answer, and has not read everything: what it said is heard. */
static void test_last_words(void **state)
{
	char buf[16];
	size_t n = 0;

	(void)state;
	assert_int_equal(fdpass_send(pair[1], "unread", 6, NULL, 0, 0), 0);
	assert_int_equal(fdpass_send(pair[0], "no", 2, NULL, 0, 0), 0);
	close(pair[0]);
	assert_int_equal(fdpass_recv(pair[1], buf, sizeof(buf), NULL, &n, 0), 2);
	assert_memory_equal(buf, "no", 2);
	assert_int_equal(fdpass_recv(pair[1], buf, sizeof(buf), NULL, &n, 0), 0);
	pair[0] = -1;
}

/* An empty message looks like the end of the stream. It must not leave descriptors behind. */
static void test_empty_message_with_descriptors(void **state)
{
	int fds[2] = {pair[0], pair[0]}, lowest, again;
	size_t n = 2;
	char byte;

	(void)state;
	assert_int_equal(fdpass_send(pair[1], "", 0, fds, 2, 0), 0);
	lowest = dup(pair[0]);
	close(lowest);
	assert_int_equal(fdpass_recv(pair[0], &byte, 1, fds, &n, 0), 0);
	assert_int_equal(n, 0);
	again = dup(pair[0]);
	assert_int_equal(again, lowest);
	close(again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_message, setup, teardown),
		cmocka_unit_test_setup_teardown(test_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_more_than_room, setup, teardown),
		cmocka_unit_test_setup_teardown(test_out_of_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_end_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_last_words, setup, teardown),
		cmocka_unit_test_setup_teardown(test_empty_message_with_descriptors, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
