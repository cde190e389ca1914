/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch_util.h"
#include "ns/idmap.h"

static int setup(void **state)
{
	(void)state;
	scratch_make();
	setenv("PATH", scratch, 1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	scratch_remove();
	return 0;
}

static const struct subids ids = {
	.uids = {.n = 2, .range = {{231072, 65536}, {400000, 10}}},
	.gids = {.n = 1, .range = {{300000, 5}}},
};

/* A stand-in for newuidmap or newgidmap: records its arguments, then does what `rest` says. */
static void tool(const char *name, const char *rest)
{
	char text[512];

	snprintf(text, sizeof(text), "#!/bin/sh\necho \"$@\" > %s/%s.args\n%s\n", scratch, name,
		 rest);
	write_text(in_scratch(name), text);
	assert_int_equal(chmod(in_scratch(name), 0755), 0);
}

static void test_ids_follow_each_other(void **state)
{
	char **args = idmap_args("newuidmap", 4711, 1001, &ids.uids);
	static const char *const want[] = {"newuidmap", "4711",	 "0",	  "1001",   "1",  "1",
					   "231072",	"65536", "65537", "400000", "10", NULL};

	(void)state;
	for (size_t i = 0; want[i]; i++)
		assert_string_equal(args[i], want[i]);
	assert_null(args[11]);
	idmap_args_free(args);
}

static void test_both_tools_run(void **state)
{
	struct err e = {0};

	(void)state;
	tool("newuidmap", "");
	tool("newgidmap", "");
	assert_int_equal(idmap_write(4711, 1001, 1002, &ids, -1, &e), 0);
	assert_string_equal(read_text(in_scratch("newuidmap.args")),
			    "4711 0 1001 1 1 231072 65536 65537 400000 10\n");
	assert_string_equal(read_text(in_scratch("newgidmap.args")), "4711 0 1002 1 1 300000 5\n");
}

static void test_both_at_once(void **state)
{
	struct err e = {0};

	(void)state;
	/* Each tool waits for the other, so they end only if both run at the same time. */
	tool("newuidmap", "while ! [ -e ${0%/*}/newgidmap.args ]; do :; done");
	tool("newgidmap", "while ! [ -e ${0%/*}/newuidmap.args ]; do :; done");
	assert_int_equal(idmap_write(4711, 1001, 1002, &ids, -1, &e), 0);
}

static void test_missing_tool(void **state)
{
	struct err e = {0};

	(void)state;
	assert_int_equal(idmap_write(4711, 1001, 1002, &ids, -1, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "newuidmap 4711 [0 1001 1 1 231072 65536"));
	assert_non_null(strstr(e.msg, "package uidmap"));
	tool("newuidmap", "");
	assert_int_equal(idmap_write(4711, 1001, 1002, &ids, -1, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "newgidmap 4711"));
	/* The one that did start was waited for. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void test_refusing_tool(void **state)
{
	struct err e = {0};

	(void)state;
	tool("newuidmap", "");
	tool("newgidmap", "echo 'write to gid_map failed' >&2; exit 3");
	assert_true(idmap_write(4711, 1001, 1002, &ids, -1, &e) < 0);
	assert_non_null(strstr(e.msg, "newgidmap 4711"));
	assert_non_null(strstr(e.msg, "exit status 3"));
	assert_non_null(strstr(e.msg, "write to gid_map failed"));
	tool("newuidmap", "echo 'range not allowed'; exit 1");
	assert_true(idmap_write(4711, 1001, 1002, &ids, -1, &e) < 0);
	assert_non_null(strstr(e.msg, "newuidmap 4711"));
	assert_non_null(strstr(e.msg, "range not allowed"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ids_follow_each_other),
		cmocka_unit_test_setup_teardown(test_both_tools_run, setup, teardown),
		cmocka_unit_test_setup_teardown(test_both_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_missing_tool, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusing_tool, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
