/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/log.h"
#include "ns/localroute.h"
#include "ns/nft.h"
#include "ns/router.h"

/*
 * The rules, as nft(8) would show them with two workers:
 *
 *   table inet router {
 *     chain gate {
 *       type filter hook prerouting priority raw - 1
 *       iifname != "inside" accept
 *       mark != 0 accept                               # sent round again by a verdict
 *       tcp flags syn / fin,syn,rst,ack mark set jhash th sport . th dport mod 2 offset ACCEPT
 *       (ip daddr gateway accept, and so on: the router answers pings of its own addresses)
 *       icmp type echo-request mark set jhash icmp id mod 2 offset ACCEPT
 *       mark ACCEPT+0 queue to 0
 *       mark ACCEPT+1 queue to 1
 *     }
 *     chain route {
 *       type filter hook prerouting priority mangle
 *       iif lo socket transparent 1 mark set ROUTED accept
 *       iifname != "inside" accept
 *       mark REFUSED reject with tcp reset
 *       mark UNREACHABLE_HOST reject with icmpx host-unreachable, and so on
 *       mark ACCEPT+0 tproxy to :TCP_PORT+0 mark set ROUTED accept
 *       mark ACCEPT+1 tproxy to :TCP_PORT+1 mark set ROUTED accept
 *       meta l4proto tcp socket transparent 1 mark set ROUTED accept    # SOCKET_LOOKUPS times
 *       meta l4proto tcp reject with tcp reset
 *       icmpv6 type { neighbour discovery } accept
 *       meta pkttype != host drop
 *       meta l4proto udp tproxy to :UDP_PORT mark set ROUTED accept
 *       icmp type { errors } mark set ROUTED accept
 *       (pings of the router's own addresses accept, all others drop)
 *       counter name refused reject with icmp prot-unreachable
 *     }
 *   }
 *   table netdev router {
 *     chain loopback {
 *       type filter hook ingress device inside priority 0
 *       ip6 saddr ::1 fwd ip6 to :: device lo
 *     }
 *   }
 *
 * For TCP only the ports choose the worker, so when the first packet of a connection is repeated,
 * it meets the worker that knows the connection. For UDP the kernel chooses among the sockets of
 * UDP_PORT, by the datagram's source and by our own address and port. So an address and port inside
 * always has the same worker, whatever it writes to.
 *
 * Answers from loopback addresses of the command's namespace are for sockets of the way in. The
 * kernel takes a packet from ::1 by lo alone, so it is sent there.
 */

#define PRIORITY_GATE  (-301) /* after defragmentation: NF_IP_PRI_CONNTRACK_DEFRAG is -400 */
#define PRIORITY_ROUTE (-150) /* NF_IP_PRI_MANGLE */

/* Before Linux 6.19 a lookup misses a connection while its request socket is being replaced by its
 * socket. A client on another CPU whose data come right behind its last packet of the handshake
 * meets that moment, which takes some nanoseconds, in one of thousands of connections. So a packet
 * for which there is no socket is looked up again before it is answered with a reset. */
#define SOCKET_LOOKUPS 3

#define TCP_FLAGS_OFFSET 13
#define TH_ECHO_ID	 4

static struct nft_rule begin(struct nft_batch *b, const char *chain, const char *needs)
{
	return nft_rule_begin(b, chain, needs);
}

static void end(struct nft_rule *r, int verdict)
{
	nft_verdict(r, verdict);
	nft_rule_end(r);
}

static void put_socket(struct nft_rule *r)
{
	static const uint8_t yes = 1;

	nft_socket_transparent(r);
	nft_compare(r, NFT_CMP_EQ, &yes, sizeof(yes));
	nft_mark_with(r, ROUTER_MARK_ROUTED);
	end(r, NF_ACCEPT);
}

static void put_from_lo(struct nft_batch *b)
{
	struct nft_rule r = begin(b, "route", "nft_socket");

	nft_compare_meta(&r, NFT_META_IIF, NFT_CMP_EQ, LOOPBACK_IFINDEX);
	put_socket(&r);
}

/* Packets from other interfaces are no business of these rules. */
static void put_others(struct nft_batch *b, const char *chain)
{
	static const char name[IFNAMSIZ] = ROUTER_IFNAME;
	struct nft_rule r = begin(b, chain, "nf_tables");

	nft_meta(&r, NFT_META_IIFNAME);
	nft_compare(&r, NFT_CMP_NEQ, name, sizeof(name));
	end(&r, NF_ACCEPT);
}

static void match_type(struct nft_rule *r, uint8_t proto, uint8_t type)
{
	nft_is_proto(r, proto);
	nft_payload(r, NFT_PAYLOAD_TRANSPORT_HEADER, 0, sizeof(type));
	nft_compare(r, NFT_CMP_EQ, &type, sizeof(type));
}

