/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --net=lxc-user-nic: a veth pair into a bridge of the host, made by LXC's set-uid program, which
 * looks up in /etc/lxc/lxc-usernet what the user may have. The address comes by DHCP, from a
 * process of ours inside (lxc_dhcp.c). lxc-user-nic finds the namespace by a process that is in it;
 * it gets the pid of the DHCP client, which works with a detached namespace as well. This is the
 * parent's half.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "base/role.h"
#include "drivers/net/lxc_internal.h"
#include "drivers/net/readdress.h"
#include "drivers/registry_internal.h"

#define DEFAULT_BRIDGE	"lxcbr0"
#define JOIN_TIMEOUT_MS 10000
#define NIC_TIMEOUT_MS	10000
#define DHCP_TIMEOUT_MS 30000
/* More than the client's own time-out, whose message names what it waited for. */
#define ANSWER_TIMEOUT_MS (DHCP_TIMEOUT_MS + 5000)

#if defined(__x86_64__)
#define ARCH "x86_64"
#elif defined(__aarch64__)
#define ARCH "aarch64"
#elif defined(__riscv)
#define ARCH "riscv64"
#else
#define ARCH "unknown"
#endif

struct net_driver {
	struct inside dhcp;
	struct net_target target; /* without abort_fd */
	bool detached;
	struct net_result result; /* what the interface has now */
	/* Used once follow was called: */
	struct loop *loop;
	struct loop_source *lease_src; /* NULL while a change is under way */
	struct readdress readdress;
	struct net_result next; /* what it is being changed to */
	net_changed_fn *changed;
	void *arg;
};

static const char *const places[] = {
	"/usr/libexec/lxc/lxc-user-nic",
	"/usr/lib/" ARCH "-linux-gnu/lxc/lxc-user-nic",
	"/usr/lib/lxc/lxc-user-nic",
};

static int find_program(const struct net_params *params, const char **out, struct err *e)
{
	*out = params->binary;
	if (params->binary)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		*out = places[i];
		if (access(places[i], X_OK) == 0)
			return 0;
	}
	return err_set(e, -ENOENT,
		       "lxc-user-nic is in none of its places: install it (sudo apt-get install "
		       "liblxc-common), or name it with --lxc-user-nic-binary");
}

static int check_bridge(const char *bridge, struct err *e)
{
	if (if_nametoindex(bridge))
		return 0;
	return err_set(e, -ENODEV,
		       "there is no bridge %.40s: start lxc-net (package lxc), make the bridge, or "
		       "name another with --lxc-user-nic-bridge",
		       bridge);
}

/* Adds to the program's message what it leaves open. */
static int add_hint(int code, const char *bridge, struct err *e)
{
	if (code == -ENOENT)
		return err_wrap(e, code,
				"install liblxc-common, or name the program with "
				"--lxc-user-nic-binary");
	/* lxc-user-nic says "Quota reached" whatever went wrong. */
	if (code == -ECHILD && strstr(e->msg, "Quota") && !strstr(e->msg, "Error attaching"))
		return err_wrap(e, code,
				"/etc/lxc/lxc-usernet allows you no (more) interfaces on %.40s",
				bridge);
	if (code == -ECHILD)
		return err_wrap(e, code,
				"%.40s must be a bridge, and /etc/lxc/lxc-usernet must allow it to "
				"you",
				bridge);
	return code;
}

static int run_program(const char *program, const char *bridge, const char *ifname, pid_t pid,
		       int abort_fd, struct err *e)
{
	char pid_text[16];
	const char *argv[] = {program, "create", "/dev/null", "dummy", pid_text,
			      "veth",  bridge,	 ifname,      NULL};
	struct proc_spec spec = {
		.file = program, .argv = argv, .stdout_fd = -1, .null_stdin = true};
	struct helper helper;
	int code;

	snprintf(pid_text, sizeof(pid_text), "%d", (int)pid);
	helper_init(&helper, "lxc-user-nic", "network/lxc-user-nic", NULL);
	code = helper_start(&helper, &spec, e);
	code = code ? code
		    : helper_finish(&helper, abort_fd, NIC_TIMEOUT_MS, "has not finished", e);
	helper_stop(&helper);
	return add_hint(code, bridge, e);
}

static int launch(struct net_driver *drv, const struct net_params *params,
		  const struct net_target *target, const char *program, struct lxc_answer *answer,
		  struct err *e)
{
	const char *bridge = params->bridge ? params->bridge : DEFAULT_BRIDGE;
	struct lxc_boot boot = {.timeout_ms = DHCP_TIMEOUT_MS, .debug = log_is_debug()};
	struct inside_answer joined;
	struct lxc_go go = {0};
	int code;

	snprintf(boot.ifname, sizeof(boot.ifname), "%s", net_ifname(&net_lxc_user_nic_ops, params));
	code = check_bridge(bridge, e);
	code = code ? code
		    : inside_start(&drv->dhcp, ROLE_LXC_DHCP, target, &boot, sizeof(boot), -1, e);
	code = code ? code
		    : inside_wait(&drv->dhcp, &joined, sizeof(joined), target->abort_fd,
				  JOIN_TIMEOUT_MS, e);
	code = code ? code
		    : run_program(program, bridge, boot.ifname, drv->dhcp.helper.proc.pid,
				  target->abort_fd, e);
	if (code)
		return code;
	code = fdpass_send(drv->dhcp.channel, &go, sizeof(go), NULL, 0, MSG_NOSIGNAL);
	if (code)
		return err_errno(e, code, "message to the DHCP client");
	return inside_wait(&drv->dhcp, answer, sizeof(*answer), target->abort_fd, ANSWER_TIMEOUT_MS,
			   e);
}

