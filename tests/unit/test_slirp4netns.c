/* SPDX-License-Identifier: Apache-2.0 */
/* The slirp4netns driver with programs that behave badly: scripts that the test writes.
 * test_slirp4netns_real.c has the real program. */
#include "cmocka_all.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/loop.h"
#include "drivers/net/slirp4netns_internal.h"
#include "drivers/net/tap.h"
#include "drivers/registry_internal.h"
#include "file.h"
#include "netns_box.h"

#define HELP_NEW                                                                                   \
	"echo '--netns-type --cidr --disable-host-loopback --api-socket --enable-ipv6 "            \
	"--enable-sandbox --enable-seccomp'; exit 0"
#define HELP_04	 "echo '--netns-type --cidr --disable-host-loopback --api-socket'; exit 0"
#define HELP_OLD "echo '--ready-fd --mtu'; exit 0"

static char dir[] = "/tmp/test_slirp4netns.XXXXXX";
static char program[64], log_path[64];

/* Writes a program that answers --help with `help`, and does `body` otherwise. It writes its
 * arguments to a file. */
static void write_program(const char *help, const char *body)
{
	char text[2048];

	unlink(log_path);
	snprintf(text, sizeof(text),
		 "#!/bin/sh\nif [ \"$1\" = --help ]; then %s; fi\necho \"$@\" > %s\n%s\n", help,
		 log_path, body);
	assert_int_equal(file_write(program, text, 0755), 0);
}

static const char *words_given(void)
{
	static char buf[1024];
	ssize_t n = fd_read_file(log_path, buf, sizeof(buf));

	assert_true(n > 0);
	buf[n - 1] = '\0';
	return buf;
}

static struct net_params params_for(const char *binary)
{
	return (struct net_params){
		.binary = binary, .sandbox = "false", .seccomp = "false", .tun_path = "/dev/null"};
}

static const struct net_target nobody = {
	.child_pid = 4242, .userns_fd = -1, .netns_fd = -1, .abort_fd = -1};

static int start(const struct net_params *p, const struct net_target *t, struct net_driver **drv,
		 struct net_result *result, struct err *e)
{
	*e = (struct err){0};
	*drv = NULL;
	return net_slirp4netns_ops.start(p, t, drv, result, e);
}

static void start_fails(const struct net_params *p, int code, const char *words)
{
	struct net_driver *drv;
	struct net_result result;
	struct err e;

	assert_int_equal(start(p, &nobody, &drv, &result, &e), code);
	assert_int_equal(e.code, code);
	assert_says(e.msg, words);
	assert_null(strchr(e.msg, '\n'));
}

static void start_works(const struct net_params *p, const struct net_target *t)
{
	struct net_driver *drv;
	struct net_result result;
	struct err e;

	if (start(p, t, &drv, &result, &e) < 0)
		fail_msg("%s", e.msg);
	net_slirp4netns_ops.stop(drv);
}

#define READY "printf 1 >&3; exec 3>&-; exec sleep 100"

static void test_missing(void **state)
{
	struct net_params p = params_for("/nonexistent/slirp4netns");

	(void)state;
	start_fails(&p, -ENOENT, "cannot run /nonexistent/slirp4netns: No such file");
	start_fails(&p, -ENOENT, "--slirp4netns-binary");
}

static void test_not_executable(void **state)
{
	struct net_params p = params_for(log_path);

	(void)state;
	assert_int_equal(file_write(log_path, "x", 0644), 0);
	start_fails(&p, -EACCES, "Permission denied");
}

static void test_too_old(void **state)
{
	struct net_params p = params_for(program);

	(void)state;
	write_program(HELP_OLD, "echo 'unknown option' >&2; exit 1");
	start_fails(&p, -ENOTSUP, "0.4.0 or later");
	/* even if the program seems to work */
	write_program(HELP_OLD, READY);
	start_fails(&p, -ENOTSUP, "0.4.0 or later");
}

static void test_lacks_feature(void **state)
{
	struct net_params p = params_for(program);

	(void)state;
	write_program(HELP_04, "echo 'unknown option --enable-ipv6' >&2; exit 1");
	p.ipv6 = true;
	start_fails(&p, -ENOTSUP, "lacks --enable-ipv6");
	p = params_for(program);
	p.sandbox = "true";
	start_fails(&p, -ENOTSUP, "lacks --enable-sandbox");
	p = params_for(program);
	p.seccomp = "true";
	start_fails(&p, -ENOTSUP, "lacks --enable-seccomp");
}

static void test_help_fails(void **state)
{
	struct net_params p = params_for(program);

	(void)state;
	write_program("echo broken library >&2; exit 127", READY);
	start_fails(&p, -ECHILD, "broken library");
	p.sandbox = "auto";
	start_fails(&p, -ECHILD, "what it can do (--help)");
}