/* Marks the packet for a worker, by a hash of some bytes of the transport header. */
static void choose_worker(struct nft_rule *r, const struct router_config *c, uint32_t offset,
			  uint32_t len)
{
	if (c->workers == 1) {
		nft_mark_with(r, ROUTER_MARK_ACCEPT);
		return;
	}
	nft_payload(r, NFT_PAYLOAD_TRANSPORT_HEADER, offset, len);
	nft_hash(r, len, c->workers, ROUTER_MARK_ACCEPT);
	nft_mark(r);
}

static void put_syn(struct nft_batch *b, const struct router_config *c)
{
	static const uint8_t mask = TH_FIN | TH_SYN | TH_RST | TH_ACK, syn = TH_SYN;
	struct nft_rule r = begin(b, "gate", "nft_hash");

	nft_is_proto(&r, IPPROTO_TCP);
	nft_payload(&r, NFT_PAYLOAD_TRANSPORT_HEADER, TCP_FLAGS_OFFSET, sizeof(syn));
	nft_mask(&r, &mask, sizeof(mask));
	nft_compare(&r, NFT_CMP_EQ, &syn, sizeof(syn));
	choose_worker(&r, c, 0, 4);
	nft_rule_end(&r);
}

static void put_echo(struct nft_batch *b, const struct router_config *c, uint8_t proto,
		     uint8_t type)
{
	struct nft_rule r = begin(b, "gate", "nft_hash");

	match_type(&r, proto, type);
	choose_worker(&r, c, TH_ECHO_ID, 2);
	nft_rule_end(&r);
}

/* Matches the destination address, in text, of either family. */
static void match_destination(struct nft_rule *r, const char *text)
{
	uint8_t addr[sizeof(struct in6_addr)];
	bool ipv6 = inet_pton(AF_INET, text, addr) != 1;

	if (ipv6)
		inet_pton(AF_INET6, text, addr);
	nft_is_address(r, ipv6, false, addr);
}

/* Accepts pings of one of the router's addresses: the kernel answers them. */
static void put_own_echo(struct nft_batch *b, const char *chain, const char *addr)
{
	struct nft_rule r;

	if (!addr)
		return;
	r = begin(b, chain, "nf_tables");
	match_destination(&r, addr);
	if (strchr(addr, ':'))
		match_type(&r, IPPROTO_ICMPV6, ICMP6_ECHO_REQUEST);
	else
		match_type(&r, IPPROTO_ICMP, ICMP_ECHO);
	end(&r, NF_ACCEPT);
}

static void put_own_echoes(struct nft_batch *b, const struct router_config *c, const char *chain)
{
	put_own_echo(b, chain, c->gateway4);
	put_own_echo(b, chain, c->dns4);
	put_own_echo(b, chain, c->gateway6);
	put_own_echo(b, chain, c->dns6);
}

static void put_gate(struct nft_batch *b, const struct router_config *c, enum router_queue queue)
{
	struct nft_rule r;

	nft_chain(b, "gate", PRIORITY_GATE);
	put_others(b, "gate");
	r = begin(b, "gate", "nf_tables");
	nft_compare_meta(&r, NFT_META_MARK, NFT_CMP_NEQ, 0);
	end(&r, NF_ACCEPT);
	put_syn(b, c);
	if (queue == ROUTER_QUEUE_NONE)
		return;
	put_own_echoes(b, c, "gate");
	put_echo(b, c, IPPROTO_ICMP, ICMP_ECHO);
	put_echo(b, c, IPPROTO_ICMPV6, ICMP6_ECHO_REQUEST);
	for (unsigned i = 0; i < c->workers; i++) {
		r = begin(b, "gate", queue == ROUTER_QUEUE_EXPR ? "nft_queue" : "xt_NFQUEUE");
		nft_compare_meta(&r, NFT_META_MARK, NFT_CMP_EQ, ROUTER_MARK_ACCEPT + i);
		nft_queue(&r, (uint16_t)(ROUTER_QUEUE + i), queue == ROUTER_QUEUE_TARGET);
		nft_rule_end(&r);
	}
}

static void put_refusal(struct nft_batch *b, uint32_t mark, enum nft_reject_types type,
			uint8_t code)
{
	struct nft_rule r = begin(b, "route", "nft_reject_inet");

	nft_compare_meta(&r, NFT_META_MARK, NFT_CMP_EQ, mark);
	if (type == NFT_REJECT_TCP_RST)
		nft_is_proto(&r, IPPROTO_TCP);
	nft_reject(&r, type, code);
	nft_rule_end(&r);
}

