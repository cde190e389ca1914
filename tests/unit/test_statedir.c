/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "base/array.h"
#include "launch/statedir.h"
#include "launch_util.h"

static int setup(void **state)
{
	scratch_setup(state);
	setenv("HOME", "/nonexistent", 1);
	setenv("TMPDIR", scratch, 1);
	return 0;
}

#define state_test(test) cmocka_unit_test_setup_teardown(test, setup, scratch_teardown)

static void open_ok(const char *path, struct statedir *d)
{
	struct err e = {0};

	if (statedir_open(path, d, &e))
		fail_msg("%s", e.msg);
}

static void test_named_is_made_and_removed(void **state)
{
	struct statedir d;

	(void)state;
	open_ok(in_scratch("a/b"), &d);
	assert_string_equal(d.path, in_scratch("a/b"));
	assert_true(path_exists(in_scratch("a/b/lock")));
	write_text(in_scratch("a/b/api.sock"), "");
	statedir_close(&d);
	assert_false(path_exists(in_scratch("a/b")));
}

static void test_temporary(void **state)
{
	struct statedir d;
	struct stat st;
	int fd;

	(void)state;
	open_ok(NULL, &d);
	assert_int_equal(strncmp(d.path, in_scratch("rootlesskit"), strlen(scratch) + 12), 0);
	assert_int_equal(stat(d.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	/* systemd-tmpfiles takes an exclusive lock before it removes a directory. It must not get
	 * the lock. */
	fd = open(d.path, O_RDONLY | O_DIRECTORY);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), -1);
	assert_int_equal(errno, EWOULDBLOCK);
	close(fd);
	statedir_close(&d);
	assert_false(path_exists(d.path));
}

static void test_second_instance_is_refused(void **state)
{
	struct statedir first, second;
	struct err e = {0};

	(void)state;
	open_ok(in_scratch("s"), &first);
	write_text(in_scratch("s/child_pid"), "1");
	assert_int_equal(statedir_open(in_scratch("s"), &second, &e), -EBUSY);
	assert_says(e.msg, "another RootlessKit is running");
	assert_true(path_exists(in_scratch("s/child_pid")));
	statedir_close(&first);
	open_ok(in_scratch("s"), &second);
	statedir_close(&second);
}

/* The directory is refused with this code and these words. Nothing is left open. */
static void open_refused(const char *path, int code, const char *words)
{
	struct statedir d;
	struct err e = {0};

	assert_int_equal(statedir_open(path, &d, &e), code);
	assert_says(e.msg, words);
	assert_int_equal(d.lock_fd, -1);
	assert_int_equal(d.dir_fd, -1);
}

static void make_socket(const char *path)
{
	assert_int_equal(mknod(path, S_IFSOCK | 0600, 0), 0);
}

static void test_leftovers_go(void **state)
{
	static const char *const files[] = {"child_pid", ".child_pid",	"netns",
					    "hosts",	 "resolv.conf", "_child_pid.u7s-ready"};
	static const char *const sockets[] = {"api.sock",
					      ".s4nn.sock",
					      "vpnkit-ethernet.sock",
					      "vdeplug-ptp.sock",
					      "vdeplug-ptp.sock+",
					      ".pasta.sock",
					      ".bp.sock",
					      "gvisortapvsock/tap.sock"};
	struct statedir d;
	char name[32];

	(void)state;
	make_dir(in_scratch("s"));
	make_dir(in_scratch("s/gvisortapvsock"));
	write_text(in_scratch("s/lock"), "");
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(name, sizeof(name), "s/%s", files[i]);
		write_text(in_scratch(name), "4711");
	}
	for (size_t i = 0; i < ARRAY_SIZE(sockets); i++) {
		snprintf(name, sizeof(name), "s/%s", sockets[i]);
		make_socket(in_scratch(name));
	}
	assert_int_equal(mkfifo(in_scratch("s/.bp-ready.pipe"), 0600), 0);
	open_ok(in_scratch("s"), &d);
	assert_true(d.crashed);
	assert_true(path_exists(in_scratch("s/lock")));
	assert_int_equal(unlink(in_scratch("s/lock")), 0);
	assert_int_equal(rmdir(in_scratch("s")), 0); /* nothing else was in it */
	statedir_close(&d);
}

