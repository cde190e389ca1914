/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --net=vdeplug_slirp (deprecated): libslirp behind VDE. There are two vde_plug(1): one connects
 * slirp to a socket in the state directory, the other, in the namespace, connects that socket to a
 * tap device. Neither says when it is ready, so we ask for the gateway by ARP. This runs in the
 * parent.
 *
 * RootlessKit starts the second one from a third, by a pipe. But vde_plug takes two ends itself,
 * and the socket can be reached from any network namespace.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/state_names.h"
#include "drivers/net/link_probe.h"
#include "drivers/net/tap.h"
#include "drivers/registry_internal.h"

/* The plug-in's own defaults. */
#define GATEWAY	   "10.0.2.2"
#define DNS	   "10.0.2.3"
#define ADDRESS	   "10.0.2.100"
#define PREFIX_LEN 24
#define MTU	   1500

#define PROBE_TIMEOUT_MS 10000
#define TURN_MS		 50

struct net_driver {
	struct helper slirp, tap;
	struct inside probe;
	char socket[108];
	struct helper_first first_end;
};

/* The second vde_plug makes a socket of its own, with a "+" after the name. */
static int make_socket_name(struct net_driver *drv, const char *state_dir, struct err *e)
{
	size_t max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 2;
	int n = snprintf(drv->socket, sizeof(drv->socket), "%s/" STATE_VDEPLUG_SOCKET, state_dir);

	if (n >= 0 && (size_t)n <= max)
		return 0;
	drv->socket[0] = '\0';
	return err_set(e, -ENAMETOOLONG,
		       "%s/" STATE_VDEPLUG_SOCKET
		       ": a socket's path has at most %zu characters here: "
		       "choose a shorter --state-dir",
		       state_dir, max);
}

static int add_hint(int code, struct err *e)
{
	if (code == -ENOENT || code == -ECHILD)
		return err_wrap(e, code,
				"--net=vdeplug_slirp needs vde_plug, its plug-in for slirp and "
				"nsenter (sudo apt-get install vdeplug libvdeplug-slirp "
				"util-linux)");
	return code;
}

static int start_slirp(struct net_driver *drv, const struct net_params *params, struct err *e)
{
	char ptp[128];
	const char *argv[] = {"vde_plug",
			      params->disable_host_loopback ? "slirp:///disable_host_loopback"
							    : "slirp://",
			      ptp, NULL};
	struct proc_spec spec = {
		.file = argv[0], .argv = argv, .stdout_fd = -1, .null_stdin = true};

	snprintf(ptp, sizeof(ptp), "ptp://%s", drv->socket);
	return helper_start(&drv->slirp, &spec, e);
}

/* The second vde_plug must find the socket of the first, or both wait. */
static int wait_socket(struct net_driver *drv, int abort_fd, struct err *e)
{
	uint64_t end = loop_now_ms() + HELPER_READY_MS;

	while (access(drv->socket, F_OK) < 0) {
		int code;

		if (loop_now_ms() >= end)
			return err_set(e, -ETIMEDOUT,
				       "vde_plug has not made its socket %s after %d ms",
				       drv->socket, HELPER_READY_MS);
		code = helper_wait(&drv->slirp, -1, abort_fd, 10, "", e);
		if (code != -ETIMEDOUT)
			return code;
	}
	return 0;
}

static int start_tap(struct net_driver *drv, const struct net_params *params,
		     const struct net_target *target, struct err *e)
{
	char ptp[128], tap[40];
	const char *argv[] = {"nsenter",
			      "--user=/proc/self/fd/3",
			      "--net=/proc/self/fd/4",
			      "--preserve-credentials",
			      "vde_plug",
			      ptp,
			      tap,
			      NULL};
	int keep[] = {target->userns_fd, target->netns_fd};
	struct proc_spec spec = {.file = argv[0],
				 .argv = argv,
				 .keep_fds = keep,
				 .n_keep_fds = 2,
				 .stdout_fd = -1,
				 .null_stdin = true};

	snprintf(ptp, sizeof(ptp), "ptp://%s", drv->socket);
	snprintf(tap, sizeof(tap), "tap://%s", net_ifname(&net_vdeplug_slirp_ops, params));
	return helper_start(&drv->tap, &spec, e);
}

