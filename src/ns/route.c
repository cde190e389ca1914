/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks rtnetlink(7) for routes, by libmnl. Needs no capability.
 */
#include "ns/route.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>

#include "ns/netlink.h"

struct reading {
	struct route *out;
	bool found;
};

static int read_attribute(const struct nlattr *attr, void *arg)
{
	struct route *out = arg;

	switch (mnl_attr_get_type(attr)) {
	case RTA_GATEWAY:
	case RTA_VIA:
	case RTA_MULTIPATH:
	case RTA_ENCAP:
		out->gateway = true;
		break;
	case RTA_OIF:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) < 0)
			return MNL_CB_ERROR;
		out->ifindex = mnl_attr_get_u32(attr);
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}

static int read_message(const struct nlmsghdr *nlh, void *arg)
{
	struct reading *r = arg;
	const struct rtmsg *rt = mnl_nlmsg_get_payload(nlh);

	if (nlh->nlmsg_type != RTM_NEWROUTE || mnl_nlmsg_get_payload_len(nlh) < sizeof(*rt))
		return MNL_CB_OK;
	*r->out = (struct route){.type = rt->rtm_type};
	r->found = true;
	return netlink_attributes(nlh, sizeof(*rt), read_attribute, r->out);
}

int route_read(const void *buf, size_t len, struct route *out)
{
	struct reading r = {.out = out};
	int code;

	/* Any number and sender will do: the socket has asked only once, so no other answer can be
	 * there. */
	code = netlink_read(buf, len, 0, 0, read_message, &r);
	if (code)
		return code;
	return r.found ? 0 : -EPROTO;
}

static int talk(struct mnl_socket *nl, const struct nlmsghdr *nlh, struct route *out)
{
	char buf[NETLINK_ANSWER_BYTES];
	ssize_t n = netlink_ask(nl, nlh, buf, sizeof(buf));

	return n < 0 ? (int)n : route_read(buf, (size_t)n, out);
}

int route_look_up(const char *ip, struct route *out, struct err *e)
{
	auto_netlink struct mnl_socket *nl = netlink_open(NETLINK_ROUTE);
	struct nlmsghdr *nlh;
	struct netlink_address to;
	char buf[NETLINK_REQUEST_BYTES];
	struct rtmsg *rt;
	int code = netlink_parse_address(ip, &to, e);

	if (code < 0)
		return code;
	if (!nl)
		return err_errno(e, -errno, "cannot open a netlink socket");
	nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = RTM_GETROUTE;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	rt = mnl_nlmsg_put_extra_header(nlh, sizeof(*rt));
	rt->rtm_family = to.family;
	rt->rtm_dst_len = (unsigned char)(to.len * 8);
	mnl_attr_put(nlh, RTA_DST, to.len, to.bytes);
	code = talk(nl, nlh, out);
	return code < 0 ? err_errno(e, code, "no route to %s", ip) : 0;
}

static bool same_address(const struct sockaddr *sa, const struct netlink_address *a)
{
	if (!sa || sa->sa_family != a->family)
		return false;
	if (a->family == AF_INET)
		return !memcmp(&((const struct sockaddr_in *)sa)->sin_addr, a->bytes, a->len);
	return !memcmp(&((const struct sockaddr_in6 *)sa)->sin6_addr, a->bytes, a->len);
}

/* The number of the device that has the address; 0 when none has. */
static unsigned device_of(const char *ip)
{
	struct netlink_address addr;
	struct ifaddrs *all, *a;
	unsigned ifindex = 0;

	if (!ip || netlink_parse_address(ip, &addr, NULL) < 0 || getifaddrs(&all) < 0)
		return 0;
	for (a = all; a && !ifindex; a = a->ifa_next)
		if (same_address(a->ifa_addr, &addr))
			ifindex = if_nametoindex(a->ifa_name);
	freeifaddrs(all);
	return ifindex;
}

int route_is_neighbour(const char *ip, const char *uplink_ip, struct err *e)
{
	struct route route = {.type = RTN_UNSPEC};
	struct in6_addr a6;
	int code = route_look_up(ip, &route, e);

	if (code < 0)
		return code;
	if (inet_pton(AF_INET6, ip, &a6) == 1 && IN6_IS_ADDR_LINKLOCAL(&a6))
		return err_set(e, -EHOSTUNREACH,
			       "%s is an address of one link, and it is not said of "
			       "which",
			       ip);
	if (route.type != RTN_UNICAST || route.ifindex == 0)
		return err_set(e, -EHOSTUNREACH, "%s is not the address of another machine", ip);
	if (route.gateway)
		return err_set(e, -EHOSTUNREACH, "%s is behind a gateway", ip);
	if (route.ifindex == if_nametoindex("lo"))
		return err_set(e, -EHOSTUNREACH, "%s is on the loopback interface", ip);
	if (route.ifindex == device_of(uplink_ip))
		return err_set(e, -EHOSTUNREACH, "%s is on the network outside of the namespace",
			       ip);
	return 0;
}
