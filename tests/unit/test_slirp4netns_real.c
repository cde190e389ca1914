/* SPDX-License-Identifier: Apache-2.0 */
/* The slirp4netns driver with the real slirp4netns, in a namespace that the test makes. Bytes go
 * from inside to a server outside, and nothing is left behind. */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/proc.h"
#include "drivers/registry_internal.h"
#include "netns_box.h"
#include "ns/netif.h"

static struct net_target target_of(const struct netns_box *s)
{
	return (struct net_target){.child_pid = s->pid,
				   .userns_fd = s->userns_fd,
				   .netns_fd = s->netns_fd,
				   .abort_fd = -1};
}

static int configure(void *arg)
{
	const struct net_result *r = arg;
	struct netif_config c = {.ifname = r->ifname,
				 .mtu = r->mtu,
				 .ip = r->ip,
				 .prefix_len = r->prefix_len,
				 .gateway = r->gateway};
	struct err e = {0};

	if (netif_loopback_up(&e) == 0 && netif_configure(&c, &e) == 0)
		return 0;
	fprintf(stderr, "%s\n", e.msg);
	return 1;
}

static int has_interface(void *arg)
{
	return if_nametoindex(arg) == 0;
}

struct call {
	const char *ip;
	uint16_t port;
};

/* Connects to the server, writes, and reads the echo. */
static int call_server(void *arg)
{
	const struct call *c = arg;
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(c->port)};
	auto_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char buf[8] = "";

	inet_pton(AF_INET, c->ip, &sa.sin_addr);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return 2;
	if (write(fd, "hello", 5) != 5 || recv(fd, buf, 5, MSG_WAITALL) != 5)
		return 3;
	return memcmp(buf, "hello", 5) ? 4 : 0;
}

/* An echo server on 127.0.0.1, for one connection. */
static pid_t serve(uint16_t *port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid;

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 5), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	*port = ntohs(sa.sin_port);
	pid = fork();
	if (pid == 0) {
		char buf[8];
		int conn;

		alarm(10);
		conn = accept(fd, NULL, NULL);
		if (recv(conn, buf, 5, MSG_WAITALL) == 5)
			_exit(write(conn, buf, 5) == 5 ? 0 : 1);
		_exit(1);
	}
	close(fd);
	return pid;
}

/* Returns the child of process pid that runs slirp4netns; 0: there is none. */
static pid_t slirp_of(pid_t pid)
{
	char path[64], list[256], *rest, *word;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	if (fd_read_file(path, list, sizeof(list)) < 0)
		return 0;
	for (rest = list; (word = strsep(&rest, " "));) {
		char comm[32] = "";

		snprintf(path, sizeof(path), "/proc/%s/comm", word);
		if (*word && fd_read_file(path, comm, sizeof(comm)) > 0 &&
		    !strcmp(comm, "slirp4netns\n"))
			return (int)strtol(word, NULL, 10);
	}
	return 0;
}

static struct net_params plain(void)
{
	return (struct net_params){.sandbox = "false", .seccomp = "false"};
}

/* Starts slirp4netns with these parameters, and sends bytes to the host's loopback address. reach:
 * they arrive. */
