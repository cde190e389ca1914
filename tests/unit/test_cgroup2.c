/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "ns/cgroup2.h"

#define LINE(root, point, type)                                                                    \
	"36 35 98:0 " root " " point " rw,noatime shared:1 master:2 - " type                       \
	" none rw,errors=continue\n"

static const char *directory(const char *line, const char *cgroup, bool is_cgroup2)
{
	static char out[PATH_MAX];
	char copy[4096];

	snprintf(copy, sizeof(copy), "%s", line);
	assert_int_equal(cgroup2_directory(copy, cgroup, out, sizeof(out)), is_cgroup2);
	return out;
}

static void shown(const char *line, const char *cgroup, const char *want)
{
	assert_string_equal(directory(line, cgroup, true), want);
}

static void test_whole_hierarchy(void **state)
{
	(void)state;
	shown(LINE("/", "/sys/fs/cgroup", "cgroup2"), "/", "/sys/fs/cgroup");
	shown(LINE("/", "/sys/fs/cgroup", "cgroup2"), "/a/b", "/sys/fs/cgroup/a/b");
	shown(LINE("/", "/sys/fs/cgroup/unified", "cgroup2"), "/a", "/sys/fs/cgroup/unified/a");
	shown("1 2 3:4 / /cg rw - cgroup2 none rw\n", "/a", "/cg/a"); /* no optional fields */
}

/* As in a container that shares the host's cgroup namespace. */
static void test_part_of_it(void **state)
{
	(void)state;
	shown(LINE("/a", "/cg", "cgroup2"), "/a", "/cg");
	shown(LINE("/a", "/cg", "cgroup2"), "/a/b/c", "/cg/b/c");
	shown(LINE("/a", "/cg", "cgroup2"), "/ab", "");
	shown(LINE("/a", "/cg", "cgroup2"), "/", "");
	shown(LINE("/..", "/cg", "cgroup2"), "/a", "");
	shown(LINE("/", "/cg", "cgroup2"), "/../a", ""); /* would lead out of the mount */
}

static void test_other_filesystems(void **state)
{
	(void)state;
	directory(LINE("/", "/sys/fs/cgroup/pids", "cgroup"), "/", false);
	directory(LINE("/", "/cgroup2", "tmpfs"), "/", false);
	directory("", "/", false);
	directory("36 35 98:0 / /cg rw shared:1\n", "/", false);
	directory("- cgroup2 none\n", "/", false);
}

static void test_odd_names(void **state)
{
	char small[8], line[] = LINE("/", "/a/long/directory", "cgroup2");

	(void)state;
	shown(LINE("/", "/with\\040blank\\134", "cgroup2"), "/x", "/with blank\\/x");
	shown(LINE("/a\\012b", "/cg", "cgroup2"), "/a\nb/c", "/cg/c");
	shown(LINE("/", "/cg\\04", "cgroup2"), "/", "/cg\\04");
	assert_true(cgroup2_directory(line, "/", small, sizeof(small)));
	assert_string_equal(small, ""); /* cut off it would be another directory */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_hierarchy),
		cmocka_unit_test(test_part_of_it),
		cmocka_unit_test(test_other_filesystems),
		cmocka_unit_test(test_odd_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
