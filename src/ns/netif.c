/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rtnetlink(7). Runs in the child, which has CAP_NET_ADMIN over its network namespace.
 */
#include "ns/netif.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "ns/netlink.h"
#include "ns/sysctl.h"

static int link_change(struct mnl_socket *nl, unsigned ifindex, int mtu, bool up)
{
	char buf[NETLINK_REQUEST_BYTES];
	struct nlmsghdr *nlh = netlink_request(buf, RTM_NEWLINK, 0);
	struct ifinfomsg *link = mnl_nlmsg_put_extra_header(nlh, sizeof(*link));

	link->ifi_family = AF_UNSPEC;
	link->ifi_index = (int)ifindex;
	if (up)
		link->ifi_flags = link->ifi_change = IFF_UP;
	if (mtu)
		mnl_attr_put_u32(nlh, IFLA_MTU, (uint32_t)mtu);
	return netlink_talk(nl, nlh);
}

/* type: RTM_NEWADDR or RTM_DELADDR. */
static int address_change(struct mnl_socket *nl, uint16_t type, unsigned ifindex,
			  const struct netlink_address *ip, int prefix_len)
{
	char buf[NETLINK_REQUEST_BYTES];
	struct nlmsghdr *nlh =
		netlink_request(buf, type, type == RTM_NEWADDR ? NLM_F_CREATE | NLM_F_EXCL : 0);
	struct ifaddrmsg *ifa = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifa));

	ifa->ifa_family = ip->family;
	ifa->ifa_prefixlen = (unsigned char)prefix_len;
	ifa->ifa_scope = RT_SCOPE_UNIVERSE;
	ifa->ifa_index = ifindex;
	/* Duplicate address detection is off: nobody else is on this link, and a tentative address
	 * cannot be bound yet. */
	if (ip->family == AF_INET6)
		mnl_attr_put_u32(nlh, IFA_FLAGS, IFA_F_NODAD);
	mnl_attr_put(nlh, IFA_LOCAL, ip->len, ip->bytes);
	mnl_attr_put(nlh, IFA_ADDRESS, ip->len, ip->bytes);
	return netlink_talk(nl, nlh);
}

/* type: RTM_NEWROUTE, with NLM_F_EXCL or NLM_F_REPLACE, or RTM_DELROUTE. */
static int default_route_change(struct mnl_socket *nl, uint16_t type, uint16_t flags,
				unsigned ifindex, const struct netlink_address *gateway)
{
	char buf[NETLINK_REQUEST_BYTES];
	struct nlmsghdr *nlh = netlink_request(buf, type, flags);
	struct rtmsg *rt = mnl_nlmsg_put_extra_header(nlh, sizeof(*rt));

	rt->rtm_family = gateway->family;
	rt->rtm_table = RT_TABLE_MAIN;
	rt->rtm_protocol = RTPROT_BOOT;
	rt->rtm_scope = RT_SCOPE_UNIVERSE;
	rt->rtm_type = RTN_UNICAST;
	mnl_attr_put(nlh, RTA_GATEWAY, gateway->len, gateway->bytes);
	mnl_attr_put_u32(nlh, RTA_OIF, ifindex);
	return netlink_talk(nl, nlh);
}

int netif_up(const char *ifname, struct err *e)
{
	auto_netlink struct mnl_socket *nl = NULL;
	unsigned ifindex = 0;
	int code = netlink_open_interface(ifname, &nl, &ifindex, e);

	if (code < 0)
		return code;
	code = link_change(nl, ifindex, 0, true);
	return code < 0 ? err_errno(e, code, "cannot bring %s up", ifname) : 0;
}

int netif_loopback_up(struct err *e)
{
	return netif_up("lo", e);
}

static int parse_ip(const struct netif_config *c, struct netlink_address *ip, struct err *e)
{
	int code = netlink_parse_address(c->ip, ip, e);

	if (code == 0 && (c->prefix_len < 0 || c->prefix_len > (int)ip->len * 8))
		code = err_set(e, -EINVAL, "%s/%d: no such prefix length", c->ip, c->prefix_len);
	return code < 0 ? err_wrap(e, code, "address of %s", c->ifname) : 0;
}

static void set_ipv6(const char *ifname, const char *setting)
{
	char name[sizeof("ipv6/conf//disable_ipv6") + IFNAMSIZ];

	snprintf(name, sizeof(name), "ipv6/conf/%s/%s", ifname, setting);
	sysctl_set(name, "0\n", NULL);
}

/* New namespaces inherit it when the host has switched IPv6 off (devconf_inherit_init_net). Where
 * this cannot switch it on, the kernel refuses the address, and the message says so.
 *
 * Whether somebody else has the interface's own address (fe80::) need not be asked on a link with
 * two ends. The question takes a second or two, in which nothing from ::1 finds its way out. */
static void prepare_ipv6(const char *ifname)
{
	set_ipv6(ifname, "disable_ipv6");
	set_ipv6(ifname, "accept_dad");
}

static int add_address(struct mnl_socket *nl, unsigned ifindex, const struct netif_config *c,
		       struct err *e)
{
	struct netlink_address ip;
	int code = parse_ip(c, &ip, e);

	if (code < 0)
		return code;
	if (ip.family == AF_INET6)
		prepare_ipv6(c->ifname);
	code = address_change(nl, RTM_NEWADDR, ifindex, &ip, c->prefix_len);
	if (code < 0)
		return err_errno(e, code, "cannot add address %s/%d to %s", c->ip, c->prefix_len,
				 c->ifname);
	return 0;
}

static int delete_address(struct mnl_socket *nl, unsigned ifindex, const struct netif_config *c,
			  struct err *e)
{
	struct netlink_address ip;
	int code = parse_ip(c, &ip, e);

