/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/validate.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/limits.h"
#include "base/log.h"
#include "cli/option_table.h"
#include "drivers/driver.h"
#include "drivers/net/cidr.h"

/* slirp4netns takes no larger MTU. RootlessKit has this bound for every driver. */
#define MTU_MAX 65521

/* The smallest MTU that the kernel allows for an Ethernet device (ETH_MIN_MTU). */
#define MTU_MIN 68

#define UDP_TIMEOUT_MAX_MS (24 * 3600 * 1000)

static bool is(const char *a, const char *b)
{
	return !strcmp(a, b);
}

static bool given(const struct options *o, enum option_id id)
{
	return o->given >> id & 1;
}

/* Whether the network has an interface beside lo. */
static bool carries_packets(const struct options *o)
{
	return !is(o->net, "host") && !is(o->net, "none");
}

static int check_numbers(const struct options *o, struct err *e)
{
	if (o->mtu < 0 || o->mtu > MTU_MAX)
		return err_set(e, -EINVAL,
			       "mtu must be <= %d, got %d (0 means the driver's default)", MTU_MAX,
			       o->mtu);
	if (o->mtu && o->mtu < MTU_MIN && carries_packets(o))
		return err_set(e, -EINVAL, "mtu must be >= %d, got %d", MTU_MIN, o->mtu);
	if (o->workers < 0 || o->workers > LIMIT_WORKERS)
		return err_set(e, -EINVAL,
			       "--workers=%d: it must be 0 (one for every two CPUs) to %d",
			       o->workers, LIMIT_WORKERS);
	if (o->udp_timeout_ms <= 0 || o->udp_timeout_ms > UDP_TIMEOUT_MAX_MS)
		return err_set(e, -EINVAL, "--udp-timeout: it must be more than 0 and at most 24h");
	return 0;
}

/* Checks the rules of the kernel's dev_valid_name before anything is set up. */
static int check_ifname(const struct options *o, struct err *e)
{
	const char *name = o->ifname;

	if (!name)
		return 0;
	if (is(o->net, "host") || is(o->net, "none"))
		return err_set(e, -EINVAL,
			       "ifname cannot be specified for --net=%s: it makes no interface",
			       o->net);
	if (strchr(name, '/'))
		return err_set(e, -EINVAL, "ifname must not contain \"/\"");
	if (strlen(name) >= IFNAMSIZ)
		return err_set(e, -EINVAL, "ifname %.40s: it must have at most %d characters", name,
			       IFNAMSIZ - 1);
	if (is(name, "lo"))
		return err_set(e, -EINVAL,
			       "ifname must not be lo, which is the loopback interface");
	for (const char *c = name; *c; c++)
		if (isspace((unsigned char)*c) || *c == ':' || *c == '%')
			return err_set(e, -EINVAL,
				       "ifname must not contain blanks, \":\" or \"%%\"");
	if (is(name, ".") || is(name, ".."))
		return err_set(e, -EINVAL, "ifname must not be \"%s\"", name);
	return 0;
}

static int check_cidr(const struct options *o, struct err *e)
{
	const struct net_driver_ops *ops = net_driver_find(o->net);
	struct cidr cidr;

	if (!o->cidr)
		return 0;
	if (!ops || !ops->takes_cidr)
		return err_set(e, -EINVAL,
			       "custom cidr is supported only for --net=slirp4netns, --net=pasta, "
			       "--net=builtin and --net=gvisor-tap-vsock, not for --net=%s",
			       o->net);
	return cidr_parse(o->cidr, &cidr, e);
}

/* Egress rules are refused with networks that do not enforce them: to ignore them would be
 * unsafe. */
static int check_egress(const struct options *o, struct err *e)
{
	static const enum option_id ids[] = {OPT_EGRESS_DENY, OPT_EGRESS_ALLOW, OPT_OUTBOUND_ADDR};
	const struct net_driver_ops *ops = net_driver_find(o->net);

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
		if (given(o, ids[i]) && (!ops || !ops->takes_egress))
			return err_set(e, -EINVAL,
				       "--%s goes with --net=builtin, not with --net=%s",
				       option_table[ids[i]].name, o->net);
	return 0;
}

