/* SPDX-License-Identifier: Apache-2.0 */
/* A ring that takes no more operations, for a while and for ever. Brings the back end's source in,
 * to let its calls of the ring fail. */
#include <errno.h>
#include <liburing.h>

static unsigned long submits_failing; /* so many, from the next one on */
static int submit_error;

static int submit_or_fail(struct io_uring *ring)
{
	if (submits_failing == 0)
		return io_uring_submit_and_get_events(ring);
	submits_failing--;
	return submit_error;
}

#define io_uring_submit_and_get_events submit_or_fail
#include "dataplane/io/uring.c" /* NOLINT(bugprone-suspicious-include) */
#undef io_uring_submit_and_get_events

#include "cmocka_all.h"

#include <limits.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define ENTRIES 8

/* A slow machine takes a second for all tries. */
#define PATIENCE_S 300

static struct io *ring_open(void)
{
	struct io_config config = {.entries = ENTRIES, .n_bufs = 8, .buf_size = 2048};
	struct io *io = NULL;
	int code = io_uring_open(&config, &io);

	if (code == -ENOSYS || code == -EPERM || code == -EINVAL) {
		print_message("no io_uring as of Linux 6.1: %s\n", strerror(-code));
		skip();
	}
	assert_int_equal(code, 0);
	return io;
}

/* More polls than the queue has room for. They complete at once. */
static void fill(struct io *io)
{
	for (unsigned i = 0; i <= ENTRIES; i++)
		io->ops->poll(io, STDIN_FILENO, 0xffff, i);
}

/* The kernel is busy, or has no memory: the worker goes on when that has passed. */
static void test_ring_is_full_for_a_while(void **state)
{
	static const int errors[] = {-EBUSY, -EAGAIN, 0};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		struct io_event events[2 * ENTRIES];
		struct io *io = ring_open();
		bool seen[ENTRIES + 1] = {false};
		unsigned n = 0;

		submit_error = errors[i];
		submits_failing = SUBMIT_TRIES / 2;
		fill(io);
		assert_int_equal(submits_failing, 0);
		for (unsigned turn = 0; n < ENTRIES + 1; turn++) {
			uint64_t end_ns = io->ops->now_ns(io) + 1000000000;
			int got = io->ops->wait(io, events, ARRAY_SIZE(events), end_ns);

			assert_true(got >= 0 && turn < PATIENCE_S);
			for (int k = 0; k < got; k++) {
				assert_true(events[k].handle <= ENTRIES);
				assert_false(seen[events[k].handle]);
				seen[events[k].handle] = true;
				n++;
			}
		}
		io->ops->close(io);
	}
}

/* A ring that stays like that: the process ends, and does not hang, so that the parent starts
 * another one with a new ring. */
static void test_ring_is_full_for_ever(void **state)
{
	static const int errors[] = {-EBUSY, -EAGAIN, -EBADR, 0};
	const struct rlimit no_core = {.rlim_cur = 0};
	struct io *probe;

	(void)state;
	probe = ring_open(); /* is there io_uring? */
	probe->ops->close(probe);
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0) {
			setrlimit(RLIMIT_CORE, &no_core);
			signal(SIGABRT, SIG_DFL);
			alarm(PATIENCE_S);
			submit_error = errors[i];
			submits_failing = ULONG_MAX;
			fill(ring_open());
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGABRT);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ring_is_full_for_a_while),
		cmocka_unit_test(test_ring_is_full_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
