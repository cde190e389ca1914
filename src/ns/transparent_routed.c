/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/netfilter.h>

#include "base/fd.h"
#include "ns/nft.h"
#include "ns/transparent.h"

/*
 * The rules, as nft(8) would show them with eth0 as the interface to the router:
 *
 *   table netdev rootlesskit {
 *     chain arrivals {
 *       type filter hook ingress device eth0 priority 0;
 *       ip daddr 127.0.0.0/8 fwd ip to 0.0.0.0 device lo
 *       ip6 daddr ::1 fwd ip6 to :: device lo
 *     }
 *   }
 *
 * So packets from the router for a loopback address come in by lo, like those of the namespace's
 * own programs. Docker's rules in the raw table drop packets for 127.0.0.1 from other interfaces,
 * since somebody on the host's network might send them, and the kernel does the same with packets
 * for ::1. Ours are safe: what comes by this interface comes from our router, whose sockets are
 * made for the clients of published ports.
 */

int transparent_routed_rules(struct mnl_socket *nl, const char *ifname, struct err *e)
{
	auto_free struct nft_batch *b = nft_batch_new_of(NFPROTO_NETDEV, "rootlesskit");

	if (!b)
		return err_errno(e, -ENOMEM, "nftables rules");
	nft_chain_ingress(b, "arrivals", ifname);
	nft_loopback_by_lo(b, "arrivals", false, false);
	nft_loopback_by_lo(b, "arrivals", true, false);
	return nft_commit_once(b, nl, e);
}