static void take_lease(const struct lxc_answer *answer, struct net_result *result)
{
	result->gateway[0] = '\0';
	memset(result->dns, 0, sizeof(result->dns));
	inet_ntop(AF_INET, &answer->ip, result->ip, sizeof(result->ip));
	result->prefix_len = answer->prefix_len;
	if (answer->router)
		inet_ntop(AF_INET, &answer->router, result->gateway, sizeof(result->gateway));
	for (int i = 0; i < NET_DNS_MAX && i < DHCP_DNS_MAX && answer->dns[i]; i++)
		inet_ntop(AF_INET, &answer->dns[i], result->dns[i], sizeof(result->dns[i]));
}

static void fill_result(const struct net_params *p, const struct lxc_answer *answer,
			struct net_result *result)
{
	net_result_init(result, &net_lxc_user_nic_ops, p);
	result->dynamic_child_ip = true;
	take_lease(answer, result);
}

static void lxc_user_nic_stop(struct net_driver *drv)
{
	if (!drv)
		return;
	loop_remove(drv->lease_src);
	readdress_stop(&drv->readdress);
	inside_stop(&drv->dhcp);
	free(drv);
}

static int lxc_user_nic_start(const struct net_params *params, const struct net_target *target,
			      struct net_driver **out, struct net_result *result, struct err *e)
{
	struct lxc_answer answer = {0};
	struct net_driver *drv;
	const char *program;
	int code = find_program(params, &program, e);

	if (code)
		return code;
	drv = calloc(1, sizeof(*drv));
	if (!drv)
		return err_set(e, -ENOMEM, "out of memory");
	inside_init(&drv->dhcp, "the DHCP client of lxc-user-nic", "network/lxc-dhcp");
	readdress_init(&drv->readdress);
	code = launch(drv, params, target, program, &answer, e);
	if (code) {
		lxc_user_nic_stop(drv);
		return code;
	}
	if (!answer.router)
		log_warning("the DHCP server named no router: there is no default route");
	fill_result(params, &answer, result);
	drv->target = *target;
	drv->target.netns_path = NULL;
	drv->detached = params->detach_netns;
	drv->result = *result;
	*out = drv;
	return 0;
}

static int lxc_user_nic_watch(struct net_driver *drv, struct loop *loop, net_died_fn *died,
			      void *arg)
{
	return helper_watch(&drv->dhcp.helper, loop, died, arg);
}

/* Changes of the lease */

static void on_lease(void *arg, uint32_t events);

static void await_lease(struct net_driver *drv)
{
	drv->lease_src = loop_add_fd(drv->loop, drv->dhcp.channel, EPOLLIN, on_lease, drv);
	if (!drv->lease_src)
		log_error("network driver: changes of the address are not followed any more: %s",
			  strerror(errno));
}

static void readdressed(void *arg, const struct err *e)
{
	struct net_driver *drv = arg;

	if (e) {
		log_error("network driver: the DHCP server gives the address %s/%d, which the "
			  "interface cannot have: %s; the command has lost its network",
			  drv->next.ip, drv->next.prefix_len, e->msg);
	} else {
		if (strcmp(drv->result.ip, drv->next.ip) != 0)
			log_warning("the DHCP server gave another address: %s has %s, after %s; "
				    "connections of before are lost",
				    drv->next.ifname, drv->next.ip, drv->result.ip);
		drv->result = drv->next;
		drv->changed(drv->arg, &drv->result);
	}
	await_lease(drv);
}

static int start_readdress(struct net_driver *drv, struct err *e)
{
	auto_fd int mnt_ns_fd = -1;
	char path[64];

	/* With a detached namespace the command stays in the host's network and keeps the host's
	 * name servers. */
	if (!drv->detached) {
		snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)drv->target.child_pid);
		mnt_ns_fd = open(path, O_RDONLY | O_CLOEXEC);
		if (mnt_ns_fd < 0)
			return err_errno(e, -errno, "cannot open %s", path);
	}
	return readdress_start(&drv->readdress, &drv->target, mnt_ns_fd, &drv->result, &drv->next,
			       drv->loop, e);
}

static void on_lease(void *arg, uint32_t events)
{
	struct net_driver *drv = arg;
	struct lxc_answer answer;
	struct err e = {.code = 0};
	size_t no_fds = 0;

	(void)events;
	loop_remove(drv->lease_src);
	drv->lease_src = NULL;
	if (fdpass_recv(drv->dhcp.channel, &answer, sizeof(answer), NULL, &no_fds, 0) !=
	    (ssize_t)sizeof(answer))
		return; /* the client has ended, and helper_watch reports that */
	drv->next = drv->result;
	take_lease(&answer, &drv->next);
	if (start_readdress(drv, &e) < 0)
		readdressed(drv, &e);
}

static int lxc_user_nic_follow(struct net_driver *drv, struct loop *loop, net_changed_fn *changed,
			       void *arg)
{
	drv->loop = loop;
	drv->changed = changed;
	drv->arg = arg;
	drv->readdress.done = readdressed;
	drv->readdress.arg = drv;
	await_lease(drv);
	return drv->lease_src ? 0 : -errno;
}

const struct net_driver_ops net_lxc_user_nic_ops = {
	.name = "lxc-user-nic",
	.default_ifname = "eth0",
	.default_mtu = 1500,
	.start = lxc_user_nic_start,
	.watch = lxc_user_nic_watch,
	.follow = lxc_user_nic_follow,
	.stop = lxc_user_nic_stop,
};
