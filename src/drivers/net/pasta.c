/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --net=pasta: pasta(1) makes a tap device in the namespace, configures it, and carries the packets
 * by sockets of the host. With the port driver "implicit" it also publishes every port that is open
 * inside. This runs in the parent, with the user's privileges.
 *
 * RootlessKit lets pasta go into the background, where it outlives the namespace. Here pasta runs
 * in the foreground, as a child of ours: PR_SET_PDEATHSIG ends it when we are killed, and we notice
 * its end. pasta writes its --pid file when all is configured, which tells us that it is ready.
 * That file is its standard output, a pipe, which needs no rule in pasta's AppArmor profile.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "drivers/net/helper.h"
#include "drivers/net/pasta_internal.h"
#include "drivers/net/tap.h"
#include "drivers/registry_internal.h"

struct net_driver {
	struct helper helper;
};

/* Finds out by the exit status: a pasta fails on options before --version that it does not know.
 * Its output is no help, since versions of 2025 print nothing of --help to a pipe. */
static int ask(const char *const *argv, char *answer, size_t size, struct err *e)
{
	return proc_run(argv, answer, size, HELPER_ASK_MS, e);
}

static int ask_needed(const char *binary, struct err *e)
{
	const char *argv[] = {binary,
			      "--config-net",
			      "--ns-ifname=tap0",
			      "--no-map-gw",
			      "--dns-forward=10.0.2.3",
			      "--no-netns-quit",
			      "--version",
			      NULL};
	char answer[1024];
	int code = ask(argv, answer, sizeof(answer), e);

	if (code == -ENOENT)
		return err_wrap(e, code,
				"install pasta (sudo apt-get install passt), or name it with "
				"--pasta-binary");
	if (code == -ECHILD && pasta_lacks_option(answer))
		return err_set(e, -ENOTSUP,
			       "unsupported pasta version: %.200s; install passt of 2023 or later",
			       answer);
	return code ? err_wrap(e, code, "asking %s for its version", binary) : 0;
}

/* Asks whether pasta knows the option. 0 with *has, or -errno. */
static int ask_option(const char *binary, const char *option, bool *has, struct err *e)
{
	const char *argv[] = {binary, option, "--version", NULL};
	int code = ask(argv, NULL, 0, e);

	*has = code == 0;
	return code == -ECHILD ? 0 : code;
}

static int ask_features(const struct net_params *params, const char *binary,
			struct pasta_features *out, struct err *e)
{
	bool conf_path = true;
	int code = ask_needed(binary, e);

	if (!code)
		code = ask_option(binary, "--host-lo-to-ns-lo", &out->host_lo_to_ns_lo, e);
	if (!code && params->api_socket)
		code = ask_option(binary, "--conf-path=/", &conf_path, e);
	if (code || conf_path)
		return code;
	return err_set(e, -ENOTSUP,
		       "this pasta has no --conf-path, which --port-driver=pesto needs: install "
		       "passt of May 2026 or later");
}

/* Starts pasta. *ready_r becomes readable when packets flow, and closes when pasta is gone. */
static int spawn(struct net_driver *drv, const struct net_params *params,
		 const struct net_target *target, const struct pasta_command *cmd, int *ready_r,
		 struct err *e)
{
	auto_fd int ready_w = -1;
	int ready[2];
	struct proc_spec spec = {
		.file = cmd->argv[0],
		.argv = cmd->argv,
		.null_stdin = !params->detach_netns,
		.stdin_fd = params->detach_netns ? target->netns_fd : -1,
	};

	if (pipe2(ready, O_CLOEXEC) < 0)
		return err_errno(e, -errno, "pipe");
	*ready_r = ready[0];
	ready_w = ready[1];
	spec.stdout_fd = ready_w;
	return helper_start(&drv->helper, &spec, e);
}

