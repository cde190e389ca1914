/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parent runs for the command: network driver, port driver with the ports of the command
 * line, API.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/event.h"
#include "base/fd.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "base/state_names.h"
#include "launch/handshake.h"
#include "launch/implicit.h"
#include "launch/parent_internal.h"

/* For publishing the ports of the command line: a data plane that takes longer is broken. */
#define PUBLISH_TIMEOUT_MS 30000
/* Killed processes end within some milliseconds; a machine under load takes longer. */
#define PREDECESSOR_MS 5000

#define PORT_DRIVER_BUILTIN "builtin"

static const char *binary_option(const struct options *o)
{
	if (!strcmp(o->net, "slirp4netns"))
		return o->slirp4netns_binary;
	if (!strcmp(o->net, "vpnkit"))
		return o->vpnkit_binary;
	if (!strcmp(o->net, "pasta"))
		return o->pasta_binary;
	if (!strcmp(o->net, "lxc-user-nic"))
		return o->lxc_user_nic_binary;
	return NULL;
}

static struct net_params net_params(const struct parent *p)
{
	const struct options *o = p->options;

	return (struct net_params){
		.ifname = o->ifname,
		.mtu = o->mtu,
		.cidr = o->cidr,
		.disable_host_loopback = o->disable_host_loopback,
		.ipv6 = o->ipv6,
		.detach_netns = o->detach_netns,
		.port_driver = o->port_driver,
		.auto_ports = !strcmp(o->port_driver, "implicit"),
		.binary = binary_option(o),
		.sandbox = o->slirp4netns_sandbox,
		.seccomp = o->slirp4netns_seccomp,
		.bridge = o->lxc_user_nic_bridge,
		.state_dir = p->state.path,
		.outbound_addr = o->outbound_addr,
		.egress = o->egress,
		.n_egress = o->n_egress,
		.workers = o->workers,
		.ipv6_auto = !o->ipv6_given,
		.api_socket = p->helper_socket[0] ? p->helper_socket : NULL,
	};
}

/* Some port drivers send requests to the network's program, over a socket in the state
 * directory. */
static int name_helper_socket(struct parent *p, struct err *e)
{
	const char *driver = p->options->port_driver, *name = NULL;
	int code;

	if (!strcmp(driver, "slirp4netns"))
		name = STATE_SLIRP4NETNS_SOCKET;
	else if (!strcmp(driver, "pesto"))
		name = STATE_PASTA_SOCKET;
	if (!name)
		return 0;
	code = statedir_path(&p->state, name, p->helper_socket, sizeof(p->helper_socket));
	return code ? err_errno(e, code, "%s", name) : 0;
}

static int start_driver(struct parent *p, struct err *e)
{
	struct net_params params;
	struct net_target target = {.child_pid = p->child.pid,
				    .userns_fd = p->userns_fd,
				    .netns_fd = p->netns_fd,
				    .abort_fd = p->abort_fd};
	char netns_path[PATH_MAX];
	int code;

	if (p->options->detach_netns) {
		code = statedir_path(&p->state, STATE_NETNS, netns_path, sizeof(netns_path));
		if (code)
			return err_errno(e, code, "netns");
		target.netns_path = netns_path;
	}
	p->net_ops = net_driver_find(p->options->net);
	code = name_helper_socket(p, e);
	if (code)
		return code;
	params = net_params(p);
	code = p->net_ops->start(&params, &target, &p->net, &p->net_result, e);
	if (code) {
		p->net_ops = NULL;
		return err_wrap(e, code, "failed to set up the network (--net=%s)",
				p->options->net);
	}
	return 0;
}

static void net_died(void *arg, const char *msg)
{
	(void)arg;
	log_error("network driver: %s; the command has lost its network", msg);
	event_post("networkLost", "network", msg);
}

static int send_setup(struct parent *p, struct err *e)
{
	struct hs_setup setup;
	struct stat st;
	int code;

	if (fstat(p->state.dir_fd, &st) < 0)
		return err_errno(e, -errno, "state directory %s", p->state.path);
	/* Also clears the padding, so that every byte that goes over the channel is defined. */
	memset(&setup, 0, sizeof(setup));
	setup.kind = HS_SETUP;
	setup.listen_fds = p->listen_fds;
	setup.sigmask = p->old_mask;
	setup.parent_euid = (uint32_t)geteuid();
	setup.parent_egid = (uint32_t)getegid();
	snprintf(setup.state_dir, sizeof(setup.state_dir), "%s", p->state.path);
	setup.state_dev = st.st_dev;
	setup.state_ino = st.st_ino;
	setup.net = p->net_result;
	code = fdpass_send(p->sock, &setup, sizeof(setup), NULL, 0, MSG_NOSIGNAL);
	return code ? err_errno(e, code, "message to the child") : 0;
}

