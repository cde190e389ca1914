/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "ns/netlink.h"
#include "ns/transparent.h"

/*
 * What nft(8) would call
 *
 *   table inet rootlesskit {
 *     chain answers {
 *       type filter hook prerouting priority mangle;
 *       iif != lo meta l4proto tcp socket transparent 1 meta mark set 0x524b5450
 *     }
 *   }
 *
 * sent to the kernel as one transaction (linux/netfilter/nf_tables.h). The kernel looks for the
 * socket that a packet belongs to: no list of ports is needed, and a packet that belongs to none is
 * left alone.
 */

#define TABLE_NAME "rootlesskit"
#define CHAIN_NAME "answers"

/* Before the routing decision: NF_IP_PRI_MANGLE. */
#define PRIORITY (-150)

#define BATCH_BYTES 2048

struct batch {
	char buf[BATCH_BYTES];
	size_t used;
	uint32_t seq;
};

static struct nlmsghdr *message(struct batch *b, uint16_t type, uint16_t flags, uint8_t family,
				uint16_t res_id)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(b->buf + b->used);
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	nlh->nlmsg_seq = ++b->seq;
	nfg->nfgen_family = family;
	nfg->version = NFNETLINK_V0;
	nfg->res_id = htons(res_id);
	return nlh;
}

static void finish(struct batch *b, const struct nlmsghdr *nlh)
{
	b->used += NLMSG_ALIGN(nlh->nlmsg_len);
}

static void put_border(struct batch *b, uint16_t type)
{
	finish(b, message(b, type, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
}

static struct nlmsghdr *command(struct batch *b, unsigned type, uint16_t flags)
{
	return message(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), NLM_F_CREATE | flags,
		       NFPROTO_INET, 0);
}

static void put_be32(struct nlmsghdr *nlh, uint16_t type, uint32_t value)
{
	mnl_attr_put_u32(nlh, type, htonl(value));
}

static void put_table(struct batch *b)
{
	struct nlmsghdr *nlh = command(b, NFT_MSG_NEWTABLE, 0);

	mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, TABLE_NAME);
	finish(b, nlh);
}

static void put_chain(struct batch *b)
{
	struct nlmsghdr *nlh = command(b, NFT_MSG_NEWCHAIN, 0);
	struct nlattr *hook;

	mnl_attr_put_strz(nlh, NFTA_CHAIN_TABLE, TABLE_NAME);
	mnl_attr_put_strz(nlh, NFTA_CHAIN_NAME, CHAIN_NAME);
	mnl_attr_put_strz(nlh, NFTA_CHAIN_TYPE, "filter");
	hook = mnl_attr_nest_start(nlh, NFTA_CHAIN_HOOK);
	put_be32(nlh, NFTA_HOOK_HOOKNUM, NF_INET_PRE_ROUTING);
	put_be32(nlh, NFTA_HOOK_PRIORITY, (uint32_t)PRIORITY);
	mnl_attr_nest_end(nlh, hook);
	finish(b, nlh);
}

/* Expressions of a rule: a name and its data. */
struct expr {
	struct nlattr *elem, *data;
};

static struct expr expr_begin(struct nlmsghdr *nlh, const char *name)
{
	struct expr e = {.elem = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM)};

	mnl_attr_put_strz(nlh, NFTA_EXPR_NAME, name);
	e.data = mnl_attr_nest_start(nlh, NFTA_EXPR_DATA);
	return e;
}

static void expr_end(struct nlmsghdr *nlh, struct expr e)
{
	mnl_attr_nest_end(nlh, e.data);
	mnl_attr_nest_end(nlh, e.elem);
}

static void put_meta(struct nlmsghdr *nlh, uint32_t key, uint16_t reg_attr)
{
	struct expr e = expr_begin(nlh, "meta");

	put_be32(nlh, NFTA_META_KEY, key);
	put_be32(nlh, reg_attr, NFT_REG_1);
	expr_end(nlh, e);
}

static void put_socket(struct nlmsghdr *nlh)
{
	struct expr e = expr_begin(nlh, "socket");

	put_be32(nlh, NFTA_SOCKET_KEY, NFT_SOCKET_TRANSPARENT);
	put_be32(nlh, NFTA_SOCKET_DREG, NFT_REG_1);
	expr_end(nlh, e);
}

static void put_value(struct nlmsghdr *nlh, uint16_t type, const void *value, size_t len)
{
	struct nlattr *data = mnl_attr_nest_start(nlh, type);

	mnl_attr_put(nlh, NFTA_DATA_VALUE, len, value);
	mnl_attr_nest_end(nlh, data);
}

static void put_compare(struct nlmsghdr *nlh, uint32_t op, const void *value, size_t len)
{
	struct expr e = expr_begin(nlh, "cmp");

	put_be32(nlh, NFTA_CMP_SREG, NFT_REG_1);
	put_be32(nlh, NFTA_CMP_OP, op);
	put_value(nlh, NFTA_CMP_DATA, value, len);
	expr_end(nlh, e);
}

static void put_load(struct nlmsghdr *nlh, const void *value, size_t len)
{
	struct expr e = expr_begin(nlh, "immediate");

	put_be32(nlh, NFTA_IMMEDIATE_DREG, NFT_REG_1);
	put_value(nlh, NFTA_IMMEDIATE_DATA, value, len);
	expr_end(nlh, e);
}

static void put_rule(struct batch *b)
{
	struct nlmsghdr *nlh = command(b, NFT_MSG_NEWRULE, NLM_F_APPEND | NLM_F_ACK);
	uint32_t lo = if_nametoindex("lo"), mark = TRANSPARENT_MARK;
	uint8_t tcp = IPPROTO_TCP, yes = 1;
	struct nlattr *list;

	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, TABLE_NAME);
	mnl_attr_put_strz(nlh, NFTA_RULE_CHAIN, CHAIN_NAME);
	list = mnl_attr_nest_start(nlh, NFTA_RULE_EXPRESSIONS);
	put_meta(nlh, NFT_META_IIF, NFTA_META_DREG);
	put_compare(nlh, NFT_CMP_NEQ, &lo, sizeof(lo));
	put_meta(nlh, NFT_META_L4PROTO, NFTA_META_DREG);
	put_compare(nlh, NFT_CMP_EQ, &tcp, sizeof(tcp));
	put_socket(nlh);
	put_compare(nlh, NFT_CMP_EQ, &yes, sizeof(yes));
	put_load(nlh, &mark, sizeof(mark));
	put_meta(nlh, NFT_META_MARK, NFTA_META_SREG);
	mnl_attr_nest_end(nlh, list);
	finish(b, nlh);
}

int transparent_mark_answers(struct err *e)
{
	auto_netlink struct mnl_socket *nl = netlink_open(NETLINK_NETFILTER);
	struct batch b = {.used = 0};
	int code;

	if (!nl)
		return err_errno(e, -errno, "cannot open a netfilter socket");
	put_border(&b, NFNL_MSG_BATCH_BEGIN);
	put_table(&b);
	put_chain(&b);
	put_rule(&b);
	put_border(&b, NFNL_MSG_BATCH_END);
	if (mnl_socket_sendto(nl, b.buf, b.used) < 0)
		return err_errno(e, -errno, "cannot send an nftables rule");
	/* The error of any message in it, or the rule's acknowledgement. */
	code = netlink_acknowledged(nl, 0);
	return code ? err_errno(e, code, "cannot add an nftables rule") : 0;
}