/* Reads pasta's pid and a newline; end of file means that it died. */
static int read_ready(struct net_driver *drv, int ready_r, struct err *e)
{
	char text[32];
	ssize_t n = fd_retry(read(ready_r, text, sizeof(text)));

	if (n > 0 && isdigit((unsigned char)text[0]))
		return 0;
	if (n == 0 && helper_ends_within(&drv->helper, 500))
		return helper_ended(&drv->helper, e);
	return err_set(e, -EPROTO, "pasta closed its standard output without being ready");
}

/* Adds advice to messages that give none. */
static int add_hint(int code, struct err *e)
{
	if (code == -ECHILD && strcasestr(e->msg, "external") && strstr(e->msg, "interface"))
		return err_wrap(e, code,
				"pasta needs a default route on the host (see \"ip route\")");
	return code;
}

static int wait_ready(struct net_driver *drv, int ready_r, int abort_fd, struct err *e)
{
	int code = helper_wait(&drv->helper, ready_r, abort_fd, HELPER_READY_MS, "is not ready", e);

	code = code ? code : read_ready(drv, ready_r, e);
	return add_hint(code, e);
}

static void fill_result(const struct net_params *p, const struct cidr *cidr,
			struct net_result *result)
{
	net_result_init(result, &net_pasta_ops, p);
	result->configure = false; /* pasta has configured the interface */
	cidr_address(cidr, CIDR_INSIDE, result->ip);
	result->prefix_len = cidr->prefix_len;
	cidr_address(cidr, CIDR_GATEWAY, result->gateway);
	cidr_address(cidr, CIDR_DNS, result->dns[0]);
}

static void pasta_stop(struct net_driver *drv)
{
	if (!drv)
		return;
	helper_stop(&drv->helper);
	free(drv);
}

static int launch(struct net_driver *drv, const struct net_params *params,
		  const struct net_target *target, const struct cidr *cidr, struct err *e)
{
	struct pasta_features features = {0};
	struct pasta_command cmd;
	auto_fd int ready_r = -1;
	int code = ask_features(params, params->binary ? params->binary : "pasta", &features, e);

	if (code < 0)
		return code;
	if (params->disable_host_loopback && pasta_opens_host_loopback(params, &features))
		log_warning("this pasta is too old to have --port-driver=implicit without making "
			    "127.0.0.1 of the host reachable as 127.0.0.1 inside, despite "
			    "--disable-host-loopback: install passt of 2024 or later");
	pasta_build_command(params, target, cidr, &features, &cmd);
	code = spawn(drv, params, target, &cmd, &ready_r, e);
	return code ? code : wait_ready(drv, ready_r, target->abort_fd, e);
}

static int pasta_start(const struct net_params *params, const struct net_target *target,
		       struct net_driver **out, struct net_result *result, struct err *e)
{
	struct net_driver *drv;
	struct cidr cidr;
	int code = cidr_parse(params->cidr ? params->cidr : CIDR_DEFAULT, &cidr, e);

	code = code ? code : tap_check_device(params->tun_path, e);
	if (code < 0)
		return code;
	drv = calloc(1, sizeof(*drv));
	if (!drv)
		return err_set(e, -ENOMEM, "out of memory");
	helper_init(&drv->helper, "pasta", "network/pasta", "Failed to send ");
	code = launch(drv, params, target, &cidr, e);
	if (code < 0) {
		pasta_stop(drv);
		return code;
	}
	fill_result(params, &cidr, result);
	*out = drv;
	return 0;
}

static int pasta_watch(struct net_driver *drv, struct loop *loop, net_died_fn *died, void *arg)
{
	return helper_watch(&drv->helper, loop, died, arg);
}

const struct net_driver_ops net_pasta_ops = {
	.name = "pasta",
	.default_ifname = "tap0",
	.default_mtu = 65520,
	.takes_cidr = true,
	.takes_ipv6 = true,
	.start = pasta_start,
	.watch = pasta_watch,
	.stop = pasta_stop,
};
