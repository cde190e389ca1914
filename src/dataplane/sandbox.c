/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/sandbox.h"

#include <arpa/inet.h>
#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/tcp.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/array.h"
#include "base/landlock.h"

/*
 * The system calls that each role may use, in one table (seccomp(2)). Every other call fails with
 * EPERM: an error that the caller sees and survives, in code that moves other people's bytes.
 *
 * io_uring operations do not pass through this filter. The ring has its own list, in io/uring.c.
 */

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/* Roles, as bits: who may use a call. */
enum {
	PLANE = 1 << 0,	      /* data plane, either back end */
	URING = 1 << 1,	      /* data plane with io_uring */
	EPOLL = 1 << 2,	      /* data plane with epoll */
	BROKER = 1 << 3,      /* socket broker */
	TOOL = 1 << 4,	      /* any role, in a build with a sanitizer */
	RELAY = 1 << 5,	      /* network drivers' own processes */
	TRANSPARENT = 1 << 6, /* data plane that connects with the addresses of clients */
	OUTWARD = 1 << 7,     /* data plane with a way out of the namespace */
	KEEPER = 1 << 8,      /* process that looks after the broker's rules in the namespace */
	GUARD = 1 << 9,	      /* process that waits for a program's end, and ends it */
	SETUP = 1 << 10,      /* process of a driver that changes the namespace, and then ends */
	ALL = PLANE | BROKER | KEEPER | RELAY | GUARD | SETUP,
};

/* A condition on an argument: (argument & mask) == value. mask 0: no condition. */
struct cond {
	unsigned arg;
	uint64_t mask, value;
};

#define CONDS_MAX 3

struct rule {
	unsigned who;
	int call;
	struct cond conds[CONDS_MAX];
};

/* Versions of clang-format disagree about braces in macros. */
/* clang-format off */
#define CALL(w, name)         {.who = (w), .call = SCMP_SYS(name)}
#define CALL_IF(w, name, ...) {.who = (w), .call = SCMP_SYS(name), .conds = {__VA_ARGS__}}
#define INT                   UINT32_MAX /* an int argument: the kernel ignores the upper half */
#define ARG(n, v)             {(n), INT, (v)}
#define NO_EXEC(n)            {(n), PROT_EXEC, 0}
/* clang-format on */

/* socket(2), of one kind. */
#define SOCKET(w, family, type, proto)                                                             \
	CALL_IF(w, socket, ARG(0, family), ARG(1, (type) | SOCK_CLOEXEC | SOCK_NONBLOCK),          \
		ARG(2, proto))