static void test_what_is_not_ours_stays(void **state)
{
	struct statedir d;

	(void)state;
	make_dir(in_scratch("s"));
	make_dir(in_scratch("s/dir"));
	write_text(in_scratch("s/dir/file"), "x");
	write_text(in_scratch("s/child_pid"), "4711");
	write_text(in_scratch("s/lock"), "");
	for (int i = 0; i < 2; i++) { /* the lock stays, or the second time would be refused */
		open_ok(in_scratch("s"), &d);
		assert_false(path_exists(in_scratch("s/child_pid")));
		write_text(in_scratch("s/hosts"), "");
		statedir_close(&d);
		assert_false(path_exists(in_scratch("s/hosts")));
		assert_string_equal(read_text(in_scratch("s/dir/file")), "x");
	}
}

static void test_directory_of_something_else(void **state)
{
	(void)state;
	make_dir(in_scratch("proj"));
	write_text(in_scratch("proj/hosts"), "precious");
	open_refused(in_scratch("proj"), -ENOTEMPTY, "hosts is in it");
	write_text(in_scratch("proj/lock"), "a lock of another program");
	open_refused(in_scratch("proj"), -EEXIST, "lock in it is not");
	assert_int_equal(unlink(in_scratch("proj/lock")), 0);
	assert_int_equal(symlink("/dev/null", in_scratch("proj/lock")), 0);
	open_refused(in_scratch("proj"), -EEXIST, "lock in it is not");
	assert_int_equal(unlink(in_scratch("proj/lock")), 0);
	make_dir(in_scratch("proj/lock"));
	open_refused(in_scratch("proj"), -EEXIST, "lock in it is not");
	assert_int_equal(rmdir(in_scratch("proj/lock")), 0);
	make_socket(in_scratch("proj/lock"));
	open_refused(in_scratch("proj"), -EEXIST, "lock in it is not");
	assert_string_equal(read_text(in_scratch("proj/hosts")), "precious");
}

static void test_directory_with_a_name_of_ours(void **state)
{
	static const char *const names[] = {"s/api.sock", "s/gvisortapvsock"};

	(void)state;
	make_dir(in_scratch("s"));
	write_text(in_scratch("s/lock"), "");
	for (int i = 0; i < 2; i++) {
		char file[64];

		snprintf(file, sizeof(file), "%s/file", names[i]);
		make_dir(in_scratch(names[i]));
		write_text(in_scratch(file), "x");
		open_refused(in_scratch("s"), -EEXIST, "rm -rf ");
		assert_true(path_exists(in_scratch("s/lock")));
		assert_int_equal(unlink(in_scratch(file)), 0);
		assert_int_equal(rmdir(in_scratch(names[i])), 0);
	}
}

static void test_others_may_write(void **state)
{
	struct statedir d;

	(void)state;
	make_dir(in_scratch("s"));
	for (mode_t mode = 0020; mode; mode = mode == 0020 ? 0002 : mode == 0002 ? 01777 : 0) {
		assert_int_equal(chmod(in_scratch("s"), 0755 | mode), 0);
		open_refused(in_scratch("s"), -EPERM, mode == 01777 ? "one in it" : "chmod go-w");
		assert_false(path_exists(in_scratch("s/lock")));
	}
	open_refused("/tmp", -EPERM, "others may write it");
	/* A directory below such a one is safe. */
	open_ok(in_scratch("s/own"), &d);
	statedir_close(&d);
}