static void run(const struct net_params *p, bool detached, bool reach)
{
	struct netns_box box;
	struct net_target t;
	struct net_driver *drv = NULL;
	struct net_result r;
	struct err e = {0};
	struct call c;
	pid_t server;
	int status;

	assert_int_equal(netns_box_open(&box), 0);
	t = target_of(&box);
	if (detached)
		t.netns_path = "/run/netns-that-only-the-child-sees";
	if (net_slirp4netns_ops.start(p, &t, &drv, &r, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(netns_box_run(&box, configure, &r), 0);
	server = serve(&c.port);
	c.ip = r.gateway;
	assert_int_equal(netns_box_run(&box, call_server, &c), reach ? 0 : 2);
	if (!reach)
		kill(server, SIGKILL);
	waitpid(server, &status, 0);
	assert_int_equal(slirp_of(getpid()) > 0, 1);
	net_slirp4netns_ops.stop(drv);
	assert_int_equal(slirp_of(getpid()), 0);
	/* the tap is persistent, or the end would wait until the kernel has removed the device */
	assert_int_equal(netns_box_run(&box, has_interface, r.ifname), 0);
	netns_box_close(&box);
}

static void test_default(void **state)
{
	struct net_params p = plain();

	(void)state;
	run(&p, false, true);
}

static void test_other_values(void **state)
{
	struct net_params p = plain();

	(void)state;
	p.cidr = "10.55.0.0/16";
	p.mtu = 1400;
	p.ifname = "net7";
	p.ipv6 = true;
	run(&p, false, true);
}

static void test_disable_host_loopback(void **state)
{
	struct net_params p = plain();

	(void)state;
	p.disable_host_loopback = true;
	run(&p, false, false);
}

static void test_sandboxed(void **state)
{
	struct net_params p = plain();

	(void)state;
	p.sandbox = p.seccomp = "auto";
	run(&p, false, true);
}

static void test_detached(void **state)
{
	struct net_params p = plain();

	(void)state;
	p.sandbox = "auto";
	run(&p, true, true);
}

static void test_target_is_gone(void **state)
{
	struct net_params p = plain();
	struct net_target t = {.child_pid = 0, .userns_fd = -1, .netns_fd = -1, .abort_fd = -1};
	struct net_driver *drv = NULL;
	struct net_result r;
	struct err e = {0};

	(void)state;
	t.child_pid = fork();
	if (t.child_pid == 0)
		_exit(0);
	waitpid(t.child_pid, NULL, 0);
	assert_int_equal(net_slirp4netns_ops.start(&p, &t, &drv, &r, &e), -ECHILD);
	assert_non_null(strstr(e.msg, "slirp4netns ended (exit status 1): "));
	assert_non_null(strstr(e.msg, "No such file or directory"));
}

/* Runs in a process that kills itself. Starts slirp4netns, and tells its pid. */
static _Noreturn void start_and_die(const struct net_params *p, const struct netns_box *box,
				    pid_t *slirp)
{
	struct net_target t = target_of(box);
	struct net_driver *drv;
	struct net_result r;
	struct err e = {0};

	if (net_slirp4netns_ops.start(p, &t, &drv, &r, &e) < 0) {
		fprintf(stderr, "%s\n", e.msg);
		_exit(1);
	}
	*slirp = slirp_of(getpid());
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	kill(getpid(), SIGKILL);
	_exit(1);
}

/* The process that started slirp4netns is killed, and slirp4netns must go, too. Returns NULL, or
 * what went wrong. */
static const char *dies_with_us(const char *mode, const char *binary)
{
	struct net_params p = {.sandbox = mode, .seccomp = mode, .binary = binary};
	pid_t *slirp = mmap(NULL, sizeof(*slirp), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct pollfd pfd = {.events = POLLIN};
	const char *wrong = NULL;
	struct netns_box box;
	pid_t starter;

	if (netns_box_open(&box) < 0)
		return "no namespace";
	*slirp = 0;
	starter = fork();
	if (starter == 0)
		start_and_die(&p, &box, slirp);
	waitpid(starter, NULL, 0);
	if (*slirp <= 0) {
		wrong = "slirp4netns did not start";
	} else if ((pfd.fd = proc_pidfd_open(*slirp)) >= 0) {
		if (poll(&pfd, 1, 2000) != 1) {
			wrong = "slirp4netns lives on";
			kill(*slirp, SIGKILL);
		}
		close(pfd.fd);
	}
	munmap(slirp, sizeof(*slirp));
	netns_box_close(&box);
	return wrong;
}

static void test_dies_with_us(void **state)
{
	(void)state;
	assert_null(dies_with_us("false", NULL));
}

static void test_dies_with_us_sandboxed(void **state)
{
	(void)state;
	assert_null(dies_with_us("true", NULL));
}

/* Gives the file cap_net_bind_service=ep, as the extended attribute vfs_cap_data (capabilities(7)).
 */
static int give_capability(const char *path)
{
	struct vfs_cap_data data = {.magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE};

	data.data[0].permitted = 1U << CAP_NET_BIND_SERVICE;
	return setxattr(path, "security.capability", &data, sizeof(data), 0);
}

static int copy_program(const char *path)
{
	char command[256];

	snprintf(command, sizeof(command), "cp $(command -v slirp4netns) %s && chmod 0755 %s", path,
		 path);
	/* NOLINTNEXTLINE(cert-env33-c): words of our own */
	return system(command);
}

#define NOBODY 65534

/* The tun device must be there for everybody. Where a machine keeps it for root, this process gets
 * a node of its own. */
static const char *give_tun(void)
{
	struct stat st;

	if (stat("/dev/net/tun", &st) == 0 && (st.st_mode & 0006) == 0006)
		return NULL;
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", "/dev/net", "tmpfs", 0, "mode=755") < 0 ||
	    mknod("/dev/net/tun", S_IFCHR, makedev(10, 200)) < 0 || chmod("/dev/net/tun", 0666) < 0)
		return "no /dev/net/tun for an ordinary user";
	return NULL;
}

/* When a program with file capabilities is executed, the kernel forgets PR_SET_PDEATHSIG. */
static void test_dies_with_us_capable(void **state)
{
	char dir[] = "/tmp/test_slirp4netns_real.XXXXXX", path[64];
	int status = 1;
	pid_t pid;

	(void)state;
	if (geteuid() != 0) {
		print_message("only root can give a program capabilities\n");
		skip();
	}
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chmod(dir, 0755), 0);
	snprintf(path, sizeof(path), "%s/slirp4netns", dir);
	if (copy_program(path) || give_capability(path) < 0) {
		print_message("no file capabilities here\n");
		unlink(path);
		rmdir(dir);
		skip();
	}
	pid = fork();
	if (pid == 0) {
		const char *wrong = give_tun();

		if (!wrong && (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
			       setresuid(NOBODY, NOBODY, NOBODY) < 0 ||
			       prctl(PR_SET_DUMPABLE, 1) < 0)) /* so that uid_map can be written */
			wrong = "cannot become nobody";
		if (!wrong)
			wrong = dies_with_us("false", path);
		if (wrong)
			fprintf(stderr, "%s\n", wrong);
		_exit(wrong != NULL);
	}
	waitpid(pid, &status, 0);
	unlink(path);
	rmdir(dir);
	assert_int_equal(status, 0);
}

static int skip_unless_possible(void)
{
	struct netns_box box;
	int code = netns_box_open(&box);

	netns_box_close(&box);
	if (code < 0)
		printf("skipped: no user namespace may be made here\n");
	else if (access("/dev/net/tun", R_OK | W_OK) < 0)
		printf("skipped: /dev/net/tun is not readable and writable\n");
	/* NOLINTNEXTLINE(cert-env33-c): words of our own */
	else if (system("slirp4netns --version >/dev/null 2>&1"))
		printf("skipped: slirp4netns is not installed\n");
	else
		return 0;
	return 77;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_default),
		cmocka_unit_test(test_other_values),
		cmocka_unit_test(test_disable_host_loopback),
		cmocka_unit_test(test_sandboxed),
		cmocka_unit_test(test_detached),
		cmocka_unit_test(test_target_is_gone),
		cmocka_unit_test(test_dies_with_us),
		cmocka_unit_test(test_dies_with_us_sandboxed),
		cmocka_unit_test(test_dies_with_us_capable),
	};

	if (skip_unless_possible())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