static const struct rule rules[] = {
	/* Reading and writing. */
	CALL(ALL, read),
	CALL(ALL, write),
	CALL(ALL, close),
	CALL(ALL, recvmsg),
	CALL(ALL, sendmsg),
	CALL(PLANE | RELAY, recvfrom),
	CALL(PLANE | RELAY, sendto),
	CALL(ALL, splice),   /* payload; log lines, too: base/log_output.c */
	CALL(ALL, pwritev2), /* log lines */

	/* Sockets that exist already. */
	CALL(PLANE, connect),
	CALL(PLANE, shutdown),
	CALL(PLANE, getsockname),
	CALL(PLANE, getpeername),
	CALL(PLANE, getsockopt),
	CALL_IF(PLANE, setsockopt, ARG(1, SOL_SOCKET), ARG(2, SO_LINGER)),
	CALL_IF(PLANE, setsockopt, ARG(1, IPPROTO_TCP), ARG(2, TCP_CONGESTION)),
	/* No call of a worker may wait, also on what an earlier data plane hands over: a socket or
	 * a pipe that blocks is never made, and no call here changes that. */
	CALL_IF(PLANE, accept4, ARG(3, SOCK_CLOEXEC | SOCK_NONBLOCK)),

	/* An address of others and the mark take a right over the network namespace that the socket
	 * belongs to. The user who owns that namespace's user namespace has the right there,
	 * without any capability, and nowhere else. */
	CALL(TRANSPARENT | OUTWARD, bind),
	CALL_IF(TRANSPARENT | OUTWARD, setsockopt, ARG(1, IPPROTO_IP), ARG(2, IP_TRANSPARENT)),
	CALL_IF(TRANSPARENT | OUTWARD, setsockopt, ARG(1, IPPROTO_IPV6), ARG(2, IPV6_TRANSPARENT)),
	CALL_IF(TRANSPARENT | OUTWARD, setsockopt, ARG(1, IPPROTO_IP),
		ARG(2, IP_BIND_ADDRESS_NO_PORT)),
	CALL_IF(TRANSPARENT, setsockopt, ARG(1, SOL_SOCKET), ARG(2, SO_MARK)),
	CALL_IF(TRANSPARENT | OUTWARD, setsockopt, ARG(1, SOL_SOCKET), ARG(2, SO_REUSEADDR)),

	/* The host's side of the way out: TCP, UDP, and ping sockets (icmp(7), ping_group_range).
	 */
	SOCKET(OUTWARD, AF_INET, SOCK_STREAM, IPPROTO_TCP),
	SOCKET(OUTWARD, AF_INET6, SOCK_STREAM, IPPROTO_TCP),
	SOCKET(OUTWARD, AF_INET, SOCK_DGRAM, IPPROTO_UDP),
	SOCKET(OUTWARD, AF_INET6, SOCK_DGRAM, IPPROTO_UDP),
	SOCKET(OUTWARD, AF_INET, SOCK_DGRAM, IPPROTO_ICMP),
	SOCKET(OUTWARD, AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6),
	CALL_IF(OUTWARD, setsockopt, ARG(1, IPPROTO_TCP), ARG(2, TCP_NODELAY)),
	CALL_IF(OUTWARD, setsockopt, ARG(1, IPPROTO_TCP), ARG(2, TCP_KEEPIDLE)),
	CALL_IF(OUTWARD, setsockopt, ARG(1, IPPROTO_TCP), ARG(2, TCP_KEEPINTVL)),
	CALL_IF(OUTWARD, setsockopt, ARG(1, SOL_SOCKET), ARG(2, SO_KEEPALIVE)),
	CALL_IF(OUTWARD, setsockopt, ARG(1, SOL_SOCKET), ARG(2, SO_OOBINLINE)),
	CALL_IF(OUTWARD, setsockopt, ARG(1, SOL_SOCKET), ARG(2, SO_RCVBUF)),
	CALL_IF(OUTWARD, setsockopt, ARG(1, SOL_SOCKET), ARG(2, SO_SNDBUF)),
	CALL_IF(OUTWARD, setsockopt, ARG(1, IPPROTO_UDP), ARG(2, UDP_GRO)),
	CALL_IF(OUTWARD, setsockopt, ARG(1, IPPROTO_IP), ARG(2, IP_RECVERR)),
	CALL_IF(OUTWARD, setsockopt, ARG(1, IPPROTO_IPV6), ARG(2, IPV6_RECVERR)),

	/* Sockets that the broker makes: these kinds and no other. */
	SOCKET(BROKER, AF_INET, SOCK_STREAM, IPPROTO_TCP),
	SOCKET(BROKER, AF_INET6, SOCK_STREAM, IPPROTO_TCP),
	SOCKET(BROKER, AF_INET, SOCK_DGRAM, IPPROTO_UDP),
	SOCKET(BROKER, AF_INET6, SOCK_DGRAM, IPPROTO_UDP),
	CALL_IF(BROKER, setsockopt, ARG(1, SOL_SOCKET)),
	CALL_IF(BROKER, setsockopt, ARG(1, IPPROTO_TCP)),
	CALL_IF(BROKER, setsockopt, ARG(1, IPPROTO_UDP)),

	/* For sockets that listen in the namespace. */
	CALL_IF(BROKER, setsockopt, ARG(1, IPPROTO_IP), ARG(2, IP_PKTINFO)),
	CALL_IF(BROKER, setsockopt, ARG(1, IPPROTO_IPV6), ARG(2, IPV6_V6ONLY)),
	CALL_IF(BROKER, setsockopt, ARG(1, IPPROTO_IPV6), ARG(2, IPV6_RECVPKTINFO)),
	CALL(BROKER, bind),
	CALL(BROKER, listen),

	/* The keeper tries how connections are treated in the namespace, and sets rules
	 * (ns/transparent.h). */
	SOCKET(KEEPER, AF_INET, SOCK_STREAM, IPPROTO_TCP),
	CALL(KEEPER, bind),
	CALL(KEEPER, listen),
	CALL(KEEPER, connect),
	CALL(KEEPER, getsockname),
	CALL_IF(KEEPER, getsockopt, ARG(1, IPPROTO_IP), ARG(2, SO_ORIGINAL_DST)),
	CALL(KEEPER, sendto),

	/* Interfaces, routes and rules by netlink, and a file of the namespace's. Paths are not
	 * checked: the process has no right that the command does not have, too. */
	CALL(SETUP, socket),
	CALL(SETUP, bind),
	CALL(SETUP, listen),
	CALL(SETUP, connect),
	CALL(SETUP, getsockname),
	CALL(SETUP, getsockopt),
	CALL(SETUP, setsockopt),
	CALL(SETUP, sendto),
	CALL(SETUP, recvfrom),
	CALL(SETUP, ioctl),
	CALL(SETUP, setns),
	CALL(SETUP, unshare),
	CALL(SETUP, open),
	CALL(SETUP, openat),
	CALL(SETUP, fstat),
	CALL(SETUP, newfstatat),
	CALL(SETUP, lseek),
	CALL(SETUP, fchmod),
	CALL(SETUP, fcntl),

	/* A guard ends other processes; add_signal limits which. */
	CALL(GUARD, kill),
	CALL(GUARD, wait4),

	/* Pipes. */
	CALL_IF(PLANE, pipe2, ARG(1, O_CLOEXEC | O_NONBLOCK)),
	CALL_IF(PLANE, fcntl, ARG(1, F_SETPIPE_SZ)),
	CALL_IF(PLANE, fcntl, ARG(1, F_GETPIPE_SZ)),

	/* Waiting. A worker polls while it waits for room in its control channel, and the epoll
	 * back end polls to see whether something is ready. */
	CALL(URING, io_uring_enter),
	CALL(EPOLL, epoll_ctl),
	CALL(EPOLL, epoll_wait),
	CALL(EPOLL, epoll_pwait),
	CALL(EPOLL, epoll_pwait2),
	CALL(ALL, poll),
	CALL(ALL, ppoll),
	CALL(ALL, restart_syscall),

	/* The C library: memory that is not executable, locks, the clock. */
	CALL(ALL, brk),
	CALL_IF(ALL, mmap, NO_EXEC(2)),
	CALL_IF(ALL, mprotect, NO_EXEC(2)),
	CALL(ALL, mremap),
	CALL(ALL, munmap),
	CALL(ALL, madvise),
	CALL(ALL, futex),
	CALL(ALL, sched_yield),
	CALL(ALL, clock_gettime),
	CALL(ALL, clock_nanosleep),
	CALL(ALL, gettimeofday),
	CALL(ALL, getrandom),

	/* Exit, and abort by an assertion. */
	CALL(ALL, exit),
	CALL(ALL, exit_group),
	CALL(ALL, rt_sigaction),
	CALL(ALL, rt_sigprocmask),
	CALL(ALL, rt_sigreturn),
	CALL(ALL, getpid),
	CALL(ALL, gettid),
	CALL(ALL, tgkill), /* to ourselves only: see add_signal */

	/* The sanitizers' run-time libraries use these to report, and at exit. */
	CALL(TOOL, open),
	CALL(TOOL, openat),
	CALL(TOOL, readlink),
	CALL(TOOL, readlinkat),
	CALL(TOOL, stat),
	CALL(TOOL, fstat),
	CALL(TOOL, newfstatat),
	CALL(TOOL, lseek),
	CALL(TOOL, getdents64),
	CALL(TOOL, fcntl),
	CALL(TOOL, ioctl),
	CALL(TOOL, sigaltstack),
	CALL(TOOL, prctl),
	CALL(TOOL, prlimit64),
	CALL(TOOL, getrusage),
	CALL(TOOL, sched_getaffinity),
	CALL(TOOL, set_robust_list),
	CALL(TOOL, rseq),
	CALL(TOOL, clone),
	CALL(TOOL, clone3),
	CALL(TOOL, wait4),
	CALL(TOOL, getppid),
	CALL(TOOL, ptrace),
	CALL(TOOL, process_vm_readv),
	CALL(TOOL, pipe),
	CALL(TOOL, pipe2),
	CALL(TOOL, mmap),
	CALL(TOOL, mprotect),
	CALL(TOOL, uname),
};

