/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --net=slirp4netns: slirp4netns(1) reads and writes the tap device inside and speaks TCP/IP for it
 * outside. It joins the namespaces to open the tap, then writes "1" to the ready descriptor. This
 * runs in the parent, with the user's privileges.
 *
 * Two things make slirp4netns die with us: PR_SET_PDEATHSIG, which the kernel forgets when the
 * program has file capabilities (prctl(2); some give it cap_net_bind_service), and the exit
 * descriptor (-e), a pipe whose other end only we hold.
 *
 * Its --help, which tells its options, is read while it is already starting, unless a mode is
 * "auto".
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/proc.h"
#include "drivers/net/helper.h"
#include "drivers/net/slirp4netns_internal.h"
#include "drivers/net/tap.h"
#include "drivers/registry_internal.h"

struct net_driver {
	struct helper helper;
	int exit_w; /* closing it ends slirp4netns */
};

/* The state of a start. */
struct start {
	const struct net_params *params;
	const struct net_target *target;
	struct cidr cidr;
	struct proc_job help;
	char help_text[16384];
	bool sandbox, seccomp;
	struct slirp4netns_command cmd;
};

static int check_params(struct start *s, struct err *e)
{
	const char *socket = s->params->api_socket;
	int code = cidr_parse(s->params->cidr ? s->params->cidr : CIDR_DEFAULT, &s->cidr, e);

	if (code < 0)
		return code;
	if (socket && strlen(socket) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return err_set(e, -ENAMETOOLONG, "%s: a socket's path has at most %zu characters",
			       socket, sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1);
	return tap_check_device(s->params->tun_path, e);
}

static int begin_help(struct start *s, struct err *e)
{
	static char help_option[] = "--help";
	const char *argv[] = {s->cmd.argv[0], help_option, NULL};
	int code = proc_begin(argv, &s->help, e);

	s->help.abort_fd = s->target->abort_fd;
	/* The job keeps the pointer to argv, for its messages. */
	s->help.argv = s->cmd.argv;
	if (code == -ENOENT)
		err_wrap(e, code,
			 "install slirp4netns (sudo apt-get install slirp4netns), or name it with "
			 "--slirp4netns-binary");
	return code;
}

static int finish_help(struct start *s, struct slirp4netns_features *features, struct err *e)
{
	int code = proc_finish(
		&s->help, s->help_text, sizeof(s->help_text),
		s->params->ask_timeout_ms ? s->params->ask_timeout_ms : HELPER_ASK_MS, e);

	s->help = PROC_JOB_NONE;
	if (code < 0)
		return err_wrap(e, code, "asking %s what it can do (--help)", s->cmd.argv[0]);
	slirp4netns_parse_help(s->help_text, features);
	return slirp4netns_check_features(s->params, features, e);
}

/* Without CONFIG_SECCOMP the kernel answers EINVAL: prctl(2). */
static bool kernel_has_seccomp(void)
{
	return prctl(PR_GET_SECCOMP) >= 0 || errno != EINVAL;
}

static bool is_auto(const char *mode)
{
	return !strcmp(mode, "auto");
}

/* Chooses the modes that are "auto". With a detached namespace the sandbox would hide what
 * slirp4netns still needs, as RootlessKit has found. */
static void choose_modes(struct start *s, const struct slirp4netns_features *features)
{
	if (is_auto(s->params->sandbox))
		s->sandbox = features->sandbox && !slirp4netns_detached(s->params, s->target);
	if (is_auto(s->params->seccomp))
		s->seccomp = features->seccomp && kernel_has_seccomp();
}

static int explicit_modes(struct start *s, struct err *e)
{
	s->sandbox = !strcmp(s->params->sandbox, "true");
	s->seccomp = !strcmp(s->params->seccomp, "true");
	if (s->sandbox && slirp4netns_detached(s->params, s->target))
		return err_set(
			e, -EINVAL,
			"--slirp4netns-sandbox=true does not go with --detach-netns: say auto "
			"or false");
	if (s->seccomp && !kernel_has_seccomp())
		return err_set(
			e, -ENOTSUP,
			"kernel doesn't support seccomp: say --slirp4netns-seccomp=auto or false");
	return 0;
}

/* Makes a persistent tap device, as RootlessKit does: it outlives slirp4netns, so that closing it
 * does not make the kernel wait for a grace period. Otherwise the end takes 15 ms longer. */
static int make_tap(const struct start *s, struct err *e)
{
	const struct net_target *t = s->target;

	if (t->userns_fd < 0 || t->netns_fd < 0)
		return 0; /* slirp4netns makes the device */
	return tap_create_inside(t->userns_fd, t->netns_fd,
				 net_ifname(&net_slirp4netns_ops, s->params), e);
}

/* Starts slirp4netns. *ready_r becomes readable when packets flow, and closes when slirp4netns is
 * gone. */
static int spawn(struct net_driver *drv, const struct start *s, int *ready_r, struct err *e)
{
	auto_fd int ready_w = -1, exit_r = -1;
	int keep[4], ready[2], exits[2];
	struct proc_spec spec = {
		.file = s->cmd.argv[0],
		.argv = s->cmd.argv,
		.keep_fds = keep,
		.n_keep_fds = slirp4netns_detached(s->params, s->target) ? 4 : 2,
		.stdout_fd = -1,
		.null_stdin = true,
	};

	if (pipe2(ready, O_CLOEXEC) < 0)
		return err_errno(e, -errno, "pipe");
	*ready_r = ready[0];
	ready_w = ready[1];
	if (pipe2(exits, O_CLOEXEC) < 0)
		return err_errno(e, -errno, "pipe");
	exit_r = exits[0];
	drv->exit_w = exits[1];
	keep[0] = ready_w;
	keep[1] = exit_r;
	keep[2] = s->target->netns_fd;
	keep[3] = s->target->userns_fd;
	return helper_start(&drv->helper, &spec, e);
}

/* Reads the ready descriptor. Only "1" means ready; end of file means that slirp4netns died. */
static int read_ready(struct net_driver *drv, int ready_r, struct err *e)
{
	char byte = 0;
	ssize_t n = fd_retry(read(ready_r, &byte, 1));

	if (n == 1 && byte == '1')
		return 0;
	if (n == 0 && helper_ends_within(&drv->helper, 500))
		return helper_ended(&drv->helper, e);
	return err_set(e, -EPROTO, "slirp4netns closed its ready descriptor without being ready");
}

static int wait_ready(struct net_driver *drv, int ready_r, int abort_fd, int timeout_ms,
		      struct err *e)
{
	int code = helper_wait(&drv->helper, ready_r, abort_fd,
			       timeout_ms ? timeout_ms : HELPER_READY_MS, "is not ready", e);

	return code ? code : read_ready(drv, ready_r, e);
}

/* Sets libslirp's fixed network, fd00::/64. libslirp also sends router advertisements. But a
 * command would have to wait some seconds for the first one, and a kernel that forwards ignores
 * them (accept_ra in the kernel's ip-sysctl.rst): a Kubernetes node would lose its route when the
 * last one expires. */
static void fill_ipv6(struct net_result *result)
{
	snprintf(result->ip6, sizeof(result->ip6), "fd00::100");
	result->prefix_len6 = 64;
	snprintf(result->gateway6, sizeof(result->gateway6), "fd00::2");
	snprintf(result->dns[1], sizeof(result->dns[1]), "fd00::3");
}

static void fill_result(const struct start *s, struct net_result *result)
{
	const struct net_params *p = s->params;

	net_result_init(result, &net_slirp4netns_ops, p);
	cidr_address(&s->cidr, CIDR_INSIDE, result->ip);
	result->prefix_len = s->cidr.prefix_len;
	cidr_address(&s->cidr, CIDR_GATEWAY, result->gateway);
	cidr_address(&s->cidr, CIDR_DNS, result->dns[0]);
	if (p->ipv6)
		fill_ipv6(result);
}

static void slirp4netns_stop(struct net_driver *drv)
{
	if (!drv)
		return;
	helper_stop(&drv->helper);
	close_fd(&drv->exit_w);
	free(drv);
}

/* The job for --help may still run when this returns. */
static int launch(struct net_driver *drv, struct start *s, struct err *e)
{
	struct slirp4netns_features features = {0};
	auto_fd int ready_r = -1;
	bool help_first = is_auto(s->params->sandbox) || is_auto(s->params->seccomp);
	struct err start_err = {0}, help_err = {0};
	int code, help_code = 0;

	if (help_first) {
		code = finish_help(s, &features, e);
		if (code < 0)
			return code;
		choose_modes(s, &features);
	}
	slirp4netns_build_command(s->params, s->target, &s->cidr, s->sandbox, s->seccomp, &s->cmd);
	code = make_tap(s, &start_err);
	if (code == 0)
		code = spawn(drv, s, &ready_r, &start_err);
	if (code == 0)
		code = wait_ready(drv, ready_r, s->target->abort_fd, s->params->ready_timeout_ms,
				  &start_err);
	/* A slirp4netns that is too old has failed by now, or ignores an option. Its --help tells
	 * which one. */
	if (!help_first && code != -ECANCELED)
		help_code = finish_help(s, &features, &help_err);
	if (help_code < 0 || code < 0)
		*e = help_code < 0 ? help_err : start_err;
	return help_code < 0 ? help_code : code;
}

static int slirp4netns_start(const struct net_params *params, const struct net_target *target,
			     struct net_driver **out, struct net_result *result, struct err *e)
{
	struct start s = {.params = params, .target = target, .help = PROC_JOB_NONE};
	struct net_driver *drv;
	int code;

	code = check_params(&s, e);
	if (code == 0)
		code = explicit_modes(&s, e);
	if (code < 0)
		return code;
	drv = calloc(1, sizeof(*drv));
	if (!drv)
		return err_set(e, -ENOMEM, "out of memory");
	helper_init(&drv->helper, "slirp4netns", "network/slirp4netns", NULL);
	drv->exit_w = -1;
	s.cmd.argv[0] = params->binary ? params->binary : "slirp4netns";
	code = begin_help(&s, e);
	if (code == 0)
		code = launch(drv, &s, e);
	proc_end(&s.help.proc, SIGKILL, 0); /* if it was not finished */
	close_fd(&s.help.out_fd);
	if (code < 0) {
		slirp4netns_stop(drv);
		return code;
	}
	fill_result(&s, result);
	*out = drv;
	return 0;
}

static int slirp4netns_watch(struct net_driver *drv, struct loop *loop, net_died_fn *died,
			     void *arg)
{
	return helper_watch(&drv->helper, loop, died, arg);
}

const struct net_driver_ops net_slirp4netns_ops = {
	.name = "slirp4netns",
	.default_ifname = "tap0",
	.default_mtu = 65520,
	.takes_cidr = true,
	.takes_ipv6 = true,
	.start = slirp4netns_start,
	.watch = slirp4netns_watch,
	.stop = slirp4netns_stop,
};