static void test_links_of_ones_own(void **state)
{
	struct statedir d;

	(void)state;
	make_dir(in_scratch("data"));
	assert_int_equal(symlink(in_scratch("data/rk"), in_scratch("rk")), 0);
	assert_int_equal(symlink("data/../rk", in_scratch("again")), 0);
	for (int i = 0; i < 2; i++) { /* whether the link leads to something or not */
		open_ok(in_scratch(i ? "again" : "rk"), &d);
		assert_string_equal(d.path, in_scratch("data/rk"));
		statedir_close(&d);
		assert_false(path_exists(in_scratch("data/rk")));
		assert_true(path_exists(in_scratch("rk")));
	}
	open_ok(in_scratch("again/./deep//er/"), &d);
	assert_string_equal(d.path, in_scratch("data/rk/deep/er"));
	statedir_close(&d);
	assert_int_equal(symlink("loop", in_scratch("loop")), 0);
	open_refused(in_scratch("loop/x"), -ELOOP, "loop");
	/* Links within the directory are treated like other files. */
	make_dir(in_scratch("s"));
	write_text(in_scratch("s/lock"), "");
	write_text(in_scratch("data/file"), "x");
	assert_int_equal(symlink(in_scratch("data"), in_scratch("s/link")), 0);
	assert_int_equal(symlink(in_scratch("data/file"), in_scratch("s/hosts")), 0);
	open_ok(in_scratch("s"), &d);
	assert_false(path_exists(in_scratch("s/hosts")));
	statedir_close(&d);
	assert_true(path_exists(in_scratch("s/link")));
	assert_string_equal(read_text(in_scratch("data/file")), "x");
}

static void test_links_and_directories_of_others(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		print_message("only root can make what another user owns\n");
		skip();
	}
	make_dir(in_scratch("docs"));
	write_text(in_scratch("docs/lock"), "");
	assert_int_equal(symlink("docs", in_scratch("link")), 0);
	assert_int_equal(lchown(in_scratch("link"), NEIGHBOUR, NEIGHBOUR), 0);
	open_refused(in_scratch("link"), -EPERM, "symbolic link");
	open_refused(in_scratch("link/deep"), -EPERM, "symbolic link");
	assert_false(path_exists(in_scratch("docs/deep")));
	make_dir(in_scratch("theirs"));
	assert_int_equal(chown(in_scratch("theirs"), NEIGHBOUR, NEIGHBOUR), 0);
	open_refused(in_scratch("theirs"), -EPERM, "another user (uid 20002)");
	open_refused(in_scratch("theirs/deep"), -EPERM, "another user (uid 20002)");
	assert_false(path_exists(in_scratch("theirs/deep")));
	make_dir(in_scratch("d"));
	write_text(in_scratch("d/lock"), "");
	assert_int_equal(chown(in_scratch("d/lock"), NEIGHBOUR, NEIGHBOUR), 0);
	open_refused(in_scratch("d"), -EEXIST, "lock in it is not");
}

static void test_path_too_long(void **state)
{
	char name[128];
	struct statedir d;
	int room;

	(void)state;
	room = 107 - (int)strlen("/api.sock") - (int)strlen(in_scratch("a/b/"));
	snprintf(name, sizeof(name), "a/b/%0*d", room + 1, 0);
	open_refused(in_scratch(name), -ENAMETOOLONG, "at most 107");
	assert_false(
		path_exists(in_scratch("a"))); /* the directories that were made for it have gone */
	snprintf(name, sizeof(name), "a/b/%0*d", room, 0);
	open_ok(in_scratch(name), &d);
	statedir_close(&d);
	setenv("TMPDIR", in_scratch(name), 1);
	make_dir(in_scratch(name));
	open_refused(NULL, -ENAMETOOLONG, "TMPDIR");
	assert_int_equal(rmdir(in_scratch(name)), 0); /* it is empty */
}

