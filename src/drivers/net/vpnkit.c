/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --net=vpnkit: VPNKit outside speaks TCP/IP for a tap device inside. Frames go through a socket in
 * the state directory. VPNKit knows neither namespaces nor taps, so a process of ours
 * (vpnkit_relay.c) is between them. This is the parent's half: it starts both, one after the other,
 * and watches them.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/role.h"
#include "base/state_names.h"
#include "drivers/net/tap.h"
#include "drivers/net/vpnkit_internal.h"
#include "drivers/registry_internal.h"

/* VPNKit's fixed network. */
#define GATEWAY	   "192.168.65.1"
#define PREFIX_LEN 24

#define RELAY_TIMEOUT_MS 10000
/* More than the relay's own time-out, whose message names what it waited for. */
#define ANSWER_TIMEOUT_MS (RELAY_TIMEOUT_MS + 2000)
#define CONNECT_RETRY_MS  10
/* The relay notices VPNKit's end first, and ends too. This is the time to wait for VPNKit's own
 * message, which says more. */
#define DEATH_GRACE_MS 200

struct net_driver {
	struct helper vpnkit;
	struct inside relay;
	struct sockaddr_un address;
	struct helper_first first_end;
};

static int make_address(struct net_driver *drv, const char *state_dir, struct err *e)
{
	struct sockaddr_un *a = &drv->address;

	a->sun_family = AF_UNIX;
	if ((size_t)snprintf(a->sun_path, sizeof(a->sun_path), "%s/" STATE_VPNKIT_SOCKET,
			     state_dir) >= sizeof(a->sun_path))
		return err_set(e, -ENAMETOOLONG,
			       "%s/" STATE_VPNKIT_SOCKET
			       ": a socket's path has at most %zu characters: "
			       "choose a shorter --state-dir",
			       state_dir, sizeof(a->sun_path) - 1);
	return 0;
}

static int start_vpnkit(struct net_driver *drv, const struct net_params *params, struct err *e)
{
	char mtu[16];
	const char *argv[] = {params->binary ? params->binary : "vpnkit",
			      "--ethernet",
			      drv->address.sun_path,
			      "--mtu",
			      mtu,
			      params->disable_host_loopback ? "--host-ip" : NULL,
			      "0.0.0.0",
			      NULL};
	struct proc_spec spec = {
		.file = argv[0], .argv = argv, .stdout_fd = -1, .null_stdin = true};
	int code;

	snprintf(mtu, sizeof(mtu), "%d", net_mtu(&net_vpnkit_ops, params));
	code = helper_start(&drv->vpnkit, &spec, e);
	if (code == -ENOENT)
		return err_wrap(e, code, "install VPNKit, or name it with --vpnkit-binary");
	return code;
}

/* Connects to VPNKit. The socket, or -errno: VPNKit's socket is not there yet, or does not take
 * connections. */
static int try_connect(const struct net_driver *drv)
{
	auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&drv->address, sizeof(drv->address)) < 0)
		return -errno;
	return steal_fd(&fd);
}

static int connect_vpnkit(struct net_driver *drv, int abort_fd, int *sock, struct err *e)
{
	uint64_t end = loop_now_ms() + HELPER_READY_MS;
	int code;

	while ((*sock = try_connect(drv)) < 0) {
		if (*sock != -ENOENT && *sock != -ECONNREFUSED && *sock != -EAGAIN)
			return err_errno(e, *sock, "cannot connect to %s", drv->address.sun_path);
		if (loop_now_ms() >= end)
			return err_set(e, -ETIMEDOUT,
				       "vpnkit does not take connections on %s after %d ms",
				       drv->address.sun_path, HELPER_READY_MS);
		code = helper_wait(&drv->vpnkit, -1, abort_fd, CONNECT_RETRY_MS, "", e);
		if (code != -ETIMEDOUT)
			return code;
	}
	return 0;
}

