/* SPDX-License-Identifier: Apache-2.0 */
#include "ns/router.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#include "base/array.h"
#include "base/log.h"
#include "ns/localroute.h"
#include "ns/netif.h"
#include "ns/netlink.h"
#include "ns/sysctl.h"

/*
 * Sysctls in which the router's namespace differs from a new one. Some of them a new namespace
 * inherits from the host, where they may have any value. Where /proc/sys is not writable (in a
 * container), the router works without them; each comment says what is lost then.
 */
struct setting {
	const char *name, *value; /* of sysctl_set */
};

static const struct setting settings[] = {
	/* With a filter by source, what containers inside send from their own addresses is
	 * dropped. */
	{"ipv4/conf/all/rp_filter", "0"},
	{"ipv4/conf/default/rp_filter", "0"},
	/* Answers from loopback addresses inside are dropped. */
	{"ipv4/conf/default/route_localnet", "1"},
	/* Nothing is to be forwarded: the rules answer every packet that they do not take. */
	{"ipv4/ip_forward", "0"},
	/* The command can fill the host's log. */
	{"ipv4/conf/all/log_martians", "0"},
	{"ipv4/conf/default/log_martians", "0"},
	/* The command can change the router's routes. */
	{"ipv4/conf/all/accept_redirects", "0"},
	{"ipv4/conf/default/accept_redirects", "0"},
	{"ipv6/conf/all/accept_redirects", "0"},
	{"ipv6/conf/default/accept_redirects", "0"},
	{"ipv6/conf/default/accept_ra", "0"},
	{"ipv6/conf/default/autoconf", "0"},
	/* Only some refusals are answered, one in a second for each address. */
	{"ipv4/icmp_ratelimit", "0"},
	{"ipv6/icmp/ratelimit", "0"},
	/* The link's own address is usable only after a second. */
	{"ipv6/conf/default/accept_dad", "0"},
	/* A host whose default is BBR paces what is sent to the command, on a link that is memory.
	 * Every kernel has reno, and every namespace may choose it. */
	{"ipv4/tcp_congestion_control", "reno"},
};

/* In the command's namespace. */
static const struct setting settings_inside[] = {
	/* A UDP server that is not at the namespace's address is looked for elsewhere when that is
	 * refused. The kernel would tell a client of six refusals, and then of one in a second. */
	{"ipv4/icmp_ratelimit", "0"},
	{"ipv6/icmp/ratelimit", "0"},
};

static void write_settings(const struct setting *list, size_t n)
{
	struct err e = {.code = 0};

	for (size_t i = 0; i < n; i++)
		if (sysctl_set(list[i].name, list[i].value, &e) < 0)
			log_debug("router: %s", e.msg);
}

void router_prepare_inside(void)
{
	write_settings(settings_inside, ARRAY_SIZE(settings_inside));
}

/* Asks for one queue, which is what veth uses. Without this the kernel makes one for each CPU, and
 * then waits for a grace period of RCU until it may leave them unused, with all interfaces of the
 * host locked. */
static void put_one_queue(struct nlmsghdr *nlh)
{
	mnl_attr_put_u32(nlh, IFLA_NUM_TX_QUEUES, 1);
	mnl_attr_put_u32(nlh, IFLA_NUM_RX_QUEUES, 1);
}

/* Makes a pair of interfaces: one here, its peer in the command's namespace. */
static int add_veth(struct mnl_socket *nl, const struct router_config *c, struct err *e)
{
	char buf[NETLINK_REQUEST_BYTES];
	struct nlmsghdr *nlh = netlink_request(buf, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
	struct nlattr *info, *data, *peer;
	int code;

	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, ROUTER_IFNAME);
	mnl_attr_put_u32(nlh, IFLA_MTU, (uint32_t)c->mtu);
	put_one_queue(nlh);
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
	peer = mnl_attr_nest_start(nlh, VETH_INFO_PEER);
	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, c->ifname);
	mnl_attr_put_u32(nlh, IFLA_MTU, (uint32_t)c->mtu);
	put_one_queue(nlh);
	mnl_attr_put_u32(nlh, IFLA_NET_NS_FD, (uint32_t)c->netns_fd);
	mnl_attr_nest_end(nlh, peer);
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
	code = netlink_talk(nl, nlh);
	if (code == -EEXIST)
		return err_errno(e, code, "cannot make interface %s", c->ifname);
	return code ? err_errno(e, code,
				"cannot make interface %s, a veth (modprobe veth; "
				"--net=slirp4netns does without)",
				c->ifname)
		    : 0;
}

/* Adds an address of the router's, and a default route to the command if gateway is not NULL. */
static int add_address(const char *ip, int prefix_len, const char *gateway, struct err *e)
{
	struct netif_config config = {
		.ifname = ROUTER_IFNAME, .ip = ip, .prefix_len = prefix_len, .gateway = gateway};

	return netif_configure(&config, e);
}

/* The command's loopback addresses are reached by the default route, so the router has none itself.
 */
static int delete_loopback(bool ipv6, struct err *e)
{
	struct netif_config lo = {
		.ifname = "lo", .ip = ipv6 ? "::1" : "127.0.0.1", .prefix_len = ipv6 ? 128 : 8};

	return netif_delete_address(&lo, e);
}

/* Without this, published ports that lead to ::1 are reached by the socket broker's sockets. */
static void take_answers_of_loopback(void)
{
	struct err e = {.code = 0};

	if (router_add_loopback(&e) < 0)
		log_debug("router: ::1 is not reached this way: %s", e.msg);
}

static int add_family(struct mnl_socket *nl, const struct router_config *c, bool ipv6,
		      struct err *e)
{
	const char *gateway = ipv6 ? c->gateway6 : c->gateway4, *dns = ipv6 ? c->dns6 : c->dns4;
	int code = add_address(gateway, ipv6 ? c->prefix_len6 : c->prefix_len4,
			       ipv6 ? c->inside6 : c->inside4, e);

	if (!code && strcmp(gateway, dns) != 0)
		code = add_address(dns, ipv6 ? 128 : 32, NULL, e);
	code = code ? code : delete_loopback(ipv6, e);
	if (code)
		return code;
	code = localroute_add_mark(nl, ipv6, ROUTER_MARK_ROUTED);
	if (code)
		return err_errno(e, code, "cannot add a routing rule (CONFIG_IP_MULTIPLE_TABLES)");
	code = localroute_add(nl, ipv6);
	return code ? err_errno(e, code, "cannot add a route") : 0;
}

int router_set_up(const struct router_config *config, enum router_queue *queue, struct err *e)
{
	auto_netlink struct mnl_socket *nl = netlink_open(NETLINK_ROUTE);
	int code;

	if (!nl)
		return err_errno(e, -errno, "cannot open a netlink socket");
	code = netif_loopback_up(e);
	if (code)
		return code;
	write_settings(settings, ARRAY_SIZE(settings));
	code = router_add_rules(config, queue, e);
	/* The pair comes last: it goes away with this namespace, so the command's is as it was when
	 * this fails. */
	code = code ? code : add_veth(nl, config, e);
	code = code ? code : add_family(nl, config, false, e);
	if (!code && config->gateway6)
		code = add_family(nl, config, true, e);
	if (!code && config->gateway6)
		take_answers_of_loopback();
	if (!code)
		router_tunnels(config);
	return code;
}
