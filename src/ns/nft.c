/* SPDX-License-Identifier: Apache-2.0 */
#include "ns/nft.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/xt_CHECKSUM.h>
#include <linux/netfilter/xt_NFQUEUE.h>
#include <netinet/in.h>
#include <netinet/ip6.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "ns/localroute.h"
#include "ns/netlink.h"

/* Our longest message is a rule of a dozen expressions. */
#define MESSAGE_BYTES_MAX 1024

/* Targets of iptables, and the revisions whose structs are used here. */
#define QUEUE_TARGET	  "NFQUEUE"
#define QUEUE_REVISION	  3
#define CHECKSUM_TARGET	  "CHECKSUM"
#define CHECKSUM_REVISION 0

/* Messages. */

static struct nlmsghdr *message(struct nft_batch *b, uint16_t type, uint16_t flags, uint8_t family,
				uint16_t res_id, const char *needs)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(b->buf + b->used);
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));

	assert(b->used + MESSAGE_BYTES_MAX <= sizeof(b->buf) && b->seq < NFT_BATCH_MESSAGES);
	b->needs[b->seq] = needs;
	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	nlh->nlmsg_seq = b->seq++;
	nfg->nfgen_family = family;
	nfg->version = NFNETLINK_V0;
	nfg->res_id = htons(res_id);
	return nlh;
}

static void finish(struct nft_batch *b, const struct nlmsghdr *nlh)
{
	assert(nlh->nlmsg_len <= MESSAGE_BYTES_MAX);
	b->used += NLMSG_ALIGN(nlh->nlmsg_len);
}

static void put_border(struct nft_batch *b, uint16_t type)
{
	finish(b, message(b, type, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES, "nf_tables"));
}

static struct nlmsghdr *command(struct nft_batch *b, unsigned type, uint16_t flags,
				const char *needs)
{
	b->last = message(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), NLM_F_CREATE | flags,
			  b->family, 0, needs);
	return b->last;
}

static void put_be32(struct nlmsghdr *nlh, uint16_t type, uint32_t value)
{
	mnl_attr_put_u32(nlh, type, htonl(value));
}

struct nft_batch *nft_batch_new(const char *table)
{
	return nft_batch_new_of(NFPROTO_INET, table);
}

struct nft_batch *nft_batch_new_of(uint8_t family, const char *table)
{
	struct nft_batch *b = calloc(1, sizeof(*b));
	struct nlmsghdr *nlh;

	if (!b)
		return NULL;
	b->family = family;
	b->table = table;
	put_border(b, NFNL_MSG_BATCH_BEGIN);
	nlh = command(b, NFT_MSG_NEWTABLE, 0, "nf_tables");
	mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, table);
	finish(b, nlh);
	return b;
}

/* ifname: the interface of a chain of the family netdev; NULL: none. */
static void put_chain(struct nft_batch *b, uint16_t flags, const char *name, unsigned hooknum,
		      int priority, const char *ifname)
{
	struct nlmsghdr *nlh = command(b, NFT_MSG_NEWCHAIN, flags, "nf_tables_inet");
	struct nlattr *hook;

	mnl_attr_put_strz(nlh, NFTA_CHAIN_TABLE, b->table);
	mnl_attr_put_strz(nlh, NFTA_CHAIN_NAME, name);
	mnl_attr_put_strz(nlh, NFTA_CHAIN_TYPE, "filter");
	hook = mnl_attr_nest_start(nlh, NFTA_CHAIN_HOOK);
	put_be32(nlh, NFTA_HOOK_HOOKNUM, hooknum);
	put_be32(nlh, NFTA_HOOK_PRIORITY, (uint32_t)priority);
	if (ifname)
		mnl_attr_put_strz(nlh, NFTA_HOOK_DEV, ifname);
	mnl_attr_nest_end(nlh, hook);
	finish(b, nlh);
}

void nft_chain(struct nft_batch *b, const char *name, int priority)
{
	put_chain(b, 0, name, NF_INET_PRE_ROUTING, priority, NULL);
}

void nft_chain_new(struct nft_batch *b, const char *name, unsigned hook, int priority)
{
	put_chain(b, NLM_F_EXCL, name, hook, priority, NULL);
}

void nft_chain_ingress(struct nft_batch *b, const char *name, const char *ifname)
{
	put_chain(b, NLM_F_EXCL, name, NF_NETDEV_INGRESS, 0, ifname);
}