static void put_refusals(struct nft_batch *b)
{
	put_refusal(b, ROUTER_MARK_REFUSED, NFT_REJECT_TCP_RST, 0);
	put_refusal(b, ROUTER_MARK_UNREACHABLE_HOST, NFT_REJECT_ICMPX_UNREACH,
		    NFT_REJECT_ICMPX_HOST_UNREACH);
	put_refusal(b, ROUTER_MARK_UNREACHABLE_NET, NFT_REJECT_ICMPX_UNREACH,
		    NFT_REJECT_ICMPX_NO_ROUTE);
	put_refusal(b, ROUTER_MARK_PROHIBITED, NFT_REJECT_ICMPX_UNREACH,
		    NFT_REJECT_ICMPX_ADMIN_PROHIBITED);
}

static void put_tcp(struct nft_batch *b, const struct router_config *c)
{
	struct nft_rule r;

	for (unsigned i = 0; i < c->workers; i++) {
		r = begin(b, "route", "nft_tproxy");
		nft_compare_meta(&r, NFT_META_MARK, NFT_CMP_EQ, ROUTER_MARK_ACCEPT + i);
		nft_is_proto(&r, IPPROTO_TCP);
		nft_tproxy(&r, (uint16_t)(ROUTER_TCP_PORT + i));
		nft_mark_with(&r, ROUTER_MARK_ROUTED);
		end(&r, NF_ACCEPT);
	}
	for (unsigned i = 0; i < SOCKET_LOOKUPS; i++) {
		r = begin(b, "route", "nft_socket");
		nft_is_proto(&r, IPPROTO_TCP);
		put_socket(&r);
	}
	r = begin(b, "route", "nft_reject_inet");
	nft_is_proto(&r, IPPROTO_TCP);
	nft_reject(&r, NFT_REJECT_TCP_RST, 0);
	nft_rule_end(&r);
}

static void put_udp(struct nft_batch *b)
{
	struct nft_rule r = begin(b, "route", "nft_tproxy");

	nft_is_proto(&r, IPPROTO_UDP);
	nft_tproxy(&r, ROUTER_UDP_PORT);
	nft_mark_with(&r, ROUTER_MARK_ROUTED);
	end(&r, NF_ACCEPT);
}

static void put_type(struct nft_batch *b, uint8_t proto, uint8_t type, uint32_t mark, int verdict)
{
	struct nft_rule r = begin(b, "route", "nf_tables");

	match_type(&r, proto, type);
	if (mark)
		nft_mark_with(&r, mark);
	end(&r, verdict);
}

/* ICMP errors that concern a transparent socket go to it, whatever their destination address is. */
static void put_icmp_errors(struct nft_batch *b)
{
	static const uint8_t types4[] = {ICMP_DEST_UNREACH, ICMP_TIME_EXCEEDED, ICMP_PARAMETERPROB};
	static const uint8_t types6[] = {ICMP6_DST_UNREACH, ICMP6_PACKET_TOO_BIG,
					 ICMP6_TIME_EXCEEDED, ICMP6_PARAM_PROB};

	for (size_t i = 0; i < sizeof(types4); i++)
		put_type(b, IPPROTO_ICMP, types4[i], ROUTER_MARK_ROUTED, NF_ACCEPT);
	for (size_t i = 0; i < sizeof(types6); i++)
		put_type(b, IPPROTO_ICMPV6, types6[i], ROUTER_MARK_ROUTED, NF_ACCEPT);
}

static void put_neighbours(struct nft_batch *b)
{
	put_type(b, IPPROTO_ICMPV6, ND_NEIGHBOR_SOLICIT, 0, NF_ACCEPT);
	put_type(b, IPPROTO_ICMPV6, ND_NEIGHBOR_ADVERT, 0, NF_ACCEPT);
}

static void put_not_for_us(struct nft_batch *b)
{
	static const uint8_t host = 0; /* PACKET_HOST */
	struct nft_rule r = begin(b, "route", "nf_tables");

	nft_meta(&r, NFT_META_PKTTYPE);
	nft_compare(&r, NFT_CMP_NEQ, &host, sizeof(host));
	end(&r, NF_DROP);
}

/* Drops what is left of ICMP: pings that no worker took, answers to pings that nobody sent, and the
 * like. */
static void put_icmp_rest(struct nft_batch *b, uint8_t proto)
{
	struct nft_rule r = begin(b, "route", "nf_tables");

	nft_is_proto(&r, proto);
	end(&r, NF_DROP);
}

