/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child: root of the new namespaces, with all capabilities there and none outside. While the
 * parent starts the drivers, the child makes the view of the system that the command gets. Then it
 * runs the command.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "base/exitcode.h"
#include "base/fd.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "base/role.h"
#include "base/state_names.h"
#include "launch/command.h"
#include "launch/handshake.h"
#include "launch/launch.h"
#include "launch/preflight.h"
#include "ns/cgroup2.h"
#include "ns/copyup.h"
#include "ns/etcfiles.h"
#include "ns/mounts.h"
#include "ns/netif.h"
#include "ns/netns.h"

struct child {
	struct options options;
	struct hs_setup setup;
	int sock; /* to the parent */
	bool has_netns;
	int detached_fd; /* --detach-netns: the network namespace, which the command is not in; else
			  * -1 */
};

/* Takes our end of the channel from the environment, where the command must not see it. */
static int take_channel(struct child *c, struct err *e)
{
	const char *number = getenv(HS_ENV_FD);
	int code;

	c->sock = number ? (int)strtol(number, NULL, 10) : -1;
	unsetenv(HS_ENV_FD);
	unsetenv(ROLE_ENV);
	code = c->sock < 3 ? -EBADF : fd_set_cloexec(c->sock, true);
	return code ? err_set(e, code, "this role is started by rootlesskit itself only") : 0;
}

/* If the parent has died before this, the channel's end of file tells us. */
static int die_with_parent(struct err *e)
{
	return prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ? err_errno(e, -errno, "PR_SET_PDEATHSIG") : 0;
}

/* After an evacuation the command gets cgroup2 even where cgroup v1 is in use beside it, as with
 * RootlessKit: cgroup2 has the groups that the command is to work with. */
static bool wants_cgroup2(const struct options *o)
{
	return o->cgroupns && (mounts_has_cgroup2() || (o->evacuate_cgroup2 && cgroup2_mounted()));
}

static int mount_all(const struct child *c, struct err *e)
{
	const struct options *o = &c->options;
	int code = mounts_set_propagation(o->propagation, e);
	bool cgroup2;

	for (size_t i = 0; !code && i < o->n_copy_up; i++)
		code = copyup_dir(o->copy_up[i], e);
	if (code)
		return code;
	cgroup2 = wants_cgroup2(o);
	if (c->has_netns && !o->detach_netns)
		mounts_sys(cgroup2);
	else if (cgroup2)
		mounts_cgroup2();
	if (o->pidns)
		mounts_proc();
	return 0;
}

static int loopback_up(void *arg, struct err *e)
{
	(void)arg;
	return netif_loopback_up(e);
}

/* Comes before the mounts: in a /proc of a new pid namespace, paths below /proc change. */
static int make_detached_netns(struct child *c, struct err *e)
{
	struct hs_simple msg = {.kind = HS_NETNS};
	int code = netns_create(&c->detached_fd, e);

	if (code)
		return code;
	code = fdpass_send(c->sock, &msg, sizeof(msg), &c->detached_fd, 1, 0);
	return code ? err_set(e, code, "message to the parent: %s", fdpass_strerror(code)) : 0;
}

/* Runs fn in the network namespace that has the interfaces. */
static int in_netns(const struct child *c, int (*fn)(void *, struct err *), void *arg,
		    struct err *e)
{
	return c->detached_fd < 0 ? fn(arg, e) : netns_run(c->detached_fd, fn, arg, e);
}

static int prepare(struct child *c, struct err *e)
{
	int code = die_with_parent(e);

	if (!code && c->has_netns && c->options.detach_netns)
		code = make_detached_netns(c, e);
	code = code ? code : mount_all(c, e);
	if (!code && c->has_netns)
		code = in_netns(c, loopback_up, NULL, e);
	return code;
}

static int configure_interface(void *arg, struct err *e)
{
	const struct net_result *net = arg;
	struct netif_config config = {.ifname = net->ifname,
				      .mtu = net->mtu,
				      .ip = net->ip,
				      .prefix_len = net->prefix_len,
				      .gateway = net->gateway};
	struct err late = {0};
	int code = netif_configure(&config, e);

	if (!code && net->pair && netif_wait_pair(net->ifname, &late))
		log_debug("the first packets may be lost: %s", late.msg);
	return code;
}

static int configure_second_address(void *arg, struct err *e)
{
	const struct net_result *net = arg;
	struct netif_config config = {.ifname = net->ifname,
				      .ip = net->ip6,
				      .prefix_len = net->prefix_len6,
				      .gateway = net->gateway6};

	return netif_configure(&config, e);
}