void nft_counter(struct nft_batch *b, const char *name)
{
	struct nlmsghdr *nlh = command(b, NFT_MSG_NEWOBJ, 0, "nft_counter");

	mnl_attr_put_strz(nlh, NFTA_OBJ_TABLE, b->table);
	mnl_attr_put_strz(nlh, NFTA_OBJ_NAME, name);
	put_be32(nlh, NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER);
	mnl_attr_nest_end(nlh, mnl_attr_nest_start(nlh, NFTA_OBJ_DATA));
	finish(b, nlh);
}

/* Receives the kernel's first answer: an error of any message, or the acknowledgement of the last
 * command. 0 or -errno, with the message's number. */
static int take_answer(struct mnl_socket *nl, uint32_t *seq)
{
	char buf[NETLINK_ANSWER_BYTES];
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)buf;
	ssize_t n = netlink_receive(nl, buf, sizeof(buf));

	if (n < 0)
		return (int)n;
	if (!mnl_nlmsg_ok(nlh, (int)n) || nlh->nlmsg_type != NLMSG_ERROR ||
	    mnl_nlmsg_get_payload_len(nlh) < sizeof(struct nlmsgerr))
		return -EPROTO;
	*seq = nlh->nlmsg_seq;
	return ((const struct nlmsgerr *)mnl_nlmsg_get_payload(nlh))->error;
}

int nft_commit(struct nft_batch *b, struct err *e)
{
	auto_netlink struct mnl_socket *nl = netlink_open(NETLINK_NETFILTER);

	if (!nl)
		return err_errno(e, -errno, "cannot open a netfilter socket (modprobe nfnetlink)");
	return nft_commit_by(b, nl, e);
}

int nft_commit_by(struct nft_batch *b, struct mnl_socket *nl, struct err *e)
{
	uint32_t seq = 0;
	int code;

	b->last->nlmsg_flags |= NLM_F_ACK;
	put_border(b, NFNL_MSG_BATCH_END);
	netlink_drain(nl);
	if (mnl_socket_sendto(nl, b->buf, b->used) < 0)
		return err_errno(e, -errno, "cannot send nftables rules");
	code = take_answer(nl, &seq);
	if (!code)
		return 0;
	return err_errno(e, code, "cannot add nftables rules, which need %s (modprobe %s)",
			 seq < b->seq ? b->needs[seq] : "nf_tables",
			 seq < b->seq ? b->needs[seq] : "nf_tables");
}

int nft_commit_once(struct nft_batch *b, struct mnl_socket *nl, struct err *e)
{
	int code = nft_commit_by(b, nl, e);

	if (code != -EEXIST)
		return code;
	e->code = 0;
	return 0;
}

static int ask_for_target(struct mnl_socket *nl, const char *name, uint32_t revision)
{
	char buf[NETLINK_REQUEST_BYTES];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));

	nlh->nlmsg_type = NFNL_SUBSYS_NFT_COMPAT << 8 | NFNL_MSG_COMPAT_GET;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	nfg->nfgen_family = NFPROTO_IPV4; /* the kernel looks among those for all families, too */
	nfg->version = NFNETLINK_V0;
	mnl_attr_put_strz(nlh, NFTA_COMPAT_NAME, name);
	put_be32(nlh, NFTA_COMPAT_REV, revision);
	put_be32(nlh, NFTA_COMPAT_TYPE, 1); /* a target; 0 is a match */
	return mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0 ? -errno : 0;
}

/* The answer is what was asked for, or an error. */
static bool has_target(const char *name, uint32_t revision)
{
	auto_netlink struct mnl_socket *nl = netlink_open(NETLINK_NETFILTER);
	char buf[NETLINK_ANSWER_BYTES];
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)buf;
	ssize_t n;

	if (!nl || ask_for_target(nl, name, revision) < 0)
		return false;
	n = netlink_receive(nl, buf, sizeof(buf));
	return n > 0 && mnl_nlmsg_ok(nlh, (int)n) &&
	       nlh->nlmsg_type == (NFNL_SUBSYS_NFT_COMPAT << 8 | NFNL_MSG_COMPAT_GET);
}

bool nft_has_target_queue(void)
{
	return has_target(QUEUE_TARGET, QUEUE_REVISION);
}

bool nft_has_target_checksum(void)
{
	return has_target(CHECKSUM_TARGET, CHECKSUM_REVISION);
}

/* Rules. */

struct nft_rule nft_rule_begin(struct nft_batch *b, const char *chain, const char *needs)
{
	struct nft_rule r = {.batch = b};

	r.nlh = command(b, NFT_MSG_NEWRULE, NLM_F_APPEND, needs);
	mnl_attr_put_strz(r.nlh, NFTA_RULE_TABLE, b->table);
	mnl_attr_put_strz(r.nlh, NFTA_RULE_CHAIN, chain);
	r.list = mnl_attr_nest_start(r.nlh, NFTA_RULE_EXPRESSIONS);
	return r;
}