static void test_help_hangs(void **state)
{
	struct net_params p = params_for(program);

	(void)state;
	write_program("exec sleep 100", READY);
	p.ask_timeout_ms = 200;
	start_fails(&p, -ETIMEDOUT, "--help");
}

static void test_exits_at_once(void **state)
{
	struct net_params p = params_for(program);

	(void)state;
	write_program(HELP_NEW, "echo first >&2; echo 'open(\"/dev/net/tun\"): nope' >&2; exit 3");
	start_fails(&p, -ECHILD,
		    "slirp4netns ended (exit status 3): first; open(\"/dev/net/tun\"): nope");
	write_program(HELP_NEW, "exit 0");
	start_fails(&p, -ECHILD, "slirp4netns ended (exit status 0) and said nothing");
	write_program(HELP_NEW, "kill -9 $$");
	start_fails(&p, -ECHILD, "slirp4netns ended (signal: killed)");
}

static void test_closes_ready_and_hangs(void **state)
{
	struct net_params p = params_for(program);

	(void)state;
	write_program(HELP_NEW, "exec 3>&-; exec sleep 100");
	start_fails(&p, -EPROTO, "without being ready");
	write_program(HELP_NEW, "printf 0 >&3; exec sleep 100");
	start_fails(&p, -EPROTO, "without being ready");
}

static void test_hangs_before_ready(void **state)
{
	struct net_params p = params_for(program);

	(void)state;
	write_program(HELP_NEW, "echo waiting for the moon >&2; exec sleep 100");
	p.ready_timeout_ms = 2500;
	start_fails(&p, -ETIMEDOUT, "slirp4netns is not ready after 2500 ms: waiting for the moon");
}

static void test_abort(void **state)
{
	struct net_params p = params_for(program);
	struct net_target t = nobody;
	struct net_driver *drv;
	struct net_result result;
	struct err e;
	int fds[2];

	(void)state;
	write_program(HELP_NEW, "exec sleep 100");
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	close(fds[1]);
	t.abort_fd = fds[0];
	assert_int_equal(start(&p, &t, &drv, &result, &e), -ECANCELED);
	close(fds[0]);
}

/* The program writes more than a pipe holds, before it is ready and after. */
static void test_talkative(void **state)
{
	struct net_params p = params_for(program);

	(void)state;
	write_program(HELP_NEW, "(head -c 300000 /dev/zero | tr '\\0' x; echo) >&2; " READY);
	start_works(&p, &nobody);
}

static void test_command_line(void **state)
{
	struct net_params p = params_for(program);

	(void)state;
	write_program(HELP_NEW, READY);
	start_works(&p, &nobody);
	assert_string_equal(words_given(), "--mtu 65520 -r 3 -e 4 4242 tap0");
	p.mtu = 1400;
	p.cidr = "10.9.0.0/16";
	p.ifname = "eth7";
	p.disable_host_loopback = p.ipv6 = true;
	p.api_socket = "/tmp/x.sock";
	p.sandbox = p.seccomp = "true";
	start_works(&p, &nobody);
	assert_string_equal(words_given(),
			    "--mtu 1400 -r 3 -e 4 --disable-host-loopback --cidr 10.9.0.0/16 "
			    "--api-socket /tmp/x.sock --enable-sandbox --enable-seccomp "
			    "--enable-ipv6 4242 eth7");
}

static void test_auto_modes(void **state)
{
	struct net_params p = params_for(program);

	(void)state;
	p.sandbox = p.seccomp = "auto";
	write_program(HELP_NEW, READY);
	start_works(&p, &nobody);
	assert_string_equal(words_given(),
			    "--mtu 65520 -r 3 -e 4 --enable-sandbox --enable-seccomp 4242 tap0");
	write_program(HELP_04, READY);
	start_works(&p, &nobody);
	assert_string_equal(words_given(), "--mtu 65520 -r 3 -e 4 4242 tap0");
}

static void start_detached(const struct netns_box *box)
{
	struct net_params p = params_for(program);
	struct net_target t = nobody;
	struct net_driver *drv;
	struct net_result result;
	struct err e;

	p.detach_netns = true;
	p.sandbox = "auto";
	t.netns_fd = box->netns_fd;
	t.userns_fd = box->userns_fd;
	write_program(HELP_NEW, READY);
	start_works(&p, &t);
	assert_string_equal(words_given(), "--mtu 65520 -r 3 -e 4 --userns-path=/proc/self/fd/6 "
					   "--netns-type=path /proc/self/fd/5 tap0");
	write_program(HELP_NEW, "readlink /proc/self/fd/5 /proc/self/fd/6 >&2; exit 1");
	assert_int_equal(start(&p, &t, &drv, &result, &e), -ECHILD);
	assert_non_null(strstr(e.msg, "net:["));
	assert_non_null(strstr(e.msg, "; user:["));
	p.sandbox = "true";
	assert_int_equal(start(&p, &t, &drv, &result, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "--detach-netns"));
}

