/* SPDX-License-Identifier: Apache-2.0 */
/* Landlock without the filter of system calls, which would refuse these calls by itself. */
#include "cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/landlock.h"

static int result(long r)
{
	return r < 0 ? errno : 0;
}

/* The kernel's version of Landlock. Without Landlock the test is skipped. */
static long landlock_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, 1);

	if (abi < 0) {
		print_message("the machine has no Landlock\n");
		skip();
	}
	return abi;
}

/* Runs what() in a process of its own, since Landlock cannot be taken back. Returns what it
 * returned; 0: everything was as it should be. */
static int in_process(int (*what)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? 255 : what());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int try_files(void)
{
	const struct landlock_rest rest = {.signal = false};
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (null < 0 || landlock_no_files(&rest))
		return 1;
	if (open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0 || errno != EACCES)
		return 2;
	if (open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC) >= 0 || errno != EACCES)
		return 3;
	if (mkdir("/tmp/ringkit-landlock", 0700) == 0 || errno != EACCES)
		return 4;
	execl("/bin/true", "true", NULL);
	if (errno != EACCES)
		return 5;
	return write(null, "x", 1) == 1 ? 0 : 6;
}

static void test_landlock(void **state)
{
	(void)state;
	landlock_abi();
	assert_int_equal(in_process(try_files), 0);
}

static int bind_tcp(void)
{
	struct sockaddr_in any = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return result(bind(fd, (struct sockaddr *)&any, sizeof(any)));
}

/* Connects to a port on which nobody listens. */
static int connect_tcp(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(1),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return result(connect(fd, (struct sockaddr *)&to, sizeof(to)));
}

static int without_tcp(void)
{
	const struct landlock_rest rest = {.signal = true};

	if (landlock_no_files(&rest))
		return 1;
	return bind_tcp() == EACCES && connect_tcp() == EACCES ? 0 : 2;
}

static int with_tcp(void)
{
	const struct landlock_rest rest = {.bind_tcp = true, .connect_tcp = true};
	int connected;

	if (landlock_no_files(&rest))
		return 1;
	connected = connect_tcp();
	return bind_tcp() == 0 && (connected == ECONNREFUSED || connected == ENETUNREACH) ? 0 : 2;
}

static void test_landlock_tcp(void **state)
{
	(void)state;
	if (landlock_abi() < 4)
		skip();
	assert_int_equal(in_process(without_tcp), 0);
	assert_int_equal(in_process(with_tcp), 0);
}

/* The address of an abstract socket of a process that is not under Landlock. */
static struct sockaddr_un abstract;
static socklen_t abstract_len;

static int connect_abstract(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return result(connect(fd, (struct sockaddr *)&abstract, abstract_len));
}

static int without_others(void)
{
	const struct landlock_rest rest = {.signal = false};

	if (landlock_no_files(&rest))
		return 1;
	if (connect_abstract() != EPERM || result(kill(getppid(), 0)) != EPERM)
		return 2;
	return result(kill(getpid(), 0)); /* as abort(3) does */
}

static int with_signals(void)
{
	const struct landlock_rest rest = {.signal = true};

	return landlock_no_files(&rest) ? 1 : result(kill(getppid(), 0));
}

static void test_landlock_scopes(void **state)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	abstract = (struct sockaddr_un){.sun_family = AF_UNIX};
	abstract_len = sizeof(sa_family_t);
	assert_int_equal(bind(fd, (struct sockaddr *)&abstract, abstract_len),
			 0); /* the kernel chooses the name */
	assert_int_equal(listen(fd, 1), 0);
	abstract_len = sizeof(abstract);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&abstract, &abstract_len), 0);
	assert_int_equal(connect_abstract(), 0);
	if (landlock_abi() >= 6) {
		assert_int_equal(in_process(without_others), 0);
		assert_int_equal(in_process(with_signals), 0);
	}
	close(fd);
}

/* The parent may write in one directory. */

static char outer[64], inner[96];

static int name_in(const char *dir, const char *name, int flags)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return result(open(path, flags | O_CLOEXEC, 0600));
}

static int try_elsewhere(void)
{
	if (name_in(outer, "made", O_WRONLY | O_CREAT) != EACCES ||
	    name_in(outer, "file", O_WRONLY) != EACCES || result(rename(inner, "/tmp/x")) == 0)
		return 2;
	if (result(truncate("/tmp/ringkit-is-not-there", 0)) == 0)
		return 3;
	return name_in(outer, "file", O_RDONLY) ? 4 : 0;
}

static int write_in_one_directory(void)
{
	int dir = open(inner, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char file[128];

	if (dir < 0 || landlock_write_only_in(dir))
		return 1;
	if (try_elsewhere())
		return try_elsewhere();
	snprintf(file, sizeof(file), "%s/file", inner);
	if (name_in(inner, "file", O_WRONLY | O_CREAT) || unlink(file))
		return 5;
	if (name_in("/dev", "null", O_WRONLY) || result(kill(getppid(), 0)))
		return 6;
	if (result(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL)) != EPERM)
		return 7;
	if (rmdir(inner)) /* as the state directory is removed at the end */
		return 8;
	execl("/bin/true", "true", NULL);
	return 9;
}

static void test_landlock_directory(void **state)
{
	char file[128];

	(void)state;
	landlock_abi();
	snprintf(outer, sizeof(outer), "/tmp/ringkit-XXXXXX");
	assert_non_null(mkdtemp(outer));
	snprintf(inner, sizeof(inner), "%s/inner", outer);
	assert_int_equal(mkdir(inner, 0700), 0);
	assert_int_equal(name_in(outer, "file", O_WRONLY | O_CREAT), 0);
	assert_int_equal(in_process(write_in_one_directory), 0);
	assert_int_equal(result(rmdir(inner)), ENOENT);
	snprintf(file, sizeof(file), "%s/file", outer);
	assert_int_equal(unlink(file), 0);
	assert_int_equal(rmdir(outer), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_landlock),
		cmocka_unit_test(test_landlock_tcp),
		cmocka_unit_test(test_landlock_scopes),
		cmocka_unit_test(test_landlock_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