	if (code < 0)
		return code;
	code = address_change(nl, RTM_DELADDR, ifindex, &ip, c->prefix_len);
	if (code < 0 && code != -EADDRNOTAVAIL)
		return err_errno(e, code, "cannot take address %s/%d from %s", c->ip, c->prefix_len,
				 c->ifname);
	return 0;
}

int netif_delete_address(const struct netif_config *c, struct err *e)
{
	auto_netlink struct mnl_socket *nl = NULL;
	unsigned ifindex = 0;
	int code = netlink_open_interface(c->ifname, &nl, &ifindex, e);

	return code < 0 ? code : delete_address(nl, ifindex, c, e);
}

/* flags: NLM_F_EXCL, or NLM_F_REPLACE for a route that may be there. */
static int add_gateway(struct mnl_socket *nl, unsigned ifindex, const struct netif_config *c,
		       uint16_t flags, struct err *e)
{
	struct netlink_address gateway;
	int code = netlink_parse_address(c->gateway, &gateway, e);

	if (code < 0)
		return err_wrap(e, code, "gateway of %s", c->ifname);
	code = default_route_change(nl, RTM_NEWROUTE, (uint16_t)(NLM_F_CREATE | flags), ifindex,
				    &gateway);
	if (code < 0)
		return err_errno(e, code, "cannot add the default route via %s on %s", c->gateway,
				 c->ifname);
	return 0;
}

int netif_configure(const struct netif_config *c, struct err *e)
{
	auto_netlink struct mnl_socket *nl = NULL;
	unsigned ifindex = 0;
	int code = netlink_open_interface(c->ifname, &nl, &ifindex, e);

	if (code < 0)
		return code;
	if (c->mtu) {
		code = link_change(nl, ifindex, c->mtu, false);
		if (code < 0)
			return err_errno(e, code, "cannot set the MTU of %s to %d", c->ifname,
					 c->mtu);
	}
	if (c->ip && *c->ip)
		code = add_address(nl, ifindex, c, e);
	if (code < 0)
		return code;
	code = link_change(nl, ifindex, 0, true);
	if (code < 0)
		return err_errno(e, code, "cannot bring %s up", c->ifname);
	return c->gateway && *c->gateway ? add_gateway(nl, ifindex, c, NLM_F_EXCL, e) : 0;
}

static int delete_gateway(struct mnl_socket *nl, unsigned ifindex, const struct netif_config *c,
			  struct err *e)
{
	struct netlink_address gateway;
	int code = netlink_parse_address(c->gateway, &gateway, e);

	if (code < 0)
		return err_wrap(e, code, "gateway of %s", c->ifname);
	code = default_route_change(nl, RTM_DELROUTE, 0, ifindex, &gateway);
	if (code < 0 && code != -ESRCH)
		return err_errno(e, code, "cannot take the default route via %s from %s",
				 c->gateway, c->ifname);
	return 0;
}

int netif_readdress(const struct netif_config *from, const struct netif_config *to, struct err *e)
{
	auto_netlink struct mnl_socket *nl = NULL;
	unsigned ifindex = 0;
	int code = netlink_open_interface(to->ifname, &nl, &ifindex, e);

	if (code < 0)
		return code;
	/* The old address goes first. Otherwise a new one of the same network would become its
	 * secondary address, and be removed with it. */
	if (strcmp(from->ip, to->ip) != 0 || from->prefix_len != to->prefix_len) {
		code = delete_address(nl, ifindex, from, e);
		code = code ? code : add_address(nl, ifindex, to, e);
	}
	if (!code && to->gateway && *to->gateway)
		code = add_gateway(nl, ifindex, to, NLM_F_REPLACE, e);
	else if (!code && from->gateway && *from->gateway)
		code = delete_gateway(nl, ifindex, from, e);
	return code;
}

static int set_mac(const char *ifname, const uint8_t *mac, struct err *e)
{
	auto_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {.ifr_hwaddr.sa_family = ARPHRD_ETHER};

	if (fd < 0)
		return err_errno(e, -errno, "socket");
	memcpy(ifr.ifr_name, ifname, strlen(ifname) + 1);
	memcpy(ifr.ifr_hwaddr.sa_data, mac, ETH_ALEN);
	if (ioctl(fd, SIOCSIFHWADDR, &ifr) < 0)
		return err_errno(e, -errno, "cannot set the MAC address of %s", ifname);
	return 0;
}

int netif_tap_open(const char *ifname, const uint8_t *mac, int *out, struct err *e)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	auto_fd int fd = -1;
	int code;

	if (!*ifname || strlen(ifname) >= sizeof(ifr.ifr_name))
		return err_set(e, -EINVAL,
			       "\"%.64s\" is no name for an interface: 1 to %zu characters", ifname,
			       sizeof(ifr.ifr_name) - 1);
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return err_errno(
			e, -errno,
			"cannot open /dev/net/tun, which must be there (sudo modprobe tun) and "
			"readable and writable for you (sudo chmod 0666 /dev/net/tun)");
	memcpy(ifr.ifr_name, ifname, strlen(ifname) + 1);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		return err_errno(e, -errno, "cannot make tap device %s: TUNSETIFF", ifname);
	if (ioctl(fd, TUNSETPERSIST, 1) < 0)
		return err_errno(e, -errno, "cannot keep tap device %s: TUNSETPERSIST", ifname);
	code = mac ? set_mac(ifname, mac, e) : 0;
	if (code < 0)
		return code;
	*out = steal_fd(&fd);
	return 0;
}

int netif_tap_create(const char *ifname, struct err *e)
{
	auto_fd int fd = -1;

	return netif_tap_open(ifname, NULL, &fd, e);
}
