/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <string.h>

#include "base/fd.h"
#include "ns/nft.h"
#include "ns/transparent.h"

/*
 * The rules, as nft(8) would show them with eth0 as the interface to the router:
 *
 *   table inet rootlesskit {
 *     chain arrivals {
 *       type filter hook prerouting priority raw + 50;
 *       iifname eth0 ip daddr 192.0.0.8 ip daddr set 127.0.0.1
 *       iifname eth0 ip6 daddr 100::1 ip6 daddr set ::1
 *     }
 *     chain unturned {
 *       type filter hook prerouting priority dstnat + 10;
 *       iifname eth0 ip6 daddr ::1 meta l4proto tcp reject with tcp reset
 *     }
 *     chain departures {
 *       type filter hook postrouting priority srcnat + 200;
 *       oifname eth0 ip saddr 127.0.0.1 ip saddr set 192.0.0.8
 *       oifname eth0 ip6 saddr ::1 ip6 saddr set 100::1
 *     }
 *   }
 *
 * Docker's rules in the raw table drop packets for 127.0.0.1 from other interfaces than lo, since
 * somebody on the host's network might send them. Our packets pass these rules before their address
 * is changed, and are safe: what comes by this interface comes from our router, whose sockets are
 * made for the clients of published ports. Connections are tracked after the change. So rules that
 * turn connections elsewhere see the loopback address, and answers have it again before they leave.
 */

#define PRIORITY_ARRIVALS   (-250) /* NF_IP_PRI_RAW is -300, NF_IP_PRI_CONNTRACK -200 */
#define PRIORITY_UNTURNED   (-90)  /* NF_IP_PRI_NAT_DST is -100 */
#define PRIORITY_DEPARTURES 300	   /* NF_IP_PRI_NAT_SRC is 100 */

static struct nft_rule begin(struct nft_batch *b, const char *chain, enum nft_meta_keys interface,
			     const char *ifname)
{
	struct nft_rule r = nft_rule_begin(b, chain, "nft_reject_inet");
	char name[IFNAMSIZ] = "";

	strncpy(name, ifname, sizeof(name) - 1);
	nft_meta(&r, interface);
	nft_compare(&r, NFT_CMP_EQ, name, sizeof(name));
	return r;
}

static void put_refusal(struct nft_batch *b, const char *ifname)
{
	struct nft_rule r = begin(b, "unturned", NFT_META_IIFNAME, ifname);

	nft_is_address(&r, true, false, &in6addr_loopback);
	nft_is_proto(&r, IPPROTO_TCP);
	nft_reject(&r, NFT_REJECT_TCP_RST, 0);
	nft_rule_end(&r);
}

static void put(struct nft_batch *b, const char *chain, enum nft_meta_keys interface,
		const char *ifname, bool ipv6, const void *from, const void *to)
{
	struct nft_rule r = begin(b, chain, interface, ifname);
	bool source = interface == NFT_META_OIFNAME;

	nft_is_address(&r, ipv6, source, from);
	nft_set_address(&r, ipv6, source, to);
	nft_rule_end(&r);
}

int transparent_alias_rules(struct mnl_socket *nl, const char *ifname, struct err *e)
{
	const struct in_addr loop4 = {.s_addr = htonl(INADDR_LOOPBACK)};
	const struct in_addr alias4 = {.s_addr = htonl(TRANSPARENT_ALIAS4)};
	const struct in6_addr alias6 = TRANSPARENT_ALIAS6;
	auto_free struct nft_batch *b = nft_batch_new("rootlesskit");
	int code;

	if (!b)
		return err_errno(e, -ENOMEM, "nftables rules");
	nft_chain_new(b, "arrivals", NF_INET_PRE_ROUTING, PRIORITY_ARRIVALS);
	nft_chain_new(b, "unturned", NF_INET_PRE_ROUTING, PRIORITY_UNTURNED);
	nft_chain_new(b, "departures", NF_INET_POST_ROUTING, PRIORITY_DEPARTURES);
	put(b, "arrivals", NFT_META_IIFNAME, ifname, false, &alias4, &loop4);
	put(b, "arrivals", NFT_META_IIFNAME, ifname, true, &alias6, &in6addr_loopback);
	put_refusal(b, ifname);
	put(b, "departures", NFT_META_OIFNAME, ifname, false, &loop4, &alias4);
	put(b, "departures", NFT_META_OIFNAME, ifname, true, &in6addr_loopback, &alias6);
	code = nft_commit_by(b, nl, e);
	if (code == -EEXIST)
		code = e->code = 0;
	return code;
}