static void net_changed(void *arg, const struct net_result *result)
{
	struct parent *p = arg;

	p->net_result = *result; /* the API reports it */
}

int services_follow_network(struct parent *p, struct err *e)
{
	int code = 0;

	if (p->net_ops && p->net_ops->follow)
		code = p->net_ops->follow(p->net, p->loop, net_changed, p);
	return code ? err_errno(e, code, "network driver %s", p->options->net) : 0;
}

int services_start_network(struct parent *p, struct err *e)
{
	int code = 0;

	if (strcmp(p->options->net, "host") != 0)
		code = start_driver(p, e);
	if (!code && p->net_ops) {
		code = p->net_ops->watch(p->net, p->loop, net_died, p);
		if (code)
			return err_errno(e, code, "network driver %s", p->options->net);
	}
	/* The rest of the network's set-up goes on beside the start of the data plane. */
	if (!code && p->net_ops && p->net_ops->finish)
		return 0;
	return code ? code : send_setup(p, e);
}

/* Waits for a network that was still being set up, and tells the child of it. */
static int finish_network(void *arg, struct err *e)
{
	struct parent *p = arg;
	int code = p->net_ops->finish(p->net, e);

	if (code)
		err_wrap(e, code, "failed to set up the network (--net=%s)", p->options->net);
	else
		code = send_setup(p, e);
	e->whole = code != 0; /* the driver that waits for this has not failed */
	return code;
}

static struct port_params port_params(struct parent *p)
{
	const struct options *o = p->options;
	struct port_params params = {
		.loop = p->loop,
		.child_pid = p->child.pid,
		.userns_fd = p->userns_fd,
		.netns_fd = p->netns_fd,
		.state_dir = p->state.path,
		.helper_socket = p->helper_socket[0] ? p->helper_socket : NULL,
		.pesto_binary = o->pesto_binary,
		.ipv6 = o->ipv6,
		.disable_host_loopback = o->disable_host_loopback,
		.source_ip_transparent = o->source_ip_transparent,
		.dataplane = o->dataplane,
		.workers = o->workers,
		.udp_timeout_ms = o->udp_timeout_ms,
		.dataplane_sandbox = o->dataplane_sandbox,
		.debug = o->debug,
	};

	if (p->net_ops && p->net_ops->outward)
		params.outward = p->net_ops->outward(p->net);
	if (params.outward && p->net_ops->finish) {
		params.await_outward = finish_network;
		params.await_arg = p;
	}
	snprintf(params.child_ip, sizeof(params.child_ip), "%s", p->net_result.ip);
	return params;
}

static int start_port_driver(struct parent *p, const struct port_driver_ops *ops, struct err *e)
{
	struct port_params params = port_params(p);
	int code;

	p->port_ops = ops;
	code = p->port_ops->start(&params, &p->port, e);
	if (code) {
		p->port_ops = NULL;
		return err_wrap(e, code, "failed to start the port driver %s",
				p->options->port_driver);
	}
	code = ports_open(p->port_ops, p->port, &p->ports);
	if (code)
		return err_errno(e, code, "table of ports");
	if (p->state.crashed)
		ports_await_predecessor(p->ports, p->loop, PREDECESSOR_MS);
	return 0;
}

static void published(void *arg, const struct port *const *ports, size_t n, const struct err *e)
{
	struct parent *p = arg;

	if (n)
		log_debug("portAdded: id %d, by the command line", ports[0]->id);
	p->publish_left--;
	if (e && !p->publish_error.code)
		p->publish_error = *e;
}

/* Publishes one port after the other, so that the ids are in the order of the command line. */
static int publish_all(struct parent *p, struct err *e)
{
	const struct options *o = p->options;
	uint64_t end = loop_now_ms() + PUBLISH_TIMEOUT_MS;
	char text[256];

	for (size_t i = 0; i < o->n_publish; i++) {
		p->publish_left++;
		ports_add(p->ports, &o->publish[i], 1, published, p);
		while (p->publish_left) {
			int code = supervise_check(p, e);

			if (code)
				return code;
			code = loop_run_once(p->loop, 100);
			if (!code && loop_now_ms() >= end)
				code = -ETIMEDOUT;
			if (code)
				return err_errno(
					e, code, "publishing %s",
					portspec_format(&o->publish[i], text, sizeof(text)));
		}
		if (p->publish_error.code) {
			*e = p->publish_error;
			return err_wrap(e, e->code, "failed to publish %s",
					portspec_format(&o->publish[i], text, sizeof(text)));
		}
	}
	return 0;
}