#ifdef RINGKIT_SANITIZED
#define TOOLS TOOL
#else
#define TOOLS 0
#endif

static int add_rule(scmp_filter_ctx ctx, const struct rule *r)
{
	struct scmp_arg_cmp cmp[CONDS_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < CONDS_MAX; i++)
		if (r->conds[i].mask)
			cmp[n++] = (struct scmp_arg_cmp){.arg = r->conds[i].arg,
							 .op = SCMP_CMP_MASKED_EQ,
							 .datum_a = r->conds[i].mask,
							 .datum_b = r->conds[i].value};
	return seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, r->call, n, cmp);
}

/* abort(3) sends a signal to its own process. A guard sends SIGKILL to the program that it guards,
 * and to the program's group. No other signal is allowed. ended: that program; 0: there is none. */
static int add_signal(scmp_filter_ctx ctx, int call, pid_t ended)
{
	pid_t to = call == SCMP_SYS(kill) ? -ended : getpid();

	return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, call, 1,
				SCMP_A0_64(SCMP_CMP_MASKED_EQ, INT, (scmp_datum_t)(uint32_t)to));
}

static bool is_signal(int call)
{
	return call == SCMP_SYS(tgkill) || call == SCMP_SYS(kill);
}

static int add_rules(scmp_filter_ctx ctx, unsigned who, pid_t ended)
{
	int code = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rules) && !code; i++) {
		if (!(rules[i].who & who))
			continue;
		code = is_signal(rules[i].call) ? add_signal(ctx, rules[i].call, ended)
						: add_rule(ctx, &rules[i]);
	}
	return code;
}