/* Opens a box, or skips the test. */
static void need_box(struct netns_box *box)
{
	if (netns_box_open(box) < 0 || access("/dev/net/tun", R_OK | W_OK) < 0) {
		netns_box_close(box);
		print_message("no user namespace may be made here, or no /dev/net/tun\n");
		skip();
	}
}

static void test_detached(void **state)
{
	struct netns_box box;

	(void)state;
	need_box(&box);
	start_detached(&box);
	netns_box_close(&box);
}

static void test_tap_fails(void **state)
{
	struct net_params p = params_for(program);
	struct net_target t = nobody;
	struct netns_box box;
	struct net_driver *drv;
	struct net_result result;
	struct err e;

	(void)state;
	need_box(&box);
	write_program(HELP_NEW, READY);
	p.ifname = "lo"; /* this interface exists, and is no tap */
	t.netns_fd = box.netns_fd;
	t.userns_fd = box.userns_fd;
	assert_true(start(&p, &t, &drv, &result, &e) < 0);
	assert_non_null(strstr(e.msg, "cannot make tap device lo: TUNSETIFF"));
	t.userns_fd = box.netns_fd;
	assert_int_equal(start(&p, &t, &drv, &result, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "cannot join the user namespace"));
	netns_box_close(&box);
}

static void test_result(void **state)
{
	struct net_params p = params_for(program);
	struct net_driver *drv;
	struct net_result r;
	struct err e;

	(void)state;
	write_program(HELP_NEW, READY);
	assert_int_equal(start(&p, &nobody, &drv, &r, &e), 0);
	net_slirp4netns_ops.stop(drv);
	assert_string_equal(r.driver, "slirp4netns");
	assert_string_equal(r.ifname, "tap0");
	assert_int_equal(r.mtu, 65520);
	assert_true(r.configure);
	assert_string_equal(r.ip, "10.0.2.100");
	assert_int_equal(r.prefix_len, 24);
	assert_string_equal(r.gateway, "10.0.2.2");
	assert_string_equal(r.dns[0], "10.0.2.3");
	assert_string_equal(r.dns[1], "");
	assert_string_equal(r.ip6, "");
	assert_false(r.dynamic_child_ip);

	p.cidr = "172.31.128.128/25";
	p.ipv6 = true;
	p.mtu = 1500;
	p.ifname = "net0";
	assert_int_equal(start(&p, &nobody, &drv, &r, &e), 0);
	net_slirp4netns_ops.stop(drv);
	assert_string_equal(r.ip, "172.31.128.228");
	assert_int_equal(r.prefix_len, 25);
	assert_string_equal(r.gateway, "172.31.128.130");
	assert_string_equal(r.dns[0], "172.31.128.131");
	assert_string_equal(r.dns[1], "fd00::3");
	assert_string_equal(r.ip6, "fd00::100");
	assert_int_equal(r.prefix_len6, 64);
	assert_string_equal(r.gateway6, "fd00::2");
	assert_int_equal(r.mtu, 1500);
	assert_string_equal(r.ifname, "net0");
}

