/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>

#include "base/fd.h"
#include "ns/nft.h"
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
 * The kernel looks for the socket that a packet belongs to: no list of ports is needed, and a
 * packet that belongs to none is left alone.
 */

/* Before the routing decision: NF_IP_PRI_MANGLE. */
#define PRIORITY (-150)

static void put_rule(struct nft_batch *b)
{
	struct nft_rule r = nft_rule_begin(b, "answers", "nft_socket");
	uint8_t yes = 1;

	nft_compare_meta(&r, NFT_META_IIF, NFT_CMP_NEQ, if_nametoindex("lo"));
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
	put_rule(b);
	return nft_commit(b, e);
}
