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
	struct mountinfo m;
	char copy[4096];

	snprintf(copy, sizeof(copy), "%s", line);
	out[0] = '\0';
	assert_int_equal(mountinfo_parse(copy, &m) &&
				 cgroup2_directory(&m, cgroup, out, sizeof(out)),
			 is_cgroup2);
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
	shown("1 2 3:4 / /cg rw - cgroup2 none rw\n", "/a", "/cg/a"); /* without optional fields */
}

/* The mount shows a part of the hierarchy, as in a container that shares the host's cgroup
 * namespace. */
static void test_part_of_it(void **state)
{
	(void)state;
	shown(LINE("/a", "/cg", "cgroup2"), "/a", "/cg");
	shown(LINE("/a", "/cg", "cgroup2"), "/a/b/c", "/cg/b/c");
	shown(LINE("/a", "/cg", "cgroup2"), "/ab", "");
	shown(LINE("/a", "/cg", "cgroup2"), "/", "");
	shown(LINE("/..", "/cg", "cgroup2"), "/a", "");
	shown(LINE("/", "/cg", "cgroup2"), "/../a", ""); /* it would lead out of the mount */
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
	struct mountinfo m;

	(void)state;
	shown(LINE("/", "/with\\040blank\\134", "cgroup2"), "/x", "/with blank\\/x");
	shown(LINE("/a\\012b", "/cg", "cgroup2"), "/a\nb/c", "/cg/c");
	shown(LINE("/", "/cg\\04", "cgroup2"), "/", "/cg\\04");
	assert_true(mountinfo_parse(line, &m));
	assert_true(cgroup2_directory(&m, "/", small, sizeof(small)));
	assert_string_equal(small, ""); /* a path that is cut would be that of another directory */
}

/* What a line of mountinfo tells of the mount itself. */
static void test_lines_of_mountinfo(void **state)
{
	char shared[] = "36 35 98:0 /a /b rw shared:1 master:2 - ext4 /dev/x rw\n";
	char private[] = "36 35 98:0 / / rw,shared:no - ext4 /dev/x shared:3\n";
	char torn[] = "36 35 98:0 / / rw shared:1 -";
	struct mountinfo m;

	(void)state;
	assert_true(mountinfo_parse(shared, &m));
	assert_string_equal(m.root, "/a");
	assert_string_equal(m.point, "/b");
	assert_string_equal(m.type, "ext4");
	assert_true(m.shared);
	assert_true(mountinfo_parse(private, &m));
	assert_false(m.shared);
	assert_false(mountinfo_parse(torn, &m));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_of_mountinfo), cmocka_unit_test(test_whole_hierarchy),
		cmocka_unit_test(test_part_of_it),	   cmocka_unit_test(test_other_filesystems),
		cmocka_unit_test(test_odd_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
