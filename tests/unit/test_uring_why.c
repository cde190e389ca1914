/* SPDX-License-Identifier: Apache-2.0 */
/* Each cause why io_uring cannot be used, with its remedy. */
#include "cmocka_all.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/array.h"
#include "dataplane/control/control_internal.h"

#define REMEDY "--dataplane=epoll works"

static void check(const struct uring_host *host, int err, const char *want)
{
	struct err e = {.code = 0};

	assert_int_equal(dp_uring_why(host, err, &e), err);
	assert_int_equal(e.code, err);
	if (!strstr(e.msg, want) || !strstr(e.msg, REMEDY))
		fail_msg("error %d: %s", -err, e.msg);
}

static void test_causes(void **state)
{
	static const struct {
		struct uring_host host;
		int err;
		const char *want;
	} causes[] = {
		{{"6.6.1", 2, 0, 1}, -EPERM, "kernel.io_uring_disabled is 2; 0 allows it"},
		{{"6.6.1", 1, 0, 1}, -EPERM, "group kernel.io_uring_group"},
		{{"6.6.1", 0, 0, 1}, -EPERM, "a seccomp filter"},
		{{"6.1.0", -1, 0, 1}, -EACCES, "a security module"},
		{{"5.10.0-36-amd64", -1, 0, 1}, -EPERM, "a seccomp filter"},
		{{"5.10.0-36-amd64", -1, 0, 1}, -EINVAL, "Linux 6.1 or newer (this is 5.10.0);"},
		{{"5.14.0+", -1, 0, 1}, -EINVAL, "Linux 6.1 or newer (this is 5.14.0);"},
		{{"6.0", -1, 0, 1}, -ENOSYS, "Linux 6.1 or newer (this is 6.0);"},
		{{"4.4", -1, 0, 1}, -EINVAL, "Linux 6.1 or newer (this is 4.4);"},
		{{"6.1.0", -1, 0, 1}, -ENOSYS, "built without io_uring, or a seccomp filter"},
		{{"7.0", 0, 0, 1}, -EINVAL, "the kernel (7.0) refuses"},
		{{"10.0", 0, 0, 1}, -EINVAL, "the kernel (10.0) refuses"},
		{{"strange", 0, 0, 1}, -EINVAL, "the kernel (strange) refuses"},
		{{"6.1.0", 0, 65536, 2},
		 -ENOMEM,
		 "which is 64 KiB; fewer --workers want less, --d"},
		{{"6.1.0", 0, 65536, 1},
		 -ENOMEM,
		 "RLIMIT_MEMLOCK (ulimit -l), which is 64 KiB; --dataplane"},
		{{"5.10.0", 0, RLIM_INFINITY, 1}, -ENOMEM, "which is unlimited"},
		{{"6.1.0", 0, 0, 1}, -EMFILE, "Too many open files"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(causes); i++)
		check(&causes[i].host, causes[i].err, causes[i].want);
}

static void test_host(void **state)
{
	struct uring_host host;

	(void)state;
	dp_uring_host_read(&host, 3);
	assert_true(strtoul(host.release, NULL, 10) > 2);
	assert_true(host.disabled >= -1 && host.disabled <= 2);
	assert_int_equal(host.workers, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_causes),
		cmocka_unit_test(test_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
