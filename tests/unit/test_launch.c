/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "launch/command.h"
#include "launch/preflight.h"
#include "launch/spawn.h"
#include "launch_util.h"
#include "ns/etcfiles.h"
#include "ns/mounts.h"
#include "ns/netns.h"

static sigset_t no_signals;

static int run(const char *script, bool own_session, struct err *e)
{
	const char *argv[] = {"/bin/sh", "-c", script, NULL};
	struct command cmd = {.argv = (char **)(unsigned long)argv,
			      .own_session = own_session,
			      .mask = &no_signals};

	return command_run(&cmd, e);
}

static void test_exit_codes(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(run("exit 0", false, &e), 0);
	assert_int_equal(e.code, 0);
	assert_int_equal(run("exit 7", false, &e), 7);
	assert_string_equal(e.msg, "command [/bin/sh -c exit 7] exited: exit status 7");
	assert_int_equal(run("kill -9 $$", true, &e), 255);
	assert_string_equal(e.msg, "command [/bin/sh -c kill -9 $$] exited: signal: killed");
	assert_int_equal(run("kill -TERM $$", false, &e), 255);
	assert_non_null(strstr(e.msg, "signal: terminated"));
}

static void test_command_that_cannot_run(void **state)
{
	const char *words[] = {"no-such-command", "arg", NULL};
	struct command cmd = {.argv = (char **)(unsigned long)words, .mask = &no_signals};
	struct err e;

	(void)state;
	assert_int_equal(command_run(&cmd, &e), 1);
	assert_string_equal(e.msg, "command [no-such-command arg] exited: exec: "
				   "\"no-such-command\": executable file not found in $PATH");
	words[0] = "/etc/passwd";
	assert_int_equal(command_run(&cmd, &e), 1);
	assert_non_null(strstr(e.msg, "fork/exec /etc/passwd: permission denied"));
	words[0] = "/nowhere/x";
	assert_int_equal(command_run(&cmd, &e), 1);
	assert_non_null(strstr(e.msg, "fork/exec /nowhere/x: no such file or directory"));
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void test_signals_reach_the_command(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(run("trap 'exit 42' USR1; kill -USR1 $PPID; while :; do sleep 0.01; done",
			     false, &e),
			 42);
	assert_int_equal(run("trap 'exit 43' TERM; kill -TERM $PPID; while :; do sleep 0.01; done",
			     true, &e),
			 43);
}

/* Other children that end first are reaped, and do not end the wait. */
static void test_other_children(void **state)
{
	struct err e;

	(void)state;
	if (fork() == 0)
		_exit(9);
	assert_int_equal(run("sleep 0.05; exit 5", false, &e), 5);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void test_sessions(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(run("test $(ps -o sid= -p $$) -eq $$", true, &e), 0);
	assert_int_equal(run("test $(ps -o sid= -p $$) -ne $$", false, &e), 0);
}

static void test_listen_pid(void **state)
{
	const char *argv[] = {"/bin/sh", "-c", "test $LISTEN_PID = $$", NULL};
	struct command cmd = {
		.argv = (char **)(unsigned long)argv, .listen_fds = true, .mask = &no_signals};
	struct err e;

	(void)state;
	setenv("LISTEN_PID", "1", 1);
	assert_int_equal(command_run(&cmd, &e), 0);
	cmd.listen_fds = false;
	argv[2] = "test $LISTEN_PID = 1";
	assert_int_equal(command_run(&cmd, &e), 0);
	unsetenv("LISTEN_PID");
}

/* The kernel sends the signals of the terminal's keys to the command, too: they are not passed on.
 */
static void test_shared_signals(void **state)
{
	(void)state;
	assert_true(command_signal_is_shared(SIGINT, SI_KERNEL));
	assert_true(command_signal_is_shared(SIGWINCH, SI_KERNEL));
	assert_false(command_signal_is_shared(SIGINT, SI_USER));
	assert_false(command_signal_is_shared(SIGTERM, SI_USER));
	assert_false(command_signal_is_shared(SIGHUP, SI_KERNEL));
}

static void test_inherited_fds(void **state)
{
	int plain = open("/dev/null", O_RDONLY), hidden = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct inherited_fds in;
	bool found = false;

	(void)state;
	assert_int_equal(inherited_fds_take(&in), 0);
	for (size_t i = 0; i < in.n; i++) {
		assert_int_not_equal(in.fd[i], hidden);
		assert_true(in.fd[i] > 2);
		found |= in.fd[i] == plain;
	}
	assert_true(found);
	assert_int_equal(fcntl(plain, F_GETFD), FD_CLOEXEC);
	inherited_fds_free(&in);
	close(plain);
	close(hidden);
}

static void test_clone_flags(void **state)
{
	struct options o = {.net = "host"};

	(void)state;
	assert_int_equal(spawn_flags(&o), CLONE_NEWUSER | CLONE_NEWNS);
	o.net = "none";
	assert_int_equal(spawn_flags(&o), CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET);
	o.detach_netns = true;
	assert_int_equal(spawn_flags(&o), CLONE_NEWUSER | CLONE_NEWNS);
	o.pidns = o.cgroupns = o.utsns = o.ipcns = true;
	assert_int_equal(spawn_flags(&o), CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID |
						  CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC);
}

static int hint_setup(void **state)
{
	scratch_setup(state);
	assert_int_equal(mkdir(in_scratch("kernel"), 0755), 0);
	assert_int_equal(mkdir(in_scratch("user"), 0755), 0);
	return 0;
}

static const char *hint_used_up(int code, const char *used_up)
{
	static char buf[8192];

	return preflight_hint_text(scratch, "/usr/bin/rootlesskit", code, used_up, buf,
				   sizeof(buf));
}

static const char *hint(int code)
{
	return hint_used_up(code, NULL);
}

static void test_hints(void **state)
{
	(void)state;
	assert_string_equal(hint(-EPERM), "");
	write_text(in_scratch("user/max_user_namespaces"), "1000\n");
	write_text(in_scratch("kernel/unprivileged_userns_clone"), "1\n");
	assert_string_equal(hint(-EPERM), "");
	/* There is no space, but not since namespaces are used up. */
	assert_string_equal(hint(-ENOSPC), "");
	write_text(in_scratch("user/max_user_namespaces"), "0\n");
	assert_non_null(strstr(hint(-ENOSPC), "sysctl -w user.max_user_namespaces=28633"));
	write_text(in_scratch("kernel/unprivileged_userns_clone"), "0\n");
	assert_non_null(strstr(hint(-EPERM), "sysctl -w kernel.unprivileged_userns_clone=1"));
}

static void test_used_up_hints(void **state)
{
	static const char sysctl[] = "user.max_net_namespaces";

	(void)state;
	write_text(in_scratch("user/max_user_namespaces"), "2147483647\n");
	write_text(in_scratch("user/max_net_namespaces"), "100\n");
	assert_non_null(
		strstr(hint_used_up(-ENOSPC, sysctl),
		       "user.max_net_namespaces is 100, and all of them are in use. As root: "
		       "sysctl -w user.max_net_namespaces=28633 "));
	write_text(in_scratch("user/max_net_namespaces"), "20000\n");
	assert_non_null(strstr(hint_used_up(-ENOSPC, sysctl), "user.max_net_namespaces=40000 "));
	/* Raising this limit would not help: an outer user namespace has the limit that was
	 * reached. */
	write_text(in_scratch("user/max_net_namespaces"), "2147483647\n");
	assert_non_null(strstr(hint_used_up(-ENOSPC, sysctl), "outer user namespace"));
	assert_null(strstr(hint_used_up(-ENOSPC, sysctl), "sysctl -w"));
}

static void test_apparmor_hint(void **state)
{
	(void)state;
	write_text(in_scratch("kernel/apparmor_restrict_unprivileged_userns"), "1\n");
	assert_non_null(strstr(hint(-EACCES), "kernel.apparmor_restrict_unprivileged_userns"));
	assert_non_null(strstr(hint(-EPERM), "/etc/apparmor.d/usr.bin.rootlesskit"));
	assert_non_null(strstr(hint(-EPERM), "\n/usr/bin/rootlesskit flags=(unconfined) {\n"));
	assert_string_equal(hint(-ENOENT), "");
}

/* Finds in the hint the text to be pasted, and the name of its file. */
static void profile_of_hint(char *text, char **name, char **profile)
{
	*name = strstr(text, "> /etc/apparmor.d/");
	assert_non_null(*name);
	*name += strlen("> /etc/apparmor.d/");
	*profile = strchr(*name, '\n');
	assert_non_null(*profile);
	*(*profile)++ = '\0';
	*strstr(*profile, "EOT\n") = '\0';
}

/* The hint shows the profile that is installed. */
static void test_apparmor_profile(void **state)
{
	const char *path = getenv("RK_APPARMOR_PROFILE"), *exe = getenv("RK_INSTALLED");
	char file[2048], text[2048], *body = file, *name, *profile;

	(void)state;
	if (!path || !exe) {
		print_message("started without meson\n");
		skip();
		return;
	}
	write_text(in_scratch("kernel/apparmor_restrict_unprivileged_userns"), "1\n");
	preflight_hint_text(scratch, exe, -EPERM, NULL, text, sizeof(text));
	profile_of_hint(text, &name, &profile);
	assert_string_equal(name, strrchr(path, '/') + 1);
	assert_true(fd_read_file(path, file, sizeof(file)) > 0);
	while (*body == '#')
		body = strchr(body, '\n') + 1;
	assert_string_equal(profile, body + strspn(body, "\n"));
}

static void test_resolv_conf(void **state)
{
	const char *dns[] = {"10.0.2.3", "fd00::3"};
	char buf[64];

	(void)state;
	assert_int_equal(etcfiles_resolv_conf(dns, 2, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "nameserver 10.0.2.3\nnameserver fd00::3\n");
	assert_int_equal(etcfiles_resolv_conf(dns, 2, buf, 30), -ENOBUFS);
	assert_int_equal(etcfiles_resolv_conf(dns, 0, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "");
}

static void test_hosts(void **state)
{
	char buf[128];

	(void)state;
	assert_int_equal(etcfiles_hosts("127.0.0.1 localhost\n", "box", buf, sizeof(buf)), 0);
	assert_string_equal(buf, "127.0.0.1 localhost\n\n127.0.0.1 box\n::1 box\n");
	assert_int_equal(etcfiles_hosts("127.0.0.1 localhost\n", "box", buf, 40), -ENOBUFS);
}

/* The following tests run as root of namespaces, each in a process of its own. */
static void in_namespaces(int (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(enter_namespaces(CLONE_NEWNET) ? fn() : 77);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			print_error("%s:%d: %s\n", __FILE__, __LINE__, #condition);                \
			return 1;                                                                  \
		}                                                                                  \
	} while (0)

static int do_bind(void)
{
	const char *dns[] = {"10.0.2.3"};
	char before[4096] = "";
	auto_fd int dir_fd = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct err e = {0};

	fd_read_file("/etc/hosts", before, sizeof(before));
	CHECK(etcfiles_install(dns, 1, ETCFILES_BOUND, dir_fd, &e) == 0);
	CHECK(!strcmp(read_text("/etc/resolv.conf"), "nameserver 10.0.2.3\n"));
	CHECK(!strncmp(read_text("/etc/hosts"), before, strlen(before)));
	CHECK(strstr(read_text("/etc/hosts"), "\n::1 "));
	CHECK(!strcmp(read_text(in_scratch("resolv.conf")), "nameserver 10.0.2.3\n"));
	CHECK(strstr(read_text(in_scratch("hosts")), "\n::1 "));
	return 0;
}

static void test_files_are_bound(void **state)
{
	(void)state;
	if (access("/etc/resolv.conf", F_OK) || access("/etc/hosts", F_OK)) {
		print_message("no /etc/resolv.conf or /etc/hosts here\n");
		skip();
	}
	in_namespaces(do_bind);
}

static int do_propagation(void)
{
	struct err e = {0};

	CHECK(mounts_set_propagation("rshared", &e) == 0);
	CHECK(strstr(read_text("/proc/self/mountinfo"), " shared:"));
	CHECK(mounts_set_propagation("rprivate", &e) == 0);
	CHECK(!strstr(read_text("/proc/self/mountinfo"), " shared:"));
	CHECK(mounts_set_propagation("sideways", &e) == -EINVAL);
	return 0;
}

/* Runs as root of a user namespace, in which no more namespaces of a kind may be made. */
static int do_use_up(void)
{
	const int all = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS;

	CHECK(preflight_used_up(all) == NULL);
	CHECK(file_write("/proc/sys/user/max_uts_namespaces", "0", 0644) == 0);
	CHECK(preflight_used_up(CLONE_NEWUSER | CLONE_NEWNS) == NULL);
	CHECK(!strcmp(preflight_used_up(all), "user.max_uts_namespaces"));
	CHECK(file_write("/proc/sys/user/max_net_namespaces", "0", 0644) == 0);
	CHECK(!strcmp(preflight_used_up(all), "user.max_net_namespaces"));
	CHECK(file_write("/proc/sys/user/max_user_namespaces", "0", 0644) == 0);
	CHECK(!strcmp(preflight_used_up(all), "user.max_user_namespaces"));
	return 0;
}

static void test_used_up(void **state)
{
	(void)state;
	in_namespaces(do_use_up);
}

static void test_propagation(void **state)
{
	(void)state;
	in_namespaces(do_propagation);
}

static int compare_netns(void *arg, struct err *e)
{
	struct stat st, *other = arg;

	if (stat("/proc/self/ns/net", &st) < 0 || st.st_ino != other->st_ino)
		return err_set(e, -ENOENT, "another namespace");
	return 0;
}

static int do_netns(void)
{
	struct err e = {0};
	struct stat mine, made;
	auto_fd int dir_fd = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = -1;

	CHECK(netns_create(&fd, &e) == 0);
	CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
	CHECK(fstat(fd, &made) == 0 && stat("/proc/self/ns/net", &mine) == 0);
	CHECK(made.st_ino != mine.st_ino);
	CHECK(netns_run(fd, compare_netns, &made, &e) == 0);
	CHECK(netns_run(fd, compare_netns, &mine, &e) == -ENOENT);
	CHECK(!strcmp(e.msg, "another namespace"));
	CHECK(netns_bind(fd, dir_fd, "netns", &e) == 0);
	CHECK(stat(in_scratch("netns"), &mine) == 0 && mine.st_ino == made.st_ino);
	CHECK(waitpid(-1, NULL, WNOHANG) == -1);
	return 0;
}

static void test_netns(void **state)
{
	(void)state;
	in_namespaces(do_netns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exit_codes),
		cmocka_unit_test(test_command_that_cannot_run),
		cmocka_unit_test(test_signals_reach_the_command),
		cmocka_unit_test(test_other_children),
		cmocka_unit_test(test_sessions),
		cmocka_unit_test(test_listen_pid),
		cmocka_unit_test(test_shared_signals),
		cmocka_unit_test(test_inherited_fds),
		cmocka_unit_test(test_clone_flags),
		cmocka_unit_test_setup_teardown(test_hints, hint_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_used_up_hints, hint_setup, scratch_teardown),
		cmocka_unit_test(test_used_up),
		cmocka_unit_test_setup_teardown(test_apparmor_profile, hint_setup,
						scratch_teardown),
		cmocka_unit_test_setup_teardown(test_apparmor_hint, hint_setup, scratch_teardown),
		cmocka_unit_test(test_resolv_conf),
		cmocka_unit_test(test_hosts),
		cmocka_unit_test_setup_teardown(test_files_are_bound, hint_setup, scratch_teardown),
		cmocka_unit_test(test_propagation),
		cmocka_unit_test_setup_teardown(test_netns, hint_setup, scratch_teardown),
	};
	sigset_t all;

	sigemptyset(&no_signals);
	command_signals(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