static void put_other_protocols(struct nft_batch *b, bool count)
{
	struct nft_rule r;

	if (count) {
		r = begin(b, "route", "nft_objref");
		nft_count(&r, ROUTER_COUNTER);
		nft_rule_end(&r);
	}
	r = begin(b, "route", "nft_reject_inet");
	nft_is_family(&r, NFPROTO_IPV4);
	nft_reject(&r, NFT_REJECT_ICMP_UNREACH, ICMP_PROT_UNREACH);
	nft_rule_end(&r);
	/* IPv6 has a "parameter problem" for this case, which nftables cannot send. */
	r = begin(b, "route", "nft_reject_inet");
	nft_reject(&r, NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_PORT_UNREACH);
	nft_rule_end(&r);
}

static void put_route(struct nft_batch *b, const struct router_config *c, bool count)
{
	if (count)
		nft_counter(b, ROUTER_COUNTER);
	nft_chain(b, "route", PRIORITY_ROUTE);
	put_from_lo(b);
	put_others(b, "route");
	put_refusals(b);
	put_tcp(b, c);
	put_neighbours(b);
	put_not_for_us(b);
	put_udp(b);
	put_icmp_errors(b);
	put_own_echoes(b, c, "route");
	put_icmp_rest(b, IPPROTO_ICMP);
	put_icmp_rest(b, IPPROTO_ICMPV6);
	put_other_protocols(b, count);
}

static int try_rules(const struct router_config *c, enum router_queue queue, bool count,
		     struct err *e)
{
	auto_free struct nft_batch *b = nft_batch_new(ROUTER_TABLE);

	if (!b)
		return err_errno(e, -ENOMEM, "nftables rules");
	put_gate(b, c, queue);
	put_route(b, c, count);
	return nft_commit(b, e);
}

static bool exists(const char *path)
{
	auto_fd int fd = open(path, O_PATH | O_CLOEXEC);

	return fd >= 0;
}

/* Whether the module is there, loaded or as a file. One that is built into the kernel is not found.
 */
static bool has_module(const char *name)
{
	static const char *const endings[] = {"", ".xz", ".zst", ".gz"};
	char path[256], release[72];
	bool found;

	snprintf(path, sizeof(path), "/sys/module/%s", name);
	found = exists(path);
	if (found || fd_read_file("/proc/sys/kernel/osrelease", release, sizeof(release)) <= 0)
		return found;
	release[strcspn(release, "\n")] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(endings) && !found; i++) {
		snprintf(path, sizeof(path), "/lib/modules/%s/kernel/net/netfilter/%s.ko%s",
			 release, name, endings[i]);
		found = exists(path);
	}
	return found;
}

/* Puts the queues into the order in which to try them, the likeliest first. Returns their number.
 * Only a batch of rules shows whether the kernel has nft_queue, and each batch that fails takes
 * some milliseconds (ns/nft.h). Some kernels have only the target. */
static unsigned order_queues(const struct router_config *c, enum router_queue *order)
{
	bool expr = c->best_queue <= ROUTER_QUEUE_EXPR,
	     target = c->best_queue <= ROUTER_QUEUE_TARGET;
	bool likely = expr && has_module("nft_queue");
	unsigned n = 0;

	if (likely)
		order[n++] = ROUTER_QUEUE_EXPR;
	if (target && (likely || nft_has_target_queue()))
		order[n++] = ROUTER_QUEUE_TARGET;
	if (expr && !likely)
		order[n++] = ROUTER_QUEUE_EXPR;
	order[n++] = ROUTER_QUEUE_NONE;
	return n;
}

static int try_queues(const struct router_config *c, const enum router_queue *order, unsigned n,
		      enum router_queue *queue, bool count, struct err *e)
{
	int code = 0;

	for (unsigned i = 0; i < n; i++) {
		*queue = order[i];
		code = try_rules(c, order[i], count, e);
		if (!code)
			break;
		log_debug("router: %s", e->msg);
	}
	return code;
}

/* Tries every queue with counters before it does without counters: kernels differ in the queues
 * that they have, and only old ones have no named counters. */
int router_add_rules(const struct router_config *config, enum router_queue *queue, struct err *e)
{
	enum router_queue order[ROUTER_QUEUE_NONE + 1];
	unsigned n = order_queues(config, order);
	int code = try_queues(config, order, n, queue, true, e);

	if (code) /* perhaps the kernel has no named counters */
		code = try_queues(config, order, n, queue, false, e);
	if (!code)
		e->code = 0;
	return code;
}

int router_add_loopback(struct err *e)
{
	auto_free struct nft_batch *b = nft_batch_new_of(NFPROTO_NETDEV, ROUTER_TABLE);

	if (!b)
		return err_errno(e, -ENOMEM, "nftables rules");
	nft_chain_ingress(b, "loopback", ROUTER_IFNAME);
	nft_loopback_by_lo(b, "loopback", true, true);
	return nft_commit(b, e);
}
