/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TEST_LAUNCH_UTIL_H
#define RINGKIT_TEST_LAUNCH_UTIL_H

/* What the tests of the launcher's modules share: a scratch directory, and a user and mount
 * namespace of the test's own, so that they run as anybody. Include after cmocka.h. */
#include <ftw.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "file.h"

static char scratch[64];

static inline void scratch_make(void)
{
	snprintf(scratch, sizeof(scratch), "/tmp/ringkit-test-XXXXXX");
	assert_non_null(mkdtemp(scratch));
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int flag,
				     struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static inline void scratch_remove(void)
{
	nftw(scratch, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* The setup and teardown of a test that needs no more than a scratch directory. */
static inline int scratch_setup(void **state)
{
	(void)state;
	scratch_make();
	return 0;
}

static inline int scratch_teardown(void **state)
{
	(void)state;
	scratch_remove();
	return 0;
}

#define scratch_test(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

/* A user who owns what a test says is another user's. */
#define NEIGHBOUR 20002

/* Also true for a symbolic link that leads nowhere. */
static inline bool path_exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

/* PATH in the scratch directory. The text is valid until eight calls later. */
static inline const char *in_scratch(const char *path)
{
	static char buf[8][256];
	static unsigned turn;

	turn = (turn + 1) % 8;
	snprintf(buf[turn], sizeof(buf[turn]), "%s/%s", scratch, path);
	return buf[turn];
}

static inline void write_text(const char *path, const char *text)
{
	assert_int_equal(file_write(path, text, 0644), 0);
}

static inline void make_dir(const char *path)
{
	assert_int_equal(mkdir(path, 0755), 0);
}

static inline const char *read_text(const char *path)
{
	static char buf[65536];
	ssize_t n = fd_read_file(path, buf, sizeof(buf));

	return n < 0 ? NULL : buf;
}

static inline const char *link_target(const char *path)
{
	static char buf[256];
	ssize_t n = readlink(path, buf, sizeof(buf) - 1);

	buf[n < 0 ? 0 : n] = '\0';
	return buf;
}

/* Makes this process root of a user namespace with a mount namespace. False: the system allows
 * none. */
static inline bool enter_namespaces(int more)
{
	unsigned uid = (unsigned)geteuid(), gid = (unsigned)getegid();
	char map[64];

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS | more) < 0) {
		print_message("there are no user namespaces here\n");
		return false;
	}
	file_write("/proc/self/setgroups", "deny", 0644);
	snprintf(map, sizeof(map), "0 %u 1", uid);
	assert_int_equal(file_write("/proc/self/uid_map", map, 0644), 0);
	snprintf(map, sizeof(map), "0 %u 1", gid);
	assert_int_equal(file_write("/proc/self/gid_map", map, 0644), 0);
	assert_int_equal(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	return true;
}

#endif