/* The source to ask for what listens inside, where this process follows that; else NULL. */
static struct listening_source *listening(struct parent *p)
{
	return p->net_ops && p->net_ops->listening ? p->net_ops->listening(p->net) : NULL;
}

/* Ports that follow the listening sockets inside are the builtin driver's, under the name that the
 * user gave. */
static int start_implicit(struct parent *p, struct err *e)
{
	int code;

	p->implicit_ops = *port_driver_find(PORT_DRIVER_BUILTIN);
	p->implicit_ops.name = p->options->port_driver;
	code = start_port_driver(p, &p->implicit_ops, e);
	return code ? code : implicit_open(p->loop, listening(p), p->ports, &p->implicit, e);
}

/* Starts the data plane for what the command sends out, when it has no ports to carry. */
static int start_way_out(struct parent *p, struct err *e)
{
	const struct port_driver_ops *ops = port_driver_find(p->options->port_driver);
	struct port_params params = port_params(p);
	int code;

	/* Clients' addresses concern ports, and this data plane has none. */
	params.source_ip_transparent = false;
	if (!params.outward || (ops && ops->carries_outward) || listening(p))
		return 0;
	code = port_driver_find(PORT_DRIVER_BUILTIN)->start(&params, &p->way_out, e);
	return code ? err_wrap(e, code, "failed to set up the network (--net=%s)", p->options->net)
		    : 0;
}

int services_start_ports(struct parent *p, struct err *e)
{
	const struct port_driver_ops *ops = port_driver_find(p->options->port_driver);
	int code = start_way_out(p, e);

	if (code)
		return code;
	if (listening(p))
		return start_implicit(p, e);
	if (!ops)
		return 0; /* --port-driver=none, or pasta's implicit */
	code = start_port_driver(p, ops, e);
	return code ? code : publish_all(p, e);
}

static int begin_reload(struct parent *p, port_reloaded_fn *done, void *arg, struct err *e)
{
	if (p->port_ops && p->port_ops->reload)
		return p->port_ops->reload(p->port, done, arg, e);
	if (p->way_out)
		return port_driver_find(PORT_DRIVER_BUILTIN)->reload(p->way_out, done, arg, e);
	return err_set(e, -EOPNOTSUPP, "reload: there is no data plane (--port-driver=%s --net=%s)",
		       p->options->port_driver, p->options->net);
}

int services_reload(struct parent *p, port_reloaded_fn *done, void *arg, struct err *e)
{
	int code = begin_reload(p, done, arg, e);

	if (code)
		log_error("%s", e->msg);
	return code;
}

static int api_reload(void *arg, port_reloaded_fn *done, void *done_arg, struct err *e)
{
	return services_reload(arg, done, done_arg, e);
}

static int describe_network(void *arg, port_counter_fn *fn, void *fn_arg)
{
	const struct parent *p = arg;
	const struct port_driver_ops *ops = port_driver_find(PORT_DRIVER_BUILTIN);
	int code = p->net_ops->describe(p->net, fn, fn_arg);

	if (!code && p->way_out)
		code = ops->describe(p->way_out, fn, fn_arg);
	return !code && p->implicit ? implicit_counters(p->implicit, fn, fn_arg) : code;
}

static int network_stats(void *arg, port_counter_fn *fn, void *fn_arg, struct err *e)
{
	const struct parent *p = arg;

	return port_driver_find(PORT_DRIVER_BUILTIN)->stats(p->way_out, fn, fn_arg, e);
}

int services_start_api(struct parent *p, struct err *e)
{
	bool described = p->net_ops && p->net_ops->describe;

	p->api_info = (struct api_info){.state_dir = p->state.path,
					.child_pid = p->child.pid,
					.net = p->net_ops ? &p->net_result : NULL,
					.ports = p->ports,
					.reload = api_reload,
					.reload_arg = p,
					.describe_network = described ? describe_network : NULL,
					.network_stats = p->way_out ? network_stats : NULL,
					.network = p};
	return api_open(p->loop, p->state.dir_fd, &p->api_info, &p->api, e);
}

void services_stop(struct parent *p)
{
	if (p->api)
		api_close(p->api);
	implicit_stop(p->implicit);
	/* The driver stops before the table closes: the table's records hold the driver's parts of
	 * each port. */
	if (p->port_ops)
		p->port_ops->stop(p->port);
	if (p->ports)
		ports_close(p->ports);
	implicit_close(p->implicit);
	if (p->way_out)
		port_driver_find(PORT_DRIVER_BUILTIN)->stop(p->way_out);
	if (p->net_ops)
		p->net_ops->stop(p->net);
	p->api = NULL;
	p->implicit = NULL;
	p->ports = NULL;
	p->port_ops = NULL;
	p->way_out = NULL;
	p->net_ops = NULL;
}
