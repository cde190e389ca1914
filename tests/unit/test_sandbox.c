/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/array.h"
#include "dataplane/sandbox.h"
#include "loopback.h"

/* What the data plane, the broker and others can still do once they are locked down. Each attempt
 * runs in a process of its own, which has locked itself down as the real one does. An attempt
 * returns 0 when it was allowed, or the errno. */

static int result(long r)
{
	return r < 0 ? errno : 0;
}

/* System calls */

static int try_open(void)
{
	return result(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
}

static int try_openat2(void)
{
	uint64_t how[3] = {O_RDONLY, 0, 0};

	return result(syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", how, sizeof(how)));
}

static int try_unix_socket(void)
{
	return result(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int try_raw_socket(void)
{
	return result(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP));
}

static int try_tcp_socket(void)
{
	return result(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
}

static int try_udp6_socket(void)
{
	return result(socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_UDP));
}

/* Whether this user may have a ping socket is another question (icmp(7), ping_group_range). */
static int try_ping_socket(void)
{
	int code = result(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMP));

	return code == EACCES ? 0 : code;
}

static int try_blocking_socket(void)
{
	return result(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP));
}

static int try_sctp_socket(void)
{
	return result(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_SCTP));
}

static int try_netlink_socket(void)
{
	return result(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

static int try_packet_socket(void)
{
	return result(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

static int try_recverr(void)
{
	int on = 1;

	return result(setsockopt(-1, IPPROTO_IP, IP_RECVERR, &on, sizeof(on)));
}

static int try_exec(void)
{
	char *argv[] = {"true", NULL};

	return result(execv("/bin/true", argv));
}

static int try_fork(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return result(pid);
}

static int try_kill_parent(void)
{
	return result(kill(getppid(), 0));
}

static int try_bind(void)
{
	struct sockaddr_in any = {.sin_family = AF_INET};

	/* The descriptor does not matter: the call itself is refused. */
	return result(bind(-1, (struct sockaddr *)&any, sizeof(any)));
}

static int try_listen(void)
{
	return result(listen(-1, 1));
}

static int try_ip_option(void)
{
	int one = 1;

	return result(setsockopt(-1, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one)));
}

static int try_other_ip_option(void)
{
	int one = 1;

	return result(setsockopt(-1, IPPROTO_IP, IP_TTL, &one, sizeof(one)));
}

static int try_transparent(void)
{
	int on = 1;

	return result(setsockopt(-1, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof(on)));
}

static int try_mark(void)
{
	int mark = 1;

	return result(setsockopt(-1, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)));
}

static int try_setns(void)
{
	return result(syscall(SYS_setns, 0, 0));
}

static int try_executable_memory(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	return p == MAP_FAILED ? errno : 0;
}

static int try_new_ring(void)
{
	struct io_uring_params p = {.flags = 0};

	return result(syscall(SYS_io_uring_setup, 4, &p));
}

static int try_blocking_pipe(void)
{
	int fds[2];

	return result(pipe2(fds, O_CLOEXEC));
}

/* The descriptor does not matter: the call itself is refused. */
static int try_accept(void)
{
	int code = result(accept4(-1, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));

	return code == EBADF ? 0 : code;
}

static int try_blocking_accept(void)
{
	return result(accept4(-1, NULL, NULL, SOCK_CLOEXEC));
}

static int try_block(void)
{
	return result(fcntl(0, F_SETFL, 0));
}

static int try_pipe(void)
{
	int fds[2];

	return result(pipe2(fds, O_CLOEXEC | O_NONBLOCK));
}

static int try_memory(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? errno : 0;
}

static int try_file(void)
{
	return result(open("/dev/null", O_RDONLY | O_CLOEXEC));
}

static int try_mount(void)
{
	return result(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
}

static int try_trace(void)
{
	return result(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int try_wait(void)
{
	return result(waitpid(-1, NULL, WNOHANG));
}

/* The process group that the guard may signal. It does not exist. */
#define GUARDED INT32_MAX

static int try_kill_guarded(void)
{
	return result(kill(-GUARDED, SIGKILL));
}

static int try_kill_all(void)
{
	return result(kill(-1, 0));
}

enum role {
	PLANE_URING,
	PLANE_EPOLL,
	PLANE_TRANSPARENT,
	PLANE_OUTWARD,
	BROKER,
	KEEPER,
	RELAY,
	GUARD,
	SETUP,
};

static int lock_down(enum role role)
{
	struct err e = {.code = 0};
	int code;

	switch (role) {
	case BROKER:
		code = sandbox_broker(&e);
		break;
	case KEEPER:
		code = sandbox_keeper(&e);
		break;
	case RELAY:
		code = sandbox_relay(&e);
		break;
	case GUARD:
		code = sandbox_guard(GUARDED, &e);
		break;
	case SETUP: /* this process is started with no_new_privs */
		code = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : sandbox_setup(&e);
		break;
	default: /* the data plane is, too; Landlock demands it of an ordinary user */
		code = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
		code = code ? code
			    : sandbox_dataplane_files(role == PLANE_TRANSPARENT,
						      role == PLANE_OUTWARD, &e);
		code = code ? code
			    : sandbox_dataplane(role == PLANE_URING, role == PLANE_TRANSPARENT,
						role == PLANE_OUTWARD, &e);
	}
	if (code)
		fprintf(stderr, "%s\n", e.msg);
	return code;
}

/* Returns the attempt's result; 255 when the process could not be locked down, or died. */
static int attempt(enum role role, int (*what)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(lock_down(role) ? 255 : what());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

/* The outcome depends on the rights of the test's user. */
#define ANY (-1)

__attribute__((unused)) static void test_system_calls(void **state)
{
	static const struct {
		const char *name;
		int (*what)(void);
		int plane, transparent, outward, broker, keeper, relay, guard, setup; /* errno */
	} calls[] = {
		{"open", try_open, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, 0},
		{"openat2", try_openat2, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM},
		{"unix socket", try_unix_socket, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM,
		 0},
		{"raw socket", try_raw_socket, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM,
		 ANY},
		{"TCP socket", try_tcp_socket, EPERM, EPERM, 0, 0, 0, EPERM, EPERM, 0},
		{"UDP socket", try_udp6_socket, EPERM, EPERM, 0, 0, EPERM, EPERM, EPERM, 0},
		{"ping socket", try_ping_socket, EPERM, EPERM, 0, EPERM, EPERM, EPERM, EPERM, 0},
		{"blocking TCP socket", try_blocking_socket, EPERM, EPERM, EPERM, EPERM, EPERM,
		 EPERM, EPERM, 0},
		{"SCTP socket", try_sctp_socket, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM,
		 ANY},
		{"netlink socket", try_netlink_socket, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM,
		 EPERM, 0},
		{"packet socket", try_packet_socket, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM,
		 EPERM, ANY},
		{"IP_RECVERR", try_recverr, EPERM, EPERM, EBADF, EPERM, EPERM, EPERM, EPERM, EBADF},
		{"exec", try_exec, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM},
		{"fork", try_fork, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM},
		{"kill", try_kill_parent, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM},
		{"bind", try_bind, EPERM, EBADF, EBADF, EBADF, EBADF, EPERM, EPERM, EBADF},
		{"IP_TRANSPARENT", try_transparent, EPERM, EBADF, EBADF, EPERM, EPERM, EPERM, EPERM,
		 EBADF},
		{"SO_MARK", try_mark, EPERM, EBADF, EPERM, EBADF, EPERM, EPERM, EPERM, EBADF},
		{"listen", try_listen, EPERM, EPERM, EPERM, EBADF, EBADF, EPERM, EPERM, EBADF},
		{"IP_PKTINFO", try_ip_option, EPERM, EPERM, EPERM, EBADF, EPERM, EPERM, EPERM,
		 EBADF},
		{"IP_TTL", try_other_ip_option, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM,
		 EBADF},
		{"setns", try_setns, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EINVAL},
		{"executable memory", try_executable_memory, EPERM, EPERM, EPERM, EPERM, EPERM,
		 EPERM, EPERM, EPERM},
		{"io_uring_setup", try_new_ring, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM,
		 EPERM},
		{"pipe", try_pipe, 0, 0, 0, EPERM, EPERM, EPERM, EPERM, EPERM},
		{"blocking pipe", try_blocking_pipe, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM,
		 EPERM, EPERM},
		{"F_SETFL", try_block, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, 0},
		{"accept", try_accept, 0, 0, 0, EPERM, EPERM, EPERM, EPERM, EPERM},
		{"blocking accept", try_blocking_accept, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM,
		 EPERM, EPERM},
		{"memory", try_memory, 0, 0, 0, 0, 0, 0, 0, 0},
		{"file", try_file, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, 0},
		{"mount", try_mount, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM},
		{"trace", try_trace, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM},
		{"wait", try_wait, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, ECHILD, EPERM},
		{"kill the guarded", try_kill_guarded, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM,
		 ESRCH, EPERM},
		{"kill all", try_kill_all, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		print_message("%s\n", calls[i].name);
		assert_int_equal(attempt(PLANE_URING, calls[i].what), calls[i].plane);
		assert_int_equal(attempt(PLANE_EPOLL, calls[i].what), calls[i].plane);
		assert_int_equal(attempt(PLANE_TRANSPARENT, calls[i].what), calls[i].transparent);
		assert_int_equal(attempt(PLANE_OUTWARD, calls[i].what), calls[i].outward);
		assert_int_equal(attempt(BROKER, calls[i].what), calls[i].broker);
		assert_int_equal(attempt(KEEPER, calls[i].what), calls[i].keeper);
		assert_int_equal(attempt(RELAY, calls[i].what), calls[i].relay);
		assert_int_equal(attempt(GUARD, calls[i].what), calls[i].guard);
		if (calls[i].setup != ANY)
			assert_int_equal(attempt(SETUP, calls[i].what), calls[i].setup);
	}
}

/* Whether the set of capabilities in this line has only allowed ones. */
static bool has_only(const char *line, uint64_t allowed)
{
	return !(strtoull(line + 8, NULL, 16) & ~allowed);
}

static int read_status(enum role role)
{
	/* A process may keep these capabilities if it had them before. */
	uint64_t allowed = role == BROKER   ? 1ull << CAP_NET_BIND_SERVICE
			   : role == KEEPER ? 1ull << CAP_NET_ADMIN
					    : 0;
	char line[256], want[] = "NoNewPrivs:\t1";
	FILE *f = fopen("/proc/self/status", "re");
	unsigned found = 0;

	/* The file was opened before the lock-down, and the kernel fills it when it is read. */
	if (!f || lock_down(role))
		return 255;
	while (fgets(line, sizeof(line), f)) {
		found += strncmp(line, want, sizeof(want) - 1) == 0;
		found += strncmp(line, "Seccomp:\t2", 10) == 0;
		for (const char *const *set =
			     (const char *const[]){"CapInh", "CapPrm", "CapEff", "CapAmb", NULL};
		     *set; set++)
			found += strncmp(line, *set, 6) == 0 && has_only(line, allowed);
	}
	return (int)found;
}

/* The threat model says of a data plane that was taken over: it may give an accepted connection up
 * (connect(2) with AF_UNSPEC), and connect its socket to another service of this host. The filter
 * does not see addresses, and Landlock sees port numbers alone. It can neither bind it, except with
 * clients' addresses or a way out, nor listen. */

static int accepted = -1;
static struct sockaddr_in service;

static int disconnect(void)
{
	const struct sockaddr none = {.sa_family = AF_UNSPEC};

	return result(connect(accepted, &none, sizeof(none)));
}

static int try_connect_anew(void)
{
	int code = disconnect();

	return code ? code
		    : result(connect(accepted, (struct sockaddr *)&service, sizeof(service)));
}

static int try_bind_anew(void)
{
	struct sockaddr_in any = {.sin_family = AF_INET};
	int code = disconnect();

	return code ? code : result(bind(accepted, (struct sockaddr *)&any, sizeof(any)));
}

static int try_listen_anew(void)
{
	int code = disconnect();

	return code ? code : result(listen(accepted, 1));
}

/* The result of an attempt with a newly accepted connection. */
static int attempt_accepted(enum role role, int (*what)(void))
{
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), code;
	struct sockaddr_in port;
	int listening = listener_on_loopback(&port);

	assert_int_equal(connect(client, (struct sockaddr *)&port, sizeof(port)), 0);
	accepted = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
	assert_true(accepted >= 0);
	code = attempt(role, what);
	close(accepted);
	close(client);
	close(listening);
	return code;
}

__attribute__((unused)) static void test_accepted_socket_is_connected_anew(void **state)
{
	int fd = listener_on_loopback(&service);

	(void)state;
	for (enum role role = PLANE_URING; role <= PLANE_OUTWARD; role++) {
		bool binds = role == PLANE_TRANSPARENT || role == PLANE_OUTWARD;
		int reached;

		assert_int_equal(attempt_accepted(role, try_connect_anew), 0);
		reached = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		assert_true(reached >= 0);
		close(reached);
		assert_int_equal(attempt_accepted(role, try_bind_anew), binds ? 0 : EPERM);
		assert_int_equal(attempt_accepted(role, try_listen_anew), EPERM);
	}
	assert_int_equal(attempt_accepted(BROKER, try_connect_anew), EPERM);
	assert_int_equal(attempt_accepted(RELAY, try_connect_anew), EPERM);
	close(fd);
}

static void test_privileges_are_gone(void **state)
{
	(void)state;
	for (enum role role = PLANE_URING; role <= GUARD; role++) {
		int status;
		pid_t pid = fork();

		if (pid == 0)
			_exit(read_status(role));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 6);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifndef RINGKIT_SANITIZED /* the sanitizers need system calls that the product does not */
		cmocka_unit_test(test_system_calls),
		cmocka_unit_test(test_accepted_socket_is_connected_anew),
#endif
		cmocka_unit_test(test_privileges_are_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
