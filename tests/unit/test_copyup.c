/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <string.h>

#include "launch_util.h"
#include "ns/copyup.h"

static int setup(void **state)
{
	(void)state;
	scratch_make();
	assert_int_equal(mkdir(in_scratch("d"), 0750), 0);
	assert_int_equal(mkdir(in_scratch("d/sub"), 0755), 0);
	write_text(in_scratch("d/file"), "content");
	write_text(in_scratch("d/sub/inner"), "inner content");
	write_text(in_scratch("d/.hidden"), "h");
	assert_int_equal(symlink("../elsewhere", in_scratch("d/link")), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	umount2(in_scratch("d"), MNT_DETACH);
	umount2(in_scratch("d"), MNT_DETACH);
	umount2(in_scratch("d/sub"), MNT_DETACH);
	scratch_remove();
	return 0;
}

static void copy_up(void)
{
	struct err e = {0};

	if (copyup_dir(in_scratch("d"), &e))
		fail_msg("%s", e.msg);
}

static void test_content_is_in_view(void **state)
{
	const char *target;

	(void)state;
	copy_up();
	assert_string_equal(read_text(in_scratch("d/file")), "content");
	assert_string_equal(read_text(in_scratch("d/sub/inner")), "inner content");
	assert_string_equal(read_text(in_scratch("d/.hidden")), "h");
	assert_int_equal(strncmp(link_target(in_scratch("d/file")), ".ro", 3), 0);
	target = link_target(in_scratch("d/file"));
	assert_string_equal(strchr(target, '/'), "/file");
}

static void test_links_keep_their_target(void **state)
{
	(void)state;
	copy_up();
	assert_string_equal(link_target(in_scratch("d/link")), "../elsewhere");
}

static void test_names_can_be_replaced(void **state)
{
	(void)state;
	copy_up();
	assert_int_equal(unlink(in_scratch("d/file")), 0);
	write_text(in_scratch("d/file"), "new");
	assert_string_equal(read_text(in_scratch("d/file")), "new");
	assert_int_equal(umount2(in_scratch("d"), MNT_DETACH), 0);
	assert_string_equal(read_text(in_scratch("d/file")), "content");
}

static void test_mode_stays(void **state)
{
	struct stat st;

	(void)state;
	copy_up();
	assert_int_equal(stat(in_scratch("d"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(st.st_uid, 0);
}

static void test_mounts_below_come_along(void **state)
{
	(void)state;
	assert_int_equal(mount("none", in_scratch("d/sub"), "tmpfs", 0, NULL), 0);
	write_text(in_scratch("d/sub/mounted"), "m");
	copy_up();
	assert_string_equal(read_text(in_scratch("d/sub/mounted")), "m");
}

static void test_twice_is_allowed(void **state)
{
	(void)state;
	copy_up();
	copy_up();
	assert_string_equal(read_text(in_scratch("d/file")), "content");
}

static void test_what_is_no_directory(void **state)
{
	struct err e = {0};

	(void)state;
	assert_int_equal(copyup_dir(in_scratch("d/file"), &e), -ENOTDIR);
	assert_non_null(strstr(e.msg, "d/file"));
	assert_int_equal(copyup_dir(in_scratch("nowhere"), &e), -ENOENT);
	assert_non_null(strstr(e.msg, "nowhere"));
	assert_string_equal(read_text(in_scratch("d/file")), "content");
}

static void test_covers(void **state)
{
	static char *const dirs[] = {"/run", "/etc/"};

	(void)state;
	assert_true(copyup_covers(dirs, 2, "/etc"));
	assert_true(copyup_covers(dirs, 2, "/run/"));
	assert_false(copyup_covers(dirs, 1, "/etc"));
	assert_false(copyup_covers(dirs, 2, "/et"));
	assert_false(copyup_covers(dirs, 2, "/etc2"));
	assert_false(copyup_covers(NULL, 0, "/etc"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_content_is_in_view, setup, teardown),
		cmocka_unit_test_setup_teardown(test_links_keep_their_target, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names_can_be_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mode_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mounts_below_come_along, setup, teardown),
		cmocka_unit_test_setup_teardown(test_twice_is_allowed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_no_directory, setup, teardown),
		cmocka_unit_test(test_covers),
	};

	return enter_namespaces(0) ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
