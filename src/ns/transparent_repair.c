/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/loop.h"
#include "ns/netlink.h"
#include "ns/transparent.h"

/* However often somebody takes the rules away, we put them back at most once in this time. */
#define PAUSE_MS 1000

/* Pause between two looks at the reports. Changes come in bursts, as iptables makes one at a time.
 * A report that wakes this process may take the processor from whoever makes the changes, who gets
 * it back only after all others on a busy machine. */
#define REST_MS 30

/* Reports that are read in one look. Root of the namespace may change things faster than this
 * process reads of it. What the socket cannot hold counts as a loss. */
#define REPORTS_MAX 256

#define GROUP(number) (1u << ((number)-1))

static struct mnl_socket *news_of(int bus, unsigned groups)
{
	struct mnl_socket *nl = mnl_socket_open2(bus, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (nl && mnl_socket_bind(nl, groups, MNL_SOCKET_AUTOPID) < 0) {
		mnl_socket_close(nl);
		nl = NULL;
	}
	return nl;
}

/* Reads the sysctl that transparent_set_up has tried to switch on. */
static bool marks_are_inherited(void)
{
	char text[8];

	return fd_read_file("/proc/sys/net/ipv4/tcp_fwmark_accept", text, sizeof(text)) > 0 &&
	       text[0] == '1';
}

static void repair_close(struct transparent_repair *r)
{
	netlink_close(&r->nft);
	netlink_close(&r->route);
	netlink_close(&r->news[0]);
	netlink_close(&r->news[1]);
	*r = (struct transparent_repair){.nft = NULL};
}

int transparent_repair_open(struct transparent_repair *r, const char *ifname, struct err *e)
{
	*r = (struct transparent_repair){
		.nft = netlink_open(NETLINK_NETFILTER),
		.route = netlink_open(NETLINK_ROUTE),
		.news = {news_of(NETLINK_NETFILTER, GROUP(NFNLGRP_NFTABLES)),
			 news_of(NETLINK_ROUTE,
				 GROUP(RTNLGRP_IPV4_RULE) | GROUP(RTNLGRP_IPV6_RULE) |
					 GROUP(RTNLGRP_IPV4_ROUTE) | GROUP(RTNLGRP_IPV6_ROUTE))},
	};
	r->marked = marks_are_inherited();
	snprintf(r->ifname, sizeof(r->ifname), "%s", ifname);
	if (r->nft && r->route && r->news[0] && r->news[1])
		return 0;
	repair_close(r);
	return err_errno(e, -errno, "cannot hear of lost rules");
}

int transparent_repair_fd(const struct transparent_repair *r, unsigned i)
{
	return r->news[i] && loop_now_ms() >= r->read_ms ? mnl_socket_get_fd(r->news[i]) : -1;
}

/* Whether the message says that something was removed. Additions are frequent, and do not
 * matter. */
static bool is_loss(unsigned i, uint16_t type)
{
	if (i == 1)
		return type == RTM_DELRULE || type == RTM_DELROUTE;
	return type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE) ||
	       type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELCHAIN) ||
	       type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELRULE);
}

static bool has_loss(unsigned i, const void *buf, size_t size)
{
	const struct nlmsghdr *nlh = buf;
	int len = (int)size;

	if (!netlink_lengths_fit(buf, size))
		return true;
	for (; mnl_nlmsg_ok(nlh, len); nlh = mnl_nlmsg_next(nlh, &len))
		if (is_loss(i, nlh->nlmsg_type))
			return true;
	return false;
}

/* Returns whether there were any. */
static bool read_news(struct transparent_repair *r, unsigned i)
{
	char buf[16384];
	unsigned reports = 0;
	ssize_t n = 0;

	while (reports < REPORTS_MAX && (n = netlink_receive(r->news[i], buf, sizeof(buf))) > 0) {
		r->lost |= has_loss(i, buf, (size_t)n);
		r->changed |= i == 0;
		reports++;
	}
	/* -ENOBUFS: more has happened than the socket holds, so something may be lost. */
	r->lost |= n == -ENOBUFS;
	r->changed |= n == -ENOBUFS && i == 0;
	return reports > 0 || n == -ENOBUFS;
}

static int ms_until(uint64_t ms, uint64_t now_ms)
{
	return now_ms < ms ? (int)(ms - now_ms) : 0;
}

int transparent_repair_wait_ms(const struct transparent_repair *r)
{
	uint64_t now_ms = loop_now_ms();
	int rest_ms = ms_until(r->read_ms, now_ms), repair_ms = ms_until(r->next_ms, now_ms);

	if (!r->lost)
		return rest_ms ? rest_ms : -1;
	return rest_ms && rest_ms < repair_ms ? rest_ms : repair_ms;
}

bool transparent_repair_changed(struct transparent_repair *r)
{
	bool changed = r->changed;

	r->changed = false;
	return changed;
}

bool transparent_repair_look(struct transparent_repair *r, struct err *e)
{
	uint64_t now_ms = loop_now_ms();
	bool any = false;
	int code;

	for (unsigned i = 0; i < 2 && now_ms >= r->read_ms; i++)
		if (r->news[i])
			any |= read_news(r, i);
	if (any)
		r->read_ms = now_ms + REST_MS;
	if (!r->lost || now_ms < r->next_ms)
		return false;
	r->next_ms = now_ms + PAUSE_MS;
	code = transparent_put_back(r->route, r->nft, r->marked, r->ifname, e);
	r->lost = fd_is_shortage(code);
	return code == 0;
}