static int load(scmp_filter_ctx ctx, unsigned who, pid_t ended)
{
	int code = add_rules(ctx, who, ended);

	/* The filter is for all threads of the process. */
	if (!code)
		code = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	/* No foreign code runs in this process, so speculation needs no limits (prctl(2),
	 * PR_SPEC_STORE_BYPASS). Before Linux 5.16 every filtered process would pay for such
	 * limits. */
	if (!code)
		code = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_SSB, 1);
	if (!code)
		code = seccomp_load(ctx);
	return code;
}

static int apply_for(unsigned who, pid_t ended, struct err *e)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int code;

	if (!ctx)
		return err_errno(e, -ENOMEM, "system call filter");
	code = load(ctx, who | TOOLS, ended);
	seccomp_release(ctx);
	return code < 0 ? err_errno(e, code, "system call filter") : 0;
}

static int apply(unsigned who, struct err *e)
{
	return apply_for(who, 0, e);
}

/* Drops all capabilities except those in keep, a set of bits (1 << CAP_...). */
static int drop_caps_but(uint64_t keep, struct err *e)
{
	capng_select_t which = CAPNG_SELECT_CAPS;

	/* Taking from the bounding set needs CAP_SETPCAP. Without it no_new_privs has the same
	 * effect. */
	if (capng_get_caps_process() < 0)
		return err_set(e, -EPERM, "capabilities: cannot be read");
	if (capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP))
		which = CAPNG_SELECT_BOTH;
	for (unsigned cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (!capng_have_capability(CAPNG_PERMITTED, cap))
			keep &= ~(1ull << cap);
	capng_clear(CAPNG_SELECT_BOTH);
	for (unsigned cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (keep >> cap & 1)
			capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, cap);
	if (capng_apply(which) < 0)
		return err_set(e, -EPERM, "capabilities: cannot be dropped");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_errno(e, -errno, "PR_SET_NO_NEW_PRIVS");
	return 0;
}

/* Drops every capability, in every set. The functions of the header use it. */
static int sandbox_drop_caps(struct err *e)
{
	return drop_caps_but(0, e);
}

int sandbox_broker_caps(struct err *e)
{
	return drop_caps_but(1ull << CAP_NET_BIND_SERVICE, e);
}

int sandbox_keeper_caps(struct err *e)
{
	return drop_caps_but(1ull << CAP_NET_ADMIN, e);
}

int sandbox_dataplane(bool uring, bool transparent, bool outward, struct err *e)
{
	int code = sandbox_drop_caps(e);
	unsigned who = PLANE | (uring ? URING : EPOLL) | (transparent ? TRANSPARENT : 0) |
		       (outward ? OUTWARD : 0);

	return code ? code : apply(who, e);
}

/* For processes with one thread. A sanitizer reads files of /proc at the end, so its builds keep
 * them. */
static int close_files(const struct landlock_rest *rest, struct err *e)
{
	int code = 0;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_errno(e, -errno, "PR_SET_NO_NEW_PRIVS");
	code = TOOLS ? 0 : landlock_no_files(rest);
	return code ? err_errno(e, code, "Landlock") : 0;
}

int sandbox_dataplane_files(bool transparent, bool outward, struct err *e)
{
	/* The user chooses which ports the data plane connects to. With a client's address it binds
	 * the client's port. */
	const struct landlock_rest rest = {.bind_tcp = transparent || outward, .connect_tcp = true};

	return close_files(&rest, e);
}

int sandbox_broker(struct err *e)
{
	const struct landlock_rest rest = {.bind_tcp = true};
	int code = sandbox_broker_caps(e);

	code = code ? code : close_files(&rest, e);
	return code ? code : apply(BROKER, e);
}

int sandbox_keeper(struct err *e)
{
	/* The keeper opens a connection of its own to see whether connections are tracked. */
	const struct landlock_rest rest = {.bind_tcp = true, .connect_tcp = true};
	int code = sandbox_keeper_caps(e);

	code = code ? code : close_files(&rest, e);
	return code ? code : apply(KEEPER, e);
}

int sandbox_relay(struct err *e)
{
	const struct landlock_rest rest = {.signal = false};
	int code = sandbox_drop_caps(e);

	code = code ? code : close_files(&rest, e);
	return code ? code : apply(RELAY, e);
}

int sandbox_guard(pid_t ended, struct err *e)
{
	/* The program was started before this call. Landlock would keep a process under it from
	 * signalling one that is not. */
	const struct landlock_rest rest = {.signal = true};
	int code = sandbox_drop_caps(e);

	code = code ? code : close_files(&rest, e);
	return code ? code : apply_for(GUARD, ended, e);
}

int sandbox_setup(struct err *e)
{
	return apply(SETUP, e);
}