static void test_bad_params(void **state)
{
	struct net_params p = params_for(program);
	char long_path[200];

	(void)state;
	write_program(HELP_NEW, READY);
	p.cidr = "10.0.2.1/24";
	start_fails(&p, -EINVAL, "10.0.2.0/24 would be");
	p.cidr = NULL;
	memset(long_path, 'a', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = '\0';
	p.api_socket = long_path;
	start_fails(&p, -ENAMETOOLONG, "at most 107 characters");
}

static void test_no_tun(void **state)
{
	struct net_params p = params_for(program);

	(void)state;
	write_program(HELP_NEW, READY);
	p.tun_path = "/nonexistent/tun";
	start_fails(&p, -ENOENT,
		    "/nonexistent/tun does not exist: load the module (sudo modprobe tun)");
}

struct death {
	int calls;
	char msg[1024];
};

static void on_death(void *arg, const char *msg)
{
	struct death *d = arg;

	d->calls++;
	snprintf(d->msg, sizeof(d->msg), "%s", msg);
}

static void run_until_death(struct loop *loop, struct death *d)
{
	for (int i = 0; i < 200 && !d->calls; i++)
		assert_int_equal(loop_run_once(loop, 50), 0);
}

static void test_dies_later(void **state)
{
	struct net_params p = params_for(program);
	struct death d = {0};
	struct net_driver *drv;
	struct net_result r;
	struct loop *loop;
	struct err e;

	(void)state;
	write_program(HELP_NEW,
		      "printf 1 >&3; exec 3>&-; sleep 0.1; "
		      "(head -c 300000 /dev/zero | tr '\\0' x; echo; echo the end) >&2; exit 5");
	assert_int_equal(loop_open(&loop), 0);
	assert_int_equal(start(&p, &nobody, &drv, &r, &e), 0);
	assert_int_equal(net_slirp4netns_ops.watch(drv, loop, on_death, &d), 0);
	run_until_death(loop, &d);
	assert_int_equal(d.calls, 1);
	assert_non_null(strstr(d.msg, "slirp4netns ended (exit status 5): "));
	assert_non_null(strstr(d.msg, "the end"));
	loop_run_once(loop, 10);
	assert_int_equal(d.calls, 1);
	net_slirp4netns_ops.stop(drv);
	loop_close(loop);
}

static void test_stop_while_watched(void **state)
{
	struct net_params p = params_for(program);
	struct death d = {0};
	struct net_driver *drv;
	struct net_result r;
	struct loop *loop;
	struct err e;

	(void)state;
	write_program(HELP_NEW, READY);
	assert_int_equal(loop_open(&loop), 0);
	assert_int_equal(start(&p, &nobody, &drv, &r, &e), 0);
	assert_int_equal(net_slirp4netns_ops.watch(drv, loop, on_death, &d), 0);
	loop_run_once(loop, 10);
	net_slirp4netns_ops.stop(drv);
	loop_run_once(loop, 10);
	assert_int_equal(d.calls, 0);
	loop_close(loop);
}

static int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* However a start ends, it gives back what it took. */
static void test_no_leaks(void **state)
{
	struct net_params p = params_for(program), missing = params_for("/nonexistent/x");
	int before = count_fds();

	(void)state;
	write_program(HELP_NEW, READY);
	start_works(&p, &nobody);
	write_program(HELP_NEW, "exit 1");
	start_fails(&p, -ECHILD, "ended");
	write_program(HELP_OLD, READY);
	start_fails(&p, -ENOTSUP, "0.4.0");
	p.sandbox = "auto";
	start_fails(&p, -ENOTSUP, "0.4.0");
	start_fails(&missing, -ENOENT, "cannot run");
	assert_int_equal(count_fds(), before);
}

/* Whether this process has children left. Those that have ended are reaped. */
static bool has_children(void)
{
	return waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD;
}

/* With fewer and fewer descriptors each step fails once. Each failure has a message, and leaves
 * nothing behind. Runs in a process of its own. Returns the number of failures, or -1. */
static int starve(void)
{
	struct net_params p = params_for(program);
	int fds = count_fds(), failures = 0;

	for (rlim_t n = 60; n > 3; n--) {
		struct rlimit limit = {n, 60};
		struct net_driver *drv = NULL;
		struct net_result r;
		struct err e;

		setrlimit(RLIMIT_NOFILE, &limit);
		if (start(&p, &nobody, &drv, &r, &e) == 0)
			net_slirp4netns_ops.stop(drv);
		else if (e.code < 0 && e.msg[0])
			failures++;
		else
			return -1;
		limit.rlim_cur = 60;
		setrlimit(RLIMIT_NOFILE, &limit);
		if (count_fds() != fds || has_children()) {
			fprintf(stderr, "%d: %d descriptors, were %d: %s\n", (int)n, count_fds(),
				fds, e.msg);
			return -1;
		}
	}
	return failures;
}

static void test_no_descriptors(void **state)
{
	int status = 1;
	pid_t pid;

	(void)state;
	write_program(HELP_NEW, READY);
	pid = fork();
	if (pid == 0)
		_exit(starve() > 5 ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static int make_dir(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(program, sizeof(program), "%s/slirp", dir);
	snprintf(log_path, sizeof(log_path), "%s/log", dir);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	unlink(program);
	unlink(log_path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_not_executable),
		cmocka_unit_test(test_too_old),
		cmocka_unit_test(test_lacks_feature),
		cmocka_unit_test(test_help_fails),
		cmocka_unit_test(test_help_hangs),
		cmocka_unit_test(test_exits_at_once),
		cmocka_unit_test(test_closes_ready_and_hangs),
		cmocka_unit_test(test_hangs_before_ready),
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_talkative),
		cmocka_unit_test(test_command_line),
		cmocka_unit_test(test_auto_modes),
		cmocka_unit_test(test_detached),
		cmocka_unit_test(test_tap_fails),
		cmocka_unit_test(test_result),
		cmocka_unit_test(test_bad_params),
		cmocka_unit_test(test_no_tun),
		cmocka_unit_test(test_dies_later),
		cmocka_unit_test(test_stop_while_watched),
		cmocka_unit_test(test_no_leaks),
		cmocka_unit_test(test_no_descriptors),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