static void test_home_is_not_emptied(void **state)
{
	struct statedir d;
	struct err e = {0};

	(void)state;
	make_dir(in_scratch("h"));
	make_dir(in_scratch("h/user"));
	write_text(in_scratch("h/user/diary"), "x");
	setenv("HOME", in_scratch("h/user"), 1);
	assert_int_equal(statedir_open(in_scratch("h/user"), &d, &e), -EINVAL);
	assert_says(e.msg, "home directory");
	assert_int_equal(statedir_open(in_scratch("h"), &d, &e), -EINVAL);
	open_refused("/", -EINVAL, "home directory");
	assert_true(path_exists(in_scratch("h/user/diary")));
	assert_false(path_exists(in_scratch("h/user/lock")));
	/* An empty home directory counts, too, also when only the list of users tells that it is
	 * one. */
	make_dir(in_scratch("h/empty"));
	setenv("HOME", in_scratch("h/empty"), 1);
	open_refused(in_scratch("h/empty"), -EINVAL, "home directory");
	assert_int_equal(symlink("h/empty", in_scratch("alias")), 0);
	open_refused(in_scratch("alias"), -EINVAL, "home directory");
	unsetenv("HOME");
	if (path_exists(getpwuid(geteuid())->pw_dir))
		open_refused(getpwuid(geteuid())->pw_dir, -EINVAL, "home directory");
	setenv("HOME", in_scratch("h/user"), 1);
	/* A directory beside the home directory is fine. */
	open_ok(in_scratch("h/use"), &d);
	statedir_close(&d);
	assert_true(path_exists(in_scratch("h/user/diary")));
}

static void test_child_pid(void **state)
{
	mode_t old = umask(077);
	struct statedir d;
	struct err e = {0};
	struct stat st;

	(void)state;
	open_ok(in_scratch("s"), &d);
	assert_int_equal(statedir_write_child_pid(&d, 4711, &e), 0);
	assert_string_equal(read_text(in_scratch("s/child_pid")), "4711");
	assert_int_equal(stat(in_scratch("s/child_pid"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0444);
	assert_false(path_exists(in_scratch("s/.child_pid")));
	statedir_close(&d);
	assert_false(path_exists(in_scratch("s")));
	umask(old);
}

static void test_what_cannot_be_made(void **state)
{
	struct statedir d;
	struct err e = {0};

	(void)state;
	write_text(in_scratch("file"), "");
	assert_true(statedir_open(in_scratch("file"), &d, &e) < 0);
	assert_says(e.msg, in_scratch("file"));
	assert_true(statedir_open(in_scratch("file/x"), &d, &e) < 0);
	assert_true(statedir_open("/proc/nowhere", &d, &e) < 0);
	setenv("TMPDIR", in_scratch("nowhere"), 1);
	assert_true(statedir_open(NULL, &d, &e) < 0);
	assert_says(e.msg, "nowhere");
	assert_int_equal(d.lock_fd, -1);
	assert_int_equal(d.dir_fd, -1);
}

/* Many instances want one directory at the same time. One that gets it is alone, whatever the
 * others remove. */
static void test_instances_in_turn(void **state)
{
	int ok = 0, status;

	(void)state;
	for (int i = 0; i < 8; i++) {
		if (fork())
			continue;
		for (int k = 0; k < 200; k++) {
			struct statedir d;
			int fd, code = statedir_open(in_scratch("s"), &d, NULL);

			if (code == -EBUSY)
				continue;
			if (code)
				_exit(1);
			fd = open(in_scratch("s/alone"), O_CREAT | O_EXCL | O_WRONLY, 0600);
			if (fd < 0)
				_exit(2);
			close(fd);
			if (unlink(in_scratch("s/alone")))
				_exit(3);
			statedir_close(&d);
		}
		_exit(0);
	}
	while (wait(&status) > 0)
		ok += status == 0;
	assert_int_equal(ok, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		state_test(test_named_is_made_and_removed),
		state_test(test_temporary),
		state_test(test_second_instance_is_refused),
		state_test(test_leftovers_go),
		state_test(test_what_is_not_ours_stays),
		state_test(test_directory_of_something_else),
		state_test(test_directory_with_a_name_of_ours),
		state_test(test_others_may_write),
		state_test(test_links_of_ones_own),
		state_test(test_links_and_directories_of_others),
		state_test(test_path_too_long),
		state_test(test_home_is_not_emptied),
		state_test(test_child_pid),
		state_test(test_what_cannot_be_made),
		state_test(test_instances_in_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
