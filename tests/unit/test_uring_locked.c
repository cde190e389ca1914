/* SPDX-License-Identifier: Apache-2.0 */
/* What a ring refuses once it is locked. The test asks for the operations through the back end's
 * own ring. */
#include "dataplane/io/uring.c" /* NOLINT(bugprone-suspicious-include) */

#include "cmocka_all.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"

/* The highest register operation of the oldest kernel whose rings are used. */
#define LAST_OF_LINUX_6_1 IORING_REGISTER_FILE_ALLOC_RANGE

/* Submits one operation and returns its result. */
static int ring_result(struct uring *u, void (*prepare)(struct io_uring_sqe *sqe))
{
	struct io_uring_sqe *sqe = get_sqe(u);
	struct io_uring_cqe *cqe;
	int res;

	prepare(sqe);
	assert_true(io_uring_submit_and_wait(&u->ring, 1) >= 0);
	assert_int_equal(io_uring_peek_cqe(&u->ring, &cqe), 0);
	res = cqe->res;
	io_uring_cqe_seen(&u->ring, cqe);
	return res;
}

static void prepare_open(struct io_uring_sqe *sqe)
{
	io_uring_prep_openat(sqe, AT_FDCWD, "/etc/passwd", O_RDONLY | O_CLOEXEC, 0);
}

static void prepare_socket(struct io_uring_sqe *sqe)
{
	io_uring_prep_socket(sqe, AF_UNIX, SOCK_STREAM, 0, 0);
}

static void prepare_unlink(struct io_uring_sqe *sqe)
{
	io_uring_prep_unlink(sqe, "/tmp/ringkit-is-not-there", 0);
}

static void prepare_linked_poll(struct io_uring_sqe *sqe)
{
	io_uring_prep_poll_add(sqe, 0, 0);
	sqe->flags |= IOSQE_IO_LINK;
}

static void prepare_poll(struct io_uring_sqe *sqe)
{
	/* Descriptor 0 is ready for something, or cannot be polled and counts as ready. */
	io_uring_prep_poll_add(sqe, 0, 0xffff);
}

static struct uring *ring_open(bool locked)
{
	struct io_config config = {.entries = 8, .n_bufs = 8, .buf_size = 2048, .locked = locked};
	struct io *io = NULL;
	int code = io_uring_open(&config, &io);

	if (code == -ENOSYS || code == -EPERM || code == -EINVAL) {
		print_message("no io_uring as of Linux 6.1: %s\n", strerror(-code));
		skip();
	}
	assert_int_equal(code, 0);
	return uring_of(io);
}

static void test_ring_operations(void **state)
{
	static void (*const refused[])(struct io_uring_sqe *) = {
		prepare_open, prepare_socket, prepare_unlink, prepare_linked_poll};
	struct uring *u = ring_open(true);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		assert_int_equal(ring_result(u, refused[i]), -EACCES);
	assert_true(ring_result(u, prepare_poll) > 0);
	uring_close(&u->io);
}

/* Once the ring is enabled, nothing can be registered, and the list of operations cannot be
 * changed. */
static void test_ring_registering(void **state)
{
	struct uring *u = ring_open(true);
	struct io_uring_restriction more = {.opcode = IORING_RESTRICTION_SQE_OP,
					    .sqe_op = IORING_OP_OPENAT};
	int fd = STDIN_FILENO;
	bool known = true;

	(void)state;
	assert_int_equal(ring_register(u, IORING_REGISTER_FILES, &fd, 1), -EACCES);
	assert_int_equal(ring_register(u, IORING_REGISTER_RESTRICTIONS, &more, 1), -EBADFD);
	for (unsigned op = 0; op < 256; op++) {
		int code = ring_register(u, op, NULL, 0);

		/* The kernel returns -EINVAL for operations that it does not know: from the first
		 * of these, it knows none. */
		known = known && (op <= LAST_OF_LINUX_6_1 || code != -EINVAL);
		if (op != IORING_REGISTER_RESTRICTIONS)
			assert_int_equal(code, known ? -EACCES : -EINVAL);
	}
	uring_close(&u->io);
}

/* Without the list the ring does them, so it is the list that refuses. */
static void test_ring_without_restrictions(void **state)
{
	struct uring *u = ring_open(false);
	int fd;

	(void)state;
	fd = ring_result(u, prepare_open);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(ring_result(u, prepare_unlink), -ENOENT);
	uring_close(&u->io);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ring_operations),
		cmocka_unit_test(test_ring_registering),
		cmocka_unit_test(test_ring_without_restrictions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
