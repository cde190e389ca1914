/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handles tunnels of the kernel in the command's namespace (VXLAN, Geneve). A tunnel leaves work to
 * the network card: it does not fill in the checksums of the packets that it carries, and does not
 * cut TCP into segments. Here there is no card, and the router's UDP socket would receive
 * unfinished packets. So
 *
 * - the command's interface does not offer to cut what a tunnel carries, and the kernel cuts it
 *   before. TCP without a tunnel keeps its segmentation offload;
 * - rules beside those of router_nft.c fill in the checksums:
 *
 *   table ip mangle {
 *     chain tunnels {
 *       type filter hook prerouting priority mangle - 1
 *       meta l4proto != udp accept
 *       udp checksum 0 fill                  # VXLAN over IPv4 has no checksum of its own
 *       udp dport { 4789, 6081, 8472 } fill  # the outer checksum is complete, the inner is not
 *     }
 *   }
 *
 * Other datagrams are left alone: their sockets are on this host and need no checksum.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/netfilter.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/log.h"
#include "ns/nft.h"
#include "ns/router.h"

#define PRIORITY_TUNNELS (-151) /* before the chain "route" */

#define UDP_DPORT_OFFSET    2
#define UDP_CHECKSUM_OFFSET 6

/* More features than any kernel has: in 2025 there are fewer than 64. */
#define FEATURES_MAX 256

/* VXLAN by its standard, VXLAN as flannel uses it, Geneve. */
static const uint16_t ports[] = {4789, 8472, 6081};

static const char *const segmentation[] = {"tx-udp_tnl-segmentation",
					   "tx-udp_tnl-csum-segmentation"};

/* Offload of the interface */

static int ethtool(const struct router_config *c, void *command)
{
	struct ifreq req;

	memset(&req, 0, sizeof(req));
	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", c->ifname);
	req.ifr_data = command;
	return ioctl(c->inside_fd, SIOCETHTOOL, &req) < 0 ? -errno : 0;
}

/* Reads the names of all features. Returns their number, or -errno. */
static int feature_names(const struct router_config *c, struct ethtool_gstrings *names)
{
	union {
		struct ethtool_sset_info info;
		char room[sizeof(struct ethtool_sset_info) + sizeof(uint32_t)];
	} set = {.info = {.cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ull << ETH_SS_FEATURES}};
	uint32_t count = 0;
	int code = ethtool(c, &set);

	if (code)
		return code;
	memcpy(&count, set.info.data, sizeof(count));
	if (count == 0 || count > FEATURES_MAX)
		return -EPROTO;
	names->cmd = ETHTOOL_GSTRINGS;
	names->string_set = ETH_SS_FEATURES;
	names->len = count;
	code = ethtool(c, names);
	return code ? code : (int)count;
}

static bool is_segmentation(const uint8_t *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(segmentation); i++)
		if (strncmp((const char *)name, segmentation[i], ETH_GSTRING_LEN) == 0)
			return true;
	return false;
}

static int no_segmentation(const struct router_config *c)
{
	union {
		struct ethtool_gstrings head;
		char room[sizeof(struct ethtool_gstrings) + FEATURES_MAX * ETH_GSTRING_LEN];
	} names;
	union {
		struct ethtool_sfeatures head;
		char room[sizeof(struct ethtool_sfeatures) +
			  FEATURES_MAX / 32 * sizeof(struct ethtool_set_features_block)];
	} set;
	int count;

	memset(&names, 0, sizeof(names));
	memset(&set, 0, sizeof(set));
	count = feature_names(c, &names.head);
	if (count < 0)
		return count;
	set.head.cmd = ETHTOOL_SFEATURES;
	set.head.size = ((uint32_t)count + 31) / 32;
	for (int i = 0; i < count; i++)
		if (is_segmentation(names.head.data + i * ETH_GSTRING_LEN))
			set.head.features[i / 32].valid |= 1u << i % 32;
	return ethtool(c, &set);
}

/* Rules */

static void put_not_udp(struct nft_batch *b)
{
	static const uint8_t udp = IPPROTO_UDP;
	struct nft_rule r = nft_rule_begin(b, "tunnels", "nf_tables");

	nft_meta(&r, NFT_META_L4PROTO);
	nft_compare(&r, NFT_CMP_NEQ, &udp, sizeof(udp));
	nft_verdict(&r, NF_ACCEPT);
	nft_rule_end(&r);
}

/* Adds a rule: fill in the checksum where these two bytes of the UDP header have this value. */
static void put_fill(struct nft_batch *b, uint32_t offset, uint16_t value)
{
	uint16_t be = htons(value);
	struct nft_rule r = nft_rule_begin(b, "tunnels", "xt_CHECKSUM");

	nft_payload(&r, NFT_PAYLOAD_TRANSPORT_HEADER, offset, sizeof(be));
	nft_compare(&r, NFT_CMP_EQ, &be, sizeof(be));
	nft_fill_checksum(&r);
	nft_rule_end(&r);
}

static int add_rules(uint8_t family, struct err *e)
{
	auto_free struct nft_batch *b = nft_batch_new_of(family, "mangle");

	if (!b)
		return err_errno(e, -ENOMEM, "nftables rules");
	nft_chain(b, "tunnels", PRIORITY_TUNNELS);
	put_not_udp(b);
	put_fill(b, UDP_CHECKSUM_OFFSET, 0);
	for (size_t i = 0; i < ARRAY_SIZE(ports); i++)
		put_fill(b, UDP_DPORT_OFFSET, ports[i]);
	return nft_commit(b, e);
}

void router_tunnels(const struct router_config *config)
{
	struct err e = {.code = 0};
	int code = 0;

	if (!nft_has_target_checksum())
		code = err_set(&e, -ENOENT, "the kernel has no xt_CHECKSUM with nft_compat");
	code = code ? code : add_rules(NFPROTO_IPV4, &e);
	if (!code && config->gateway6)
		code = add_rules(NFPROTO_IPV6, &e);
	if (code) {
		log_debug("router: tunnels inside must fill in checksums themselves: %s", e.msg);
		return;
	}
	code = config->inside_fd < 0 ? 0 : no_segmentation(config);
	if (code)
		log_debug("router: tunnels inside must cut TCP themselves: %s", strerror(-code));
}
