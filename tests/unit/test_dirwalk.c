/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "launch/dirwalk.h"
#include "launch_util.h"

static void walk(const char *path, struct dirwalk *w)
{
	struct err e = {0};

	if (dirwalk_open(path, w, &e))
		fail_msg("%s", e.msg);
}

/* The path leads to the directory of this name, and `made` directories on the way are new. */
static void leads_to(const char *path, const char *name, unsigned made)
{
	char found[PATH_MAX];
	struct dirwalk w;

	walk(path, &w);
	assert_int_equal(dirwalk_path(w.fd, found, sizeof(found)), 0);
	assert_string_equal(found, name[0] ? in_scratch(name) : scratch);
	assert_int_equal(w.made, made);
	close(w.fd);
}

static void fails(const char *path, int code, const char *words)
{
	struct dirwalk w;
	struct err e = {0};

	assert_int_equal(dirwalk_open(path, &w, &e), code);
	assert_says(e.msg, words);
	assert_int_equal(w.fd, -1);
}

static void test_spellings(void **state)
{
	char old[PATH_MAX];

	(void)state;
	assert_non_null(getcwd(old, sizeof(old)));
	leads_to(in_scratch("a/b"), "a/b", 2);
	leads_to(in_scratch("/a//b/"), "a/b", 0);
	leads_to(in_scratch("a/./b/../b/."), "a/b", 0);
	assert_int_equal(chdir(in_scratch("a")), 0);
	leads_to(".", "a", 0);
	leads_to("..", "", 0);
	leads_to("c", "a/c", 1);
	leads_to("../a/c/d", "a/c/d", 1);
	assert_int_equal(chdir(old), 0);
	fails("", -ENOENT, "\"\"");
}

static void test_too_long(void **state)
{
	char path[PATH_MAX + 8];

	(void)state;
	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	fails(path, -ENAMETOOLONG, "xxx...");
	path[NAME_MAX + 1] = '\0';
	fails(path, -ENAMETOOLONG, "File name too long");
	/* The link's target does not fit before the rest of the path. */
	memset(path, '/', sizeof(path));
	memcpy(path, "t/", 2);
	path[PATH_MAX - 100] = '\0';
	assert_int_equal(symlink(path, in_scratch("link")), 0);
	snprintf(path, sizeof(path), "%s/%0200d", in_scratch("link"), 0);
	fails(path, -ENAMETOOLONG, "link");
}

static void test_what_is_no_directory(void **state)
{
	(void)state;
	write_text(in_scratch("file"), "");
	fails(in_scratch("file"), -ENOTDIR, "file");
	fails(in_scratch("file/x"), -ENOTDIR, "file");
	assert_int_equal(symlink("file", in_scratch("link")), 0);
	fails(in_scratch("link"), -ENOTDIR, "file");
	fails("/proc/self/nowhere", -ENOENT, "mkdir nowhere");
}

/* As many links are followed as the kernel follows. */
static void test_links(void **state)
{
	char name[16], target[16];

	(void)state;
	make_dir(in_scratch("l0"));
	for (int i = 1; i <= 41; i++) {
		snprintf(name, sizeof(name), "l%d", i);
		snprintf(target, sizeof(target), "l%d", i - 1);
		assert_int_equal(symlink(target, in_scratch(name)), 0);
	}
	leads_to(in_scratch("l40"), "l0", 0);
	fails(in_scratch("l41"), -ELOOP, "l1");
	assert_int_equal(symlink(in_scratch("new"), in_scratch("absolute")), 0);
	leads_to(in_scratch("absolute/x"), "new/x", 2);
}

static void test_owners(void **state)
{
	struct dirwalk w;

	(void)state;
	make_dir(in_scratch("open"));
	assert_int_equal(chmod(in_scratch("open"), 01777), 0);
	walk(in_scratch("open/x"), &w);
	assert_false(w.exposed);
	close_fd(&w.fd);
	assert_int_equal(chmod(in_scratch("open"), 0777), 0);
	walk(in_scratch("open/x"), &w);
	assert_true(w.exposed);
	close_fd(&w.fd);
	if (geteuid() != 0) {
		print_message("only root can make what another user owns\n");
		skip();
	}
	assert_int_equal(symlink("x", in_scratch("open/link")), 0);
	assert_int_equal(lchown(in_scratch("open/link"), NEIGHBOUR, NEIGHBOUR), 0);
	fails(in_scratch("open/link"), -EPERM, "not followed");
	assert_int_equal(lchown(in_scratch("open/link"), 65534, 65534), 0); /* the user nobody */
	fails(in_scratch("open/link"), -EPERM, "not followed");
	assert_int_equal(chown(in_scratch("open/x"), NEIGHBOUR, NEIGHBOUR), 0);
	fails(in_scratch("open/x/deep"), -EPERM, "another user");
	fails(in_scratch("open/x/.."), -EPERM, "another user");
	assert_false(path_exists(in_scratch("open/x/deep")));
}

static void test_undo(void **state)
{
	char name[9 + NAME_MAX + 2], path[PATH_MAX];
	struct dirwalk w;

	(void)state;
	make_dir(in_scratch("old"));
	walk(in_scratch("old/a/b/c"), &w);
	assert_int_equal(w.made, 3);
	dirwalk_undo(&w);
	assert_int_equal(w.fd, -1);
	assert_false(path_exists(in_scratch("old/a")));
	assert_true(path_exists(in_scratch("old")));
	/* Directories are removed up to the one in which somebody else has put a file. */
	walk(in_scratch("old/a/b/c"), &w);
	write_text(in_scratch("old/a/file"), "");
	dirwalk_undo(&w);
	assert_false(path_exists(in_scratch("old/a/b")));
	assert_true(path_exists(in_scratch("old/a/file")));
	/* A walk that fails removes what it has made. */
	memset(name, 'x', sizeof(name));
	memcpy(name, "new/deep/", 9);
	name[sizeof(name) - 1] = '\0';
	snprintf(path, sizeof(path), "%s/%s", scratch, name);
	fails(path, -ENAMETOOLONG, "");
	assert_false(path_exists(in_scratch("new")));
}

static void test_rmdir(void **state)
{
	char path[PATH_MAX];
	struct dirwalk w;

	(void)state;
	walk(in_scratch("d"), &w);
	assert_int_equal(dirwalk_path(w.fd, path, sizeof(path)), 0);
	assert_int_equal(dirwalk_path(w.fd, path, 4), -ENAMETOOLONG);
	assert_int_equal(dirwalk_path(w.fd, path, sizeof(path)), 0);
	write_text(in_scratch("d/file"), "");
	assert_int_equal(dirwalk_rmdir(w.fd, path), -ENOTEMPTY);
	assert_int_equal(unlink(in_scratch("d/file")), 0);
	/* Another directory has taken the name. It is not ours to remove. */
	assert_int_equal(rename(path, in_scratch("away")), 0);
	make_dir(in_scratch("d"));
	assert_int_equal(dirwalk_rmdir(w.fd, path), -ENOENT);
	assert_true(path_exists(in_scratch("d")));
	assert_int_equal(dirwalk_path(w.fd, path, sizeof(path)), 0);
	assert_string_equal(path, in_scratch("away"));
	assert_int_equal(dirwalk_rmdir(w.fd, path), 0);
	assert_int_equal(dirwalk_path(w.fd, path, sizeof(path)), -ENOENT);
	close_fd(&w.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(test_spellings),
		scratch_test(test_too_long),
		scratch_test(test_what_is_no_directory),
		scratch_test(test_links),
		scratch_test(test_owners),
		scratch_test(test_undo),
		scratch_test(test_rmdir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
