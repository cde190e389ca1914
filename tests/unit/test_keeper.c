/* SPDX-License-Identifier: Apache-2.0 */
/* The broker's half of dataplane/broker/keeper.c; the test plays the keeper. */
#include "cmocka_all.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/broker/keeper.h"

static unsigned waits; /* calls of poll(2) */

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): the linker's names */
int __real_poll(struct pollfd *fds, nfds_t n, int timeout_ms);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_ms);

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	waits++;
	return __real_poll(fds, n, timeout_ms);
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

/* A keeper that is too busy to answer holds the broker up once, and not with each look. */
static void test_busy(void **state)
{
	const char looked = 2; /* the question, and the answer that there is more to look for */
	struct keeper k = {.turned_fd = -1};
	char questions[8];
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	k.fd = fds[0];
	keeper_look(&k, true);
	assert_true(waits > 0);
	waits = 0;
	for (unsigned i = 0; i < 3; i++)
		keeper_look(&k, true);
	assert_int_equal(waits, 0);
	/* It is asked all the same, and once it has answered, there is somebody to wait for. */
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(recv(fds[1], questions, sizeof(questions), MSG_DONTWAIT), 1);
		assert_int_equal(questions[0], looked);
		assert_int_equal(send(fds[1], &looked, 1, MSG_DONTWAIT), 1);
	}
	keeper_look(&k, true);
	assert_true(waits > 0);
	assert_false(k.done);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_busy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
