/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>

#include "base/fd.h"
#include "ns/localroute.h"
#include "ns/nft.h"
#include "ns/transparent.h"

/*
 * The rules, as nft(8) would show them:
 *
 *   table inet rootlesskit {
 *     chain answers {
 *       type filter hook prerouting priority mangle;
 *       meta mark 0x524b5451 meta mark set 0x524b5450
 *       iif != lo meta l4proto tcp socket transparent 1 meta mark set 0x524b5450
 *     }
 *   }
 *
 * and, when connections are tracked,
 *
 *     chain turned {
 *       type filter hook output priority mangle;
 *       meta mark 0x524b5451 ct mark set 0x524b5451
 *       meta mark 0x524b5450 ct mark set 0x524b5451 meta mark set 0x524b5451
 *     }
 *     chain turned_answers {
 *       type filter hook prerouting priority mangle;
 *       iif != lo ct mark 0x524b5451 meta mark set 0x524b5450
 *     }
 *
 * A connection to a loopback address that arrives within the namespace has passed all rules that
 * could turn it elsewhere. Its answers must come back from whatever address of the namespace it has
 * reached. For packets from other interfaces the kernel looks for the socket that they belong to,
 * so no list of ports is needed, and a packet that belongs to none is left alone. When a connection
 * was turned to another server, the kernel finds no socket for the answer, because our socket never
 * had that server's address.
 *
 * A connection to another address of the namespace's own gives up its mark before rules can turn it
 * elsewhere. With the mark it would be sent back to lo.
 */

/* Before the routing decision, and before addresses are translated: NF_IP_PRI_MANGLE. */
#define PRIORITY (-150)

static void not_from_lo(struct nft_rule *r)
{
	nft_compare_meta(r, NFT_META_IIF, NFT_CMP_NEQ, LOOPBACK_IFINDEX);
}

static void put_arrived(struct nft_batch *b)
{
	struct nft_rule r = nft_rule_begin(b, "answers", "nf_tables");

	nft_compare_meta(&r, NFT_META_MARK, NFT_CMP_EQ, TRANSPARENT_MARK_LOOPBACK);
	nft_mark_with(&r, TRANSPARENT_MARK);
	nft_rule_end(&r);
}

static void put_socket(struct nft_batch *b)
{
	struct nft_rule r = nft_rule_begin(b, "answers", "nft_socket");
	uint8_t yes = 1;

	not_from_lo(&r);
	nft_is_proto(&r, IPPROTO_TCP);
	nft_socket_transparent(&r);
	nft_compare(&r, NFT_CMP_EQ, &yes, sizeof(yes));
	nft_mark_with(&r, TRANSPARENT_MARK);
	nft_rule_end(&r);
}

int transparent_mark_answers(struct err *e)
{
	auto_free struct nft_batch *b = nft_batch_new("rootlesskit");

	if (!b)
		return err_errno(e, -ENOMEM, "nftables rules");
	nft_chain(b, "answers", PRIORITY);
	put_arrived(b);
	put_socket(b);
	return nft_commit(b, e);
}

int transparent_mark_answers_again(struct mnl_socket *nl, struct err *e)
{
	auto_free struct nft_batch *b = nft_batch_new("rootlesskit");

	if (!b)
		return err_errno(e, -ENOMEM, "nftables rules");
	nft_chain_new(b, "answers", NF_INET_PRE_ROUTING, PRIORITY);
	put_arrived(b);
	put_socket(b);
	return nft_commit_once(b, nl, e);
}

static void put_turned(struct nft_batch *b)
{
	struct nft_rule r = nft_rule_begin(b, "turned", "nft_ct");

	nft_compare_meta(&r, NFT_META_MARK, NFT_CMP_EQ, TRANSPARENT_MARK_LOOPBACK);
	nft_connection_mark_with(&r, TRANSPARENT_MARK_LOOPBACK);
	nft_rule_end(&r);
}

static void put_turned_own(struct nft_batch *b)
{
	struct nft_rule r = nft_rule_begin(b, "turned", "nft_ct");

	nft_compare_meta(&r, NFT_META_MARK, NFT_CMP_EQ, TRANSPARENT_MARK);
	nft_connection_mark_with(&r, TRANSPARENT_MARK_LOOPBACK);
	nft_mark_with(&r, TRANSPARENT_MARK_LOOPBACK);
	nft_rule_end(&r);
}

static void put_turned_answers(struct nft_batch *b)
{
	struct nft_rule r = nft_rule_begin(b, "turned_answers", "nft_ct");

	not_from_lo(&r);
	nft_compare_connection_mark(&r, TRANSPARENT_MARK_LOOPBACK);
	nft_mark_with(&r, TRANSPARENT_MARK);
	nft_rule_end(&r);
}

int transparent_mark_turned(struct mnl_socket *nl, struct err *e)
{
	auto_free struct nft_batch *b = nft_batch_new("rootlesskit");

	if (!b)
		return err_errno(e, -ENOMEM, "nftables rules");
	nft_chain_new(b, "turned", NF_INET_LOCAL_OUT, PRIORITY);
	nft_chain_new(b, "turned_answers", NF_INET_PRE_ROUTING, PRIORITY);
	put_turned(b);
	put_turned_own(b);
	put_turned_answers(b);
	return nft_commit_once(b, nl, e);
}