/* The group becomes the name of one directory. */
static int check_group(const char *group, struct err *e)
{
	if (strpbrk(group, "/\n") || is(group, ".") || is(group, ".."))
		return err_set(
			e, -EINVAL,
			"unexpected evacuation group name \"%.255s\": it must be the name of "
			"one cgroup, without \"/\"",
			group);
	if (strlen(group) > NAME_MAX)
		return err_set(e, -EINVAL, "evacuate-cgroup2: a name has at most %d characters",
			       NAME_MAX);
	return 0;
}

static int check_process(struct options *o, struct err *e)
{
	if (is(o->reaper, "true") && !o->pidns)
		return err_set(e, -EINVAL, "reaper requires --pidns: add it, or say --reaper=auto");
	o->reaper_on = is(o->reaper, "true") || (is(o->reaper, "auto") && o->pidns);
	if (!o->evacuate_cgroup2)
		return 0;
	if (!o->cgroupns)
		return err_set(e, -EINVAL, "evacuate-cgroup2 requires --cgroupns");
	if (!o->pidns)
		return err_set(e, -EINVAL, "evacuate-cgroup2 requires --pidns");
	return check_group(o->evacuate_cgroup2, e);
}

static int check_network(const struct options *o, struct err *e)
{
	if (o->detach_netns && is(o->net, "host"))
		return err_set(
			e, -EINVAL,
			"--detach-netns needs a network namespace: add --net=slirp4netns, or "
			"--net=none");
	if (o->detach_netns && is(o->net, "slirp4netns") && is(o->slirp4netns_sandbox, "true"))
		return err_set(
			e, -EINVAL,
			"--slirp4netns-sandbox=true does not go with --detach-netns: say auto "
			"or false");
	if (o->n_publish && is(o->port_driver, "none"))
		return err_set(e, -EINVAL,
			       "port driver \"none\" does not support publishing ports: "
			       "add --port-driver=builtin");
	if (o->n_publish && is(o->port_driver, "implicit"))
		return err_set(
			e, -EINVAL,
			"port driver \"implicit\" does not support publishing ports: every "
			"port that is open inside is reachable outside; leave --publish out");
	return 0;
}

int options_validate(struct options *o, struct err *e)
{
	int code;

	if (o->help || o->version || o->print_semver)
		return 0;
	o->ipv6_given = given(o, OPT_IPV6);
	if (!o->command[0])
		return err_set(e, -EINVAL, "no command specified");
	if (o->n_copy_up && (is(o->propagation, "rshared") || is(o->propagation, "shared")))
		return err_set(e, -EINVAL,
			       "--propagation=%s does not go with --copy-up: say rslave",
			       o->propagation);
	code = driver_check_combination(o->net, o->port_driver, e);
	if (code == 0)
		code = check_numbers(o, e);
	if (code == 0)
		code = check_ifname(o, e);
	if (code == 0)
		code = check_cidr(o, e);
	if (code == 0)
		code = check_egress(o, e);
	if (code == 0)
		code = check_process(o, e);
	if (code == 0)
		code = check_network(o, e);
	return code;
}

static void warn_network(const struct options *o)
{
	const struct net_driver_ops *ops = net_driver_find(o->net);
	bool carries = carries_packets(o);

	if (o->mtu && !carries)
		log_warning("unsupported mtu for --net=%s: %d", o->net, o->mtu);
	if (o->ipv6 && (!ops || !ops->takes_ipv6))
		log_warning("--ipv6 is discarded for --net=%s", o->net);
	if (o->disable_host_loopback && is(o->net, "host"))
		log_warning(
			"--disable-host-loopback has no effect with --net=host: the command is in "
			"the host's network and reaches 127.0.0.1:* there");
	if (carries && !o->disable_host_loopback)
		log_warning("specifying --disable-host-loopback is highly recommended to prohibit "
			    "connecting to 127.0.0.1:* on the host namespace");
}

/* An option that has an effect only with some networks or port drivers. */
struct effect {
	enum option_id id;
	const char *net[3], *port_driver; /* it has an effect with any of these */
	const char *asks_nothing[2];	  /* values that are fine with all others, too */
};

/* An option that is not in this table has an effect everywhere, is refused where it has none
 * (check_network and the like), or has a warning of its own in warn_network. */
#define DATA_PLANE_NETS "builtin", "gvisor-tap-vsock", "auto"