/* Waits for the probe's answer. If one of the programs has ended, that is why there is none. */
static int wait_probe(struct net_driver *drv, int abort_fd, struct err *e)
{
	struct inside_answer answer;
	uint64_t end = loop_now_ms() + PROBE_TIMEOUT_MS + 2000;
	int code;

	do {
		if (helper_ends_within(&drv->slirp, 0))
			return helper_ended(&drv->slirp, e);
		if (helper_ends_within(&drv->tap, 0))
			return helper_ended(&drv->tap, e);
		code = inside_wait(&drv->probe, &answer, sizeof(answer), abort_fd, TURN_MS, e);
	} while (code == -ETIMEDOUT && drv->probe.helper.proc.pid > 0 &&
		 !helper_ends_within(&drv->probe.helper, 0) && loop_now_ms() < end);
	return code;
}

static int launch(struct net_driver *drv, const struct net_params *params,
		  const struct net_target *target, struct err *e)
{
	struct link_probe_boot boot = {.timeout_ms = PROBE_TIMEOUT_MS};
	int code = make_socket_name(drv, params->state_dir, e);

	code = code ? code
		    : tap_create_inside(target->userns_fd, target->netns_fd,
					net_ifname(&net_vdeplug_slirp_ops, params), e);
	code = code ? code : start_slirp(drv, params, e);
	code = code ? code : wait_socket(drv, target->abort_fd, e);
	code = code ? code : start_tap(drv, params, target, e);
	if (code)
		return add_hint(code, e);
	snprintf(boot.ifname, sizeof(boot.ifname), "%s",
		 net_ifname(&net_vdeplug_slirp_ops, params));
	inet_pton(AF_INET, ADDRESS, &boot.ip);
	inet_pton(AF_INET, GATEWAY, &boot.gateway);
	code = link_probe_start(&drv->probe, target, &boot, e);
	code = code ? code : wait_probe(drv, target->abort_fd, e);
	inside_stop(&drv->probe);
	return add_hint(code, e);
}

static void fill_result(const struct net_params *p, struct net_result *result)
{
	net_result_init(result, &net_vdeplug_slirp_ops, p);
	snprintf(result->ip, sizeof(result->ip), ADDRESS);
	result->prefix_len = PREFIX_LEN;
	snprintf(result->gateway, sizeof(result->gateway), GATEWAY);
	snprintf(result->dns[0], sizeof(result->dns[0]), DNS);
}

static void vdeplug_slirp_stop(struct net_driver *drv)
{
	if (!drv)
		return;
	inside_stop(&drv->probe);
	helper_stop(&drv->tap);
	helper_stop(&drv->slirp);
	free(drv);
}

/* The interface gets the MTU that the user wants, as with RootlessKit, but vde_plug has no option
 * for it. */
static void warn(const struct net_params *params)
{
	log_warning("--net=vdeplug_slirp is deprecated: use --net=slirp4netns or --net=pasta");
	if (params->mtu && params->mtu != MTU)
		log_warning("vdeplug_slirp itself keeps to an MTU of %d: with --mtu=%d what is "
			    "larger may get lost",
			    MTU, params->mtu);
}

static int vdeplug_slirp_start(const struct net_params *params, const struct net_target *target,
			       struct net_driver **out, struct net_result *result, struct err *e)
{
	struct net_driver *drv;
	int code = tap_check_device(params->tun_path, e);

	warn(params);
	if (code)
		return code;
	drv = calloc(1, sizeof(*drv));
	if (!drv)
		return err_set(e, -ENOMEM, "out of memory");
	helper_init(&drv->slirp, "vde_plug slirp://", "network/vdeplug-slirp", NULL);
	helper_init(&drv->tap, "vde_plug tap://", "network/vdeplug-tap", NULL);
	inside_init(&drv->probe, "the probe of vdeplug_slirp", "network/link-probe");
	code = launch(drv, params, target, e);
	if (code) {
		vdeplug_slirp_stop(drv);
		return code;
	}
	fill_result(params, result);
	*out = drv;
	return 0;
}

static int vdeplug_slirp_watch(struct net_driver *drv, struct loop *loop, net_died_fn *died,
			       void *arg)
{
	int code;

	drv->first_end = (struct helper_first){died, arg};
	code = helper_watch(&drv->slirp, loop, helper_first_died, &drv->first_end);
	return code ? code : helper_watch(&drv->tap, loop, helper_first_died, &drv->first_end);
}

const struct net_driver_ops net_vdeplug_slirp_ops = {
	.name = "vdeplug_slirp",
	.default_ifname = "tap0",
	.default_mtu = MTU,
	.start = vdeplug_slirp_start,
	.watch = vdeplug_slirp_watch,
	.stop = vdeplug_slirp_stop,
};
