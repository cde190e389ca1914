/* SPDX-License-Identifier: Apache-2.0 */
#include "ns/localroute.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "ns/netlink.h"

#define TABLE 0x524b54

static uint8_t family_of(bool ipv6)
{
	return ipv6 ? AF_INET6 : AF_INET;
}

int localroute_talk(struct mnl_socket *nl, const struct nlmsghdr *nlh)
{
	int code = netlink_talk(nl, nlh);

	return code == -EEXIST ? 0 : code;
}

struct nlmsghdr *localroute_rule_for(void *buf, bool ipv6, uint8_t src_len, uint32_t priority,
				     uint32_t table)
{
	struct nlmsghdr *nlh = netlink_request(buf, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL);
	struct fib_rule_hdr *rule = mnl_nlmsg_put_extra_header(nlh, sizeof(*rule));

	rule->family = family_of(ipv6);
	rule->action = FR_ACT_TO_TBL;
	rule->src_len = src_len;
	mnl_attr_put_u32(nlh, FRA_PRIORITY, priority);
	mnl_attr_put_u32(nlh, FRA_TABLE, table);
	return nlh;
}

struct nlmsghdr *localroute_rule(void *buf, bool ipv6, uint8_t src_len, uint32_t priority)
{
	return localroute_rule_for(buf, ipv6, src_len, priority, TABLE);
}

int localroute_add_mark(struct mnl_socket *nl, bool ipv6, uint32_t mark)
{
	char buf[NETLINK_REQUEST_BYTES];
	struct nlmsghdr *nlh = localroute_rule(buf, ipv6, 0, LOCALROUTE_PRIORITY);

	mnl_attr_put_u32(nlh, FRA_FWMARK, mark);
	return localroute_talk(nl, nlh);
}

int localroute_add(struct mnl_socket *nl, bool ipv6)
{
	char buf[NETLINK_REQUEST_BYTES];
	struct nlmsghdr *nlh = netlink_request(buf, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
	struct rtmsg *rt = mnl_nlmsg_put_extra_header(nlh, sizeof(*rt));

	rt->rtm_family = family_of(ipv6);
	rt->rtm_protocol = RTPROT_STATIC;
	rt->rtm_scope = RT_SCOPE_HOST;
	rt->rtm_type = RTN_LOCAL;
	mnl_attr_put_u32(nlh, RTA_TABLE, TABLE);
	mnl_attr_put_u32(nlh, RTA_OIF, LOOPBACK_IFINDEX);
	return localroute_talk(nl, nlh);
}