static const struct effect effects[] = {
	{OPT_LXC_USER_NIC_BINARY, {"lxc-user-nic"}, NULL, {NULL}},
	{OPT_LXC_USER_NIC_BRIDGE, {"lxc-user-nic"}, NULL, {NULL}},
	{OPT_PASTA_BINARY, {"pasta"}, NULL, {NULL}},
	{OPT_PESTO_BINARY, {NULL}, "pesto", {NULL}},
	{OPT_SLIRP4NETNS_BINARY, {"slirp4netns"}, NULL, {NULL}},
	{OPT_SLIRP4NETNS_SANDBOX, {"slirp4netns"}, NULL, {"auto", "false"}},
	{OPT_SLIRP4NETNS_SECCOMP, {"slirp4netns"}, NULL, {"auto", "false"}},
	{OPT_VPNKIT_BINARY, {"vpnkit"}, NULL, {NULL}},
	{OPT_SOURCE_IP_TRANSPARENT, {NULL}, "builtin", {"false"}},
	{OPT_SOURCE_IP_TRANSPARENT_BACKEND, {NULL}, "builtin", {"auto"}},
	{OPT_DATAPLANE, {DATA_PLANE_NETS}, "builtin", {NULL}},
	{OPT_WORKERS, {DATA_PLANE_NETS}, "builtin", {NULL}},
	{OPT_UDP_TIMEOUT, {NULL}, "builtin", {NULL}},
	{OPT_DATAPLANE_SANDBOX, {DATA_PLANE_NETS}, "builtin", {NULL}},
};

static const char *value_of(const struct options *o, enum option_id id)
{
	const void *member = (const char *)o + option_table[id].offset;

	if (option_table[id].kind == OPTION_BOOL)
		return *(const bool *)member ? "true" : "false";
	return option_table[id].kind == OPTION_STRING ? *(const char *const *)member : "";
}

/* The port driver that does the work. */
static const char *port_driver(const struct options *o)
{
	bool follows = is(o->port_driver, "implicit") && !is(o->net, "pasta");

	return follows || is(o->port_driver, "gvisor-tap-vsock") ? "builtin" : o->port_driver;
}

/* Whether a data plane runs. With --net=auto it may turn out that none does. */
static bool has_data_plane(const struct options *o)
{
	return is(port_driver(o), "builtin") || is(o->net, "builtin") ||
	       is(o->net, "gvisor-tap-vsock") || is(o->net, "auto");
}

static bool has_effect(const struct options *o, const struct effect *f)
{
	for (size_t i = 0; i < ARRAY_SIZE(f->net); i++)
		if (f->net[i] && is(o->net, f->net[i]))
			return true;
	for (size_t i = 0; i < ARRAY_SIZE(f->asks_nothing); i++)
		if (f->asks_nothing[i] && is(value_of(o, f->id), f->asks_nothing[i]))
			return true;
	return f->port_driver && is(port_driver(o), f->port_driver);
}

static void warn_effects(const struct options *o)
{
	for (size_t i = 0; i < ARRAY_SIZE(effects); i++) {
		const struct effect *f = &effects[i];

		if (!given(o, f->id) || has_effect(o, f))
			continue;
		log_warning("--%s has no effect with --%s=%s: it is for --%s=%s",
			    option_table[f->id].name, f->port_driver ? "port-driver" : "net",
			    f->port_driver ? o->port_driver : o->net,
			    f->port_driver ? "port-driver" : "net",
			    f->port_driver ? f->port_driver : f->net[0]);
	}
	if (given(o, OPT_COPY_UP_MODE) && !o->n_copy_up)
		log_warning("--copy-up-mode has no effect without --copy-up");
	if (is(o->source_ip_transparent_backend, "iptables"))
		log_warning(
			"--source-ip-transparent-backend=iptables has no effect: nftables rules "
			"are used, for which no program is needed");
	if (!o->dataplane_sandbox && has_data_plane(o))
		log_warning("--dataplane-sandbox=false: the data plane runs without seccomp and "
			    "ring restrictions, and nothing is under Landlock");
}

void options_warn(const struct options *o)
{
	log_debug("--net=%s --port-driver=%s --propagation=%s, reaper %s", o->net, o->port_driver,
		  o->propagation, o->reaper_on ? "on" : "off");
	if (is(o->port_driver, "slirp4netns") || is(o->port_driver, "socat"))
		log_warning(
			"--port-driver=%s is deprecated: --port-driver=builtin is faster and does "
			"more",
			o->port_driver);
	if (geteuid() == 0)
		log_warning(
			"running as the root user is not supported: run it as an ordinary user");
	warn_network(o);
	warn_effects(o);
}