static void put_udp_alone(struct nlmsghdr *nlh)
{
	struct nlattr *compat = mnl_attr_nest_start(nlh, NFTA_RULE_COMPAT);

	put_be32(nlh, NFTA_RULE_COMPAT_PROTO, IPPROTO_UDP);
	put_be32(nlh, NFTA_RULE_COMPAT_FLAGS, 0);
	mnl_attr_nest_end(nlh, compat);
}

void nft_rule_end(struct nft_rule *r)
{
	mnl_attr_nest_end(r->nlh, r->list);
	if (r->udp_alone)
		put_udp_alone(r->nlh);
	finish(r->batch, r->nlh);
}

/* Expressions: a name and its data. */
struct expr {
	struct nlattr *elem, *data;
};

static struct expr expr_begin(struct nft_rule *r, const char *name)
{
	struct expr e = {.elem = mnl_attr_nest_start(r->nlh, NFTA_LIST_ELEM)};

	mnl_attr_put_strz(r->nlh, NFTA_EXPR_NAME, name);
	e.data = mnl_attr_nest_start(r->nlh, NFTA_EXPR_DATA);
	return e;
}

static void expr_end(struct nft_rule *r, struct expr e)
{
	mnl_attr_nest_end(r->nlh, e.data);
	mnl_attr_nest_end(r->nlh, e.elem);
}

static void put_value(struct nft_rule *r, uint16_t type, const void *value, size_t len)
{
	struct nlattr *data = mnl_attr_nest_start(r->nlh, type);

	mnl_attr_put(r->nlh, NFTA_DATA_VALUE, len, value);
	mnl_attr_nest_end(r->nlh, data);
}

static void put_meta(struct nft_rule *r, enum nft_meta_keys key, uint16_t reg_attr)
{
	struct expr e = expr_begin(r, "meta");

	put_be32(r->nlh, NFTA_META_KEY, key);
	put_be32(r->nlh, reg_attr, NFT_REG_1);
	expr_end(r, e);
}

void nft_meta(struct nft_rule *r, enum nft_meta_keys key)
{
	put_meta(r, key, NFTA_META_DREG);
}

void nft_mark(struct nft_rule *r)
{
	put_meta(r, NFT_META_MARK, NFTA_META_SREG);
}

static void set_register(struct nft_rule *r, uint32_t reg, const void *value, size_t len)
{
	struct expr e = expr_begin(r, "immediate");

	put_be32(r->nlh, NFTA_IMMEDIATE_DREG, reg);
	put_value(r, NFTA_IMMEDIATE_DATA, value, len);
	expr_end(r, e);
}

static void set_value(struct nft_rule *r, const void *value, size_t len)
{
	set_register(r, NFT_REG_1, value, len);
}

void nft_mark_with(struct nft_rule *r, uint32_t mark)
{
	set_value(r, &mark, sizeof(mark));
	nft_mark(r);
}

static void connection_mark(struct nft_rule *r, uint16_t reg_attr)
{
	struct expr e = expr_begin(r, "ct");

	put_be32(r->nlh, NFTA_CT_KEY, NFT_CT_MARK);
	put_be32(r->nlh, reg_attr, NFT_REG_1);
	expr_end(r, e);
}

void nft_connection_mark_with(struct nft_rule *r, uint32_t mark)
{
	set_value(r, &mark, sizeof(mark));
	connection_mark(r, NFTA_CT_SREG);
}

void nft_compare_connection_mark(struct nft_rule *r, uint32_t mark)
{
	connection_mark(r, NFTA_CT_DREG);
	nft_compare(r, NFT_CMP_EQ, &mark, sizeof(mark));
}

void nft_payload(struct nft_rule *r, enum nft_payload_bases base, uint32_t offset, uint32_t len)
{
	struct expr e = expr_begin(r, "payload");

	put_be32(r->nlh, NFTA_PAYLOAD_DREG, NFT_REG_1);
	put_be32(r->nlh, NFTA_PAYLOAD_BASE, base);
	put_be32(r->nlh, NFTA_PAYLOAD_OFFSET, offset);
	put_be32(r->nlh, NFTA_PAYLOAD_LEN, len);
	expr_end(r, e);
}

/* The offset of an address in the network header. */
static uint32_t address_offset(bool ipv6, bool source)
{
	if (ipv6)
		return source ? offsetof(struct ip6_hdr, ip6_src)
			      : offsetof(struct ip6_hdr, ip6_dst);
	return source ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr);
}

