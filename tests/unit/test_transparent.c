/* SPDX-License-Identifier: Apache-2.0 */
/* ns/transparent.c in a user and network namespace of the test's own. That packets go where they
 * should is tests/integration/test_transparent.py's to show. */
#include "cmocka_all.h"

#include <cap-ng.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "netns_box.h"
#include "ns/transparent.h"

#define LOOPBACK4 TRANSPARENT_BIT(TRANSPARENT_LOOPBACK, false)

static struct netns_box box;
static bool have_box;

static void run(int (*fn)(void *arg))
{
	int code;

	if (!have_box) {
		print_message("no user namespace\n");
		skip();
	}
	code = netns_box_run(&box, fn, NULL);
	assert_int_equal(code, 0);
}

static int say(const struct err *why, uint32_t works)
{
	fprintf(stderr, "mask %x, %s\n", works, why->code ? why->msg : "no failure");
	return 1;
}

static int set_up(void *arg)
{
	struct err why = {.code = 0};
	uint32_t works = transparent_set_up(&why);

	(void)arg;
	/* The rest depends on the machine; what is missing has a reason. */
	if (!(works & LOOPBACK4) || (works != 0x3f && !why.code) || (works == 0x3f && why.code))
		return say(&why, works);
	return 0;
}

static void test_set_up(void **state)
{
	(void)state;
	run(set_up);
	run(set_up); /* what is there already is no failure */
}

static int without_rights(void *arg)
{
	struct err why = {.code = 0};
	uint32_t works;

	(void)arg;
	capng_clear(CAPNG_SELECT_BOTH);
	if (capng_apply(CAPNG_SELECT_CAPS) < 0)
		return 2;
	works = transparent_set_up(&why);
	return works == 0 && why.code ? 0 : say(&why, works);
}

static void test_without_rights(void **state)
{
	(void)state;
	run(without_rights);
}

static int marks_are_inherited(void *arg)
{
	struct err why = {.code = 0};
	uint32_t works;

	/* A namespace of its own: the sysctl of the one before stays as it was set. */
	(void)arg;
	if (unshare(CLONE_NEWNET) < 0)
		return 2;
	works = transparent_set_up(&why);
	if (!(works & LOOPBACK4))
		return say(&why, works);
	return access("/proc/sys/net/ipv4/tcp_fwmark_accept", W_OK) == 0 &&
			       !(works & TRANSPARENT_BIT(TRANSPARENT_OWN, false))
		       ? say(&why, works)
		       : 0;
}

static void test_marks(void **state)
{
	(void)state;
	run(marks_are_inherited);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set_up),
		cmocka_unit_test(test_without_rights),
		cmocka_unit_test(test_marks),
	};
	int code;

	have_box = netns_box_open(&box) == 0;
	code = cmocka_run_group_tests(tests, NULL, NULL);
	netns_box_close(&box);
	return code;
}