static int start_relay(struct net_driver *drv, const struct net_params *params,
		       const struct net_target *target, struct vpnkit_answer *answer, struct err *e)
{
	struct vpnkit_boot boot = {.timeout_ms = RELAY_TIMEOUT_MS, .debug = log_is_debug()};
	auto_fd int sock = -1;
	int code = connect_vpnkit(drv, target->abort_fd, &sock, e);

	if (code)
		return code;
	snprintf(boot.ifname, sizeof(boot.ifname), "%s", net_ifname(&net_vpnkit_ops, params));
	code = inside_start(&drv->relay, ROLE_VPNKIT_RELAY, target, &boot, sizeof(boot), sock, e);
	close_fd(&sock);
	code = code ? code
		    : inside_wait(&drv->relay, answer, sizeof(*answer), target->abort_fd,
				  ANSWER_TIMEOUT_MS, e);
	if (code == -ECONNRESET && helper_ends_within(&drv->vpnkit, DEATH_GRACE_MS))
		return helper_ended(&drv->vpnkit, e);
	return code;
}

static void fill_result(const struct net_params *p, const struct vpnkit_answer *answer,
			struct net_result *result)
{
	net_result_init(result, &net_vpnkit_ops, p);
	inet_ntop(AF_INET, &answer->ip, result->ip, sizeof(result->ip));
	result->prefix_len = PREFIX_LEN;
	snprintf(result->gateway, sizeof(result->gateway), GATEWAY);
	snprintf(result->dns[0], sizeof(result->dns[0]), GATEWAY);
}

static void vpnkit_stop(struct net_driver *drv)
{
	if (!drv)
		return;
	inside_stop(&drv->relay);
	helper_stop(&drv->vpnkit);
	free(drv);
}

static int vpnkit_start(const struct net_params *params, const struct net_target *target,
			struct net_driver **out, struct net_result *result, struct err *e)
{
	struct vpnkit_answer answer = {0};
	struct net_driver *drv;
	int code = tap_check_device(params->tun_path, e);

	if (code < 0)
		return code;
	if (params->mtu && params->mtu != net_vpnkit_ops.default_mtu)
		log_warning("vpnkit is known to have issues with an MTU other than 1500 "
			    "(--mtu=%d)",
			    params->mtu);
	drv = calloc(1, sizeof(*drv));
	if (!drv)
		return err_set(e, -ENOMEM, "out of memory");
	helper_init(&drv->vpnkit, "vpnkit", "network/vpnkit", NULL);
	inside_init(&drv->relay, "the relay of vpnkit", "network/vpnkit-relay");
	code = make_address(drv, params->state_dir, e);
	code = code ? code : start_vpnkit(drv, params, e);
	code = code ? code : start_relay(drv, params, target, &answer, e);
	if (code < 0) {
		vpnkit_stop(drv);
		return code;
	}
	fill_result(params, &answer, result);
	*out = drv;
	return 0;
}

static void relay_died(void *arg, const char *msg)
{
	struct net_driver *drv = arg;
	struct err e = {0};

	if (!drv->first_end.died || !helper_ends_within(&drv->vpnkit, DEATH_GRACE_MS)) {
		helper_first_died(&drv->first_end, msg);
		return;
	}
	helper_unwatch(&drv->vpnkit);
	helper_ended(&drv->vpnkit, &e);
	helper_first_died(&drv->first_end, e.msg);
}

static int vpnkit_watch(struct net_driver *drv, struct loop *loop, net_died_fn *died, void *arg)
{
	int code;

	drv->first_end = (struct helper_first){died, arg};
	code = helper_watch(&drv->vpnkit, loop, helper_first_died, &drv->first_end);
	return code ? code : helper_watch(&drv->relay.helper, loop, relay_died, drv);
}

const struct net_driver_ops net_vpnkit_ops = {
	.name = "vpnkit",
	.default_ifname = "tap0",
	.default_mtu = 1500,
	.start = vpnkit_start,
	.watch = vpnkit_watch,
	.stop = vpnkit_stop,
};