static size_t address_len(bool ipv6)
{
	return ipv6 ? sizeof(struct in6_addr) : sizeof(struct in_addr);
}

void nft_is_address(struct nft_rule *r, bool ipv6, bool source, const void *addr)
{
	nft_is_family(r, ipv6 ? NFPROTO_IPV6 : NFPROTO_IPV4);
	nft_payload(r, NFT_PAYLOAD_NETWORK_HEADER, address_offset(ipv6, source),
		    (uint32_t)address_len(ipv6));
	nft_compare(r, NFT_CMP_EQ, addr, address_len(ipv6));
}

void nft_is_loopback(struct nft_rule *r, bool ipv6, bool source)
{
	static const uint8_t net4 = IN_LOOPBACKNET;

	if (ipv6) {
		nft_is_address(r, ipv6, source, &in6addr_loopback);
		return;
	}
	nft_is_family(r, NFPROTO_IPV4);
	nft_payload(r, NFT_PAYLOAD_NETWORK_HEADER, address_offset(ipv6, source), sizeof(net4));
	nft_compare(r, NFT_CMP_EQ, &net4, sizeof(net4));
}

static void forward_to_lo(struct nft_rule *r, bool ipv6)
{
	/* Any address will do: the neighbours on lo all have its own link address. */
	static const uint8_t neighbour[sizeof(struct in6_addr)];
	uint32_t ifindex = LOOPBACK_IFINDEX;
	struct expr e;

	set_register(r, NFT_REG_1, &ifindex, sizeof(ifindex));
	set_register(r, NFT_REG_2, neighbour, address_len(ipv6));
	e = expr_begin(r, "fwd");
	put_be32(r->nlh, NFTA_FWD_SREG_DEV, NFT_REG_1);
	put_be32(r->nlh, NFTA_FWD_SREG_ADDR, NFT_REG_2);
	put_be32(r->nlh, NFTA_FWD_NFPROTO, ipv6 ? NFPROTO_IPV6 : NFPROTO_IPV4);
	expr_end(r, e);
}

void nft_loopback_by_lo(struct nft_batch *b, const char *chain, bool ipv6, bool source)
{
	struct nft_rule r = nft_rule_begin(b, chain, "nft_fwd_netdev");

	nft_is_loopback(&r, ipv6, source);
	forward_to_lo(&r, ipv6);
	nft_rule_end(&r);
}

void nft_socket_transparent(struct nft_rule *r)
{
	struct expr e = expr_begin(r, "socket");

	put_be32(r->nlh, NFTA_SOCKET_KEY, NFT_SOCKET_TRANSPARENT);
	put_be32(r->nlh, NFTA_SOCKET_DREG, NFT_REG_1);
	expr_end(r, e);
}

void nft_mask(struct nft_rule *r, const void *mask, size_t len)
{
	static const uint8_t zero[16];
	struct expr e = expr_begin(r, "bitwise");

	put_be32(r->nlh, NFTA_BITWISE_SREG, NFT_REG_1);
	put_be32(r->nlh, NFTA_BITWISE_DREG, NFT_REG_1);
	put_be32(r->nlh, NFTA_BITWISE_LEN, (uint32_t)len);
	put_value(r, NFTA_BITWISE_MASK, mask, len);
	put_value(r, NFTA_BITWISE_XOR, zero, len);
	expr_end(r, e);
}

void nft_hash(struct nft_rule *r, uint32_t len, uint32_t modulus, uint32_t first)
{
	struct expr e = expr_begin(r, "hash");

	put_be32(r->nlh, NFTA_HASH_SREG, NFT_REG_1);
	put_be32(r->nlh, NFTA_HASH_DREG, NFT_REG_1);
	put_be32(r->nlh, NFTA_HASH_LEN, len);
	put_be32(r->nlh, NFTA_HASH_MODULUS, modulus);
	put_be32(r->nlh, NFTA_HASH_OFFSET, first);
	put_be32(r->nlh, NFTA_HASH_TYPE, NFT_HASH_JENKINS);
	expr_end(r, e);
}

void nft_compare(struct nft_rule *r, enum nft_cmp_ops op, const void *value, size_t len)
{
	struct expr e = expr_begin(r, "cmp");

	put_be32(r->nlh, NFTA_CMP_SREG, NFT_REG_1);
	put_be32(r->nlh, NFTA_CMP_OP, op);
	put_value(r, NFTA_CMP_DATA, value, len);
	expr_end(r, e);
}