/* A failure is only a warning: without IPv6 the command still has a network. */
static void configure_ipv6(struct child *c)
{
	struct err e = {0};

	if (in_netns(c, configure_second_address, &c->setup.net, &e))
		log_warning("--ipv6: %s", e.msg);
}

/* Opens the state directory anew, because what the parent's descriptor refers to is in another
 * mount namespace and cannot be bind-mounted. Links that a copy-up has made are followed: what
 * counts is that the path leads to the same directory. */
static int open_state_dir(const struct hs_setup *setup, int *out, struct err *e)
{
	auto_fd int fd = open(setup->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(e, -errno, "state directory %s", setup->state_dir);
	if (st.st_dev != setup->state_dev || st.st_ino != setup->state_ino)
		return err_set(e, -ESTALE,
			       "state directory %s: another directory has been put there",
			       setup->state_dir);
	*out = steal_fd(&fd);
	return 0;
}

static int install_files(const struct child *c, int state_fd, struct err *e)
{
	const struct options *o = &c->options;
	const char *dns[NET_DNS_MAX];
	enum etcfiles_how how = ETCFILES_BOUND;
	size_t n_dns = net_result_dns(&c->setup.net, dns);

	/* With a detached namespace the command is in the host's network and uses the host's
	 * resolver and names. */
	if (c->detached_fd >= 0)
		how = ETCFILES_KEPT;
	else if (copyup_covers(o->copy_up, o->n_copy_up, "/etc"))
		how = ETCFILES_PUT;
	return etcfiles_install(dns, n_dns, how, state_fd, e);
}

static int configure_network(struct child *c, struct err *e)
{
	auto_fd int state_fd = -1;
	int code = 0;

	if (!c->has_netns)
		return 0;
	if (c->setup.net.configure)
		code = in_netns(c, configure_interface, &c->setup.net, e);
	if (code)
		return code;
	if (c->setup.net.configure && c->setup.net.ip6[0])
		configure_ipv6(c);
	code = open_state_dir(&c->setup, &state_fd, e);
	if (!code && c->detached_fd >= 0)
		code = netns_bind(c->detached_fd, state_fd, STATE_NETNS, e);
	return code ? code : install_files(c, state_fd, e);
}

static int set_environment(const struct hs_setup *setup)
{
	char euid[16], egid[16];

	snprintf(euid, sizeof(euid), "%u", setup->parent_euid);
	snprintf(egid, sizeof(egid), "%u", setup->parent_egid);
	if (setenv("ROOTLESSKIT_STATE_DIR", setup->state_dir, 1) < 0 ||
	    setenv("ROOTLESSKIT_PARENT_EUID", euid, 1) < 0 ||
	    setenv("ROOTLESSKIT_PARENT_EGID", egid, 1) < 0)
		return -errno;
	return 0;
}

/* -ECONNRESET means that the parent has failed, and says why itself. */
static int set_up(struct child *c, struct err *e)
{
	struct hs_simple run;
	int code = prepare(c, e);

	if (code)
		return code;
	code = hs_recv(c->sock, HS_SETUP, &c->setup, sizeof(c->setup));
	if (code)
		return err_errno(e, code, "message from the parent");
	code = configure_network(c, e);
	if (code)
		return code;
	code = set_environment(&c->setup);
	if (code)
		return err_errno(e, code, "environment");
	code = hs_send(c->sock, HS_READY);
	if (!code)
		code = hs_recv(c->sock, HS_RUN, &run, sizeof(run));
	return code ? err_errno(e, code, "message from the parent") : 0;
}

static int run_command(const struct child *c, struct err *e)
{
	struct command cmd = {.argv = c->options.command,
			      .own_session = c->options.reaper_on,
			      .listen_fds = c->setup.listen_fds,
			      .mask = &c->setup.sigmask};
	int code = command_run(&cmd, e);

	if (e->code)
		log_error("%s", e->msg);
	return code;
}

int child_main(int argc, char **argv)
{
	struct child c = {.sock = -1, .detached_fd = -1};
	struct err e = {0};
	int code;

	log_init("child ", false);
	code = take_channel(&c, &e);
	if (!code)
		code = options_parse(argc, argv, &c.options, &e);
	if (!code) {
		log_init("child ", c.options.debug);
		c.has_netns = strcmp(c.options.net, "host") != 0;
		code = set_up(&c, &e);
	}
	if (!code) {
		code = run_command(&c, &e);
	} else {
		/* If the parent is gone, it has said why. */
		if (code != -ECONNRESET && code != -EPIPE) {
			log_error("%s", e.msg);
			preflight_hint(code, CLONE_NEWNET);
		}
		code = EXITCODE_FAILED;
	}
	options_free(&c.options);
	return code;
}