void nft_compare_meta(struct nft_rule *r, enum nft_meta_keys key, enum nft_cmp_ops op,
		      uint32_t value)
{
	nft_meta(r, key);
	nft_compare(r, op, &value, sizeof(value));
}

static void compare_meta8(struct nft_rule *r, enum nft_meta_keys key, uint8_t value)
{
	nft_meta(r, key);
	nft_compare(r, NFT_CMP_EQ, &value, sizeof(value));
}

void nft_is_proto(struct nft_rule *r, uint8_t proto)
{
	compare_meta8(r, NFT_META_L4PROTO, proto);
}

/* A chain of the family netdev gets packets of any protocol, and tells them apart by that of the
 * frame. */
void nft_is_family(struct nft_rule *r, uint8_t family)
{
	uint16_t frame = htons(family == NFPROTO_IPV6 ? ETH_P_IPV6 : ETH_P_IP);

	if (r->batch->family != NFPROTO_NETDEV) {
		compare_meta8(r, NFT_META_NFPROTO, family);
		return;
	}
	nft_meta(r, NFT_META_PROTOCOL);
	nft_compare(r, NFT_CMP_EQ, &frame, sizeof(frame));
}

void nft_tproxy(struct nft_rule *r, uint16_t port)
{
	uint16_t be = htons(port);
	struct expr e;

	set_value(r, &be, sizeof(be));
	e = expr_begin(r, "tproxy");
	put_be32(r->nlh, NFTA_TPROXY_FAMILY, NFPROTO_UNSPEC);
	put_be32(r->nlh, NFTA_TPROXY_REG_PORT, NFT_REG_1);
	expr_end(r, e);
}

void nft_reject(struct nft_rule *r, enum nft_reject_types type, uint8_t code)
{
	struct expr e = expr_begin(r, "reject");

	put_be32(r->nlh, NFTA_REJECT_TYPE, type);
	mnl_attr_put_u8(r->nlh, NFTA_REJECT_ICMP_CODE, code);
	expr_end(r, e);
}

void nft_count(struct nft_rule *r, const char *counter)
{
	struct expr e = expr_begin(r, "objref");

	put_be32(r->nlh, NFTA_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER);
	mnl_attr_put_strz(r->nlh, NFTA_OBJREF_IMM_NAME, counter);
	expr_end(r, e);
}

void nft_verdict(struct nft_rule *r, int verdict)
{
	struct expr e = expr_begin(r, "immediate");
	struct nlattr *data, *inner;

	put_be32(r->nlh, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	data = mnl_attr_nest_start(r->nlh, NFTA_IMMEDIATE_DATA);
	inner = mnl_attr_nest_start(r->nlh, NFTA_DATA_VERDICT);
	put_be32(r->nlh, NFTA_VERDICT_CODE, (uint32_t)verdict);
	mnl_attr_nest_end(r->nlh, inner);
	mnl_attr_nest_end(r->nlh, data);
	expr_end(r, e);
}

static void put_target(struct nft_rule *r, const char *name, uint32_t revision, const void *info,
		       size_t len)
{
	struct expr e = expr_begin(r, "target");

	mnl_attr_put_strz(r->nlh, NFTA_TARGET_NAME, name);
	put_be32(r->nlh, NFTA_TARGET_REV, revision);
	mnl_attr_put(r->nlh, NFTA_TARGET_INFO, len, info);
	expr_end(r, e);
}

static void queue_by_target(struct nft_rule *r, uint16_t number)
{
	/* x_tables counts sizes in units of 8 bytes. */
	union {
		struct xt_NFQ_info_v3 info;
		uint64_t aligned;
	} u = {.info = {.queuenum = number, .queues_total = 1}};

	put_target(r, QUEUE_TARGET, QUEUE_REVISION, &u, sizeof(u));
}

void nft_queue(struct nft_rule *r, uint16_t number, bool by_target)
{
	struct expr e;

	if (by_target) {
		queue_by_target(r, number);
		return;
	}
	e = expr_begin(r, "queue");
	mnl_attr_put_u16(r->nlh, NFTA_QUEUE_NUM, htons(number));
	mnl_attr_put_u16(r->nlh, NFTA_QUEUE_TOTAL, htons(1));
	expr_end(r, e);
}

void nft_fill_checksum(struct nft_rule *r)
{
	union {
		struct xt_CHECKSUM_info info;
		uint64_t aligned;
	} u = {.info = {.operation = XT_CHECKSUM_OP_FILL}};

	put_target(r, CHECKSUM_TARGET, CHECKSUM_REVISION, &u, sizeof(u));
	/* Without this, the kernel logs a warning. */
	r->udp_alone = true;
}
