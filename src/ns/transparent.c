/* SPDX-License-Identifier: Apache-2.0 */
#include "ns/transparent.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/sockaddr.h"
#include "ns/localroute.h"
#include "ns/netif.h"
#include "ns/netlink.h"
#include "ns/sysctl.h"

/*
 * A routing table of ours says that every address is local, at lo. It is used for
 *
 *   1. packets with the mark. A connection to one of the namespace's own addresses has it, and the
 *      socket that accept(2) makes inherits it (net.ipv4.tcp_fwmark_accept), and so do the answers.
 *      Refusals have no socket: net.ipv4.fwmark_reflect marks them. Answers that come from a
 *      container get the mark by nftables.
 *   2. packets from a loopback address with the other mark: the answers of servers there, which get
 *      it in the same way. A connection that somebody's rules turn towards a container, as Docker's
 *      do without its userland proxy, has that mark too, but no loopback address, and goes where it
 *      is sent.
 *
 * Connections that the command opens have neither mark, and go where they would go without us.
 *
 * Where accepted sockets do not inherit marks, all packets from loopback addresses take the place
 * of the second kind, except those for which there is a more special route than the default one: so
 * connections from loopback addresses can still be turned towards a container.
 */

#define RULE_LOOPBACK  (LOCALROUTE_PRIORITY + 1)
#define RULE_ELSEWHERE (LOCALROUTE_PRIORITY + 2)
#define RULE_UNMARKED  (LOCALROUTE_PRIORITY + 3)

/* Within lo the answer is there when connect(2) returns; the rest is for a machine under heavy
 * load. */
#define TEST_MS 1000

static int accept_marks(bool ipv6, struct err *e)
{
	int code = sysctl_set("ipv4/tcp_fwmark_accept", "1\n", e);

	if (code)
		return code;
	return sysctl_set(ipv6 ? "ipv6/fwmark_reflect" : "ipv4/fwmark_reflect", "1\n", e);
}

static int family_of(bool ipv6)
{
	return ipv6 ? AF_INET6 : AF_INET;
}

static uint8_t loopback_len(bool ipv6)
{
	return ipv6 ? 128 : 8;
}

/* Restricts the rule to packets from loopback addresses. */
static void from_loopback(struct nlmsghdr *nlh, bool ipv6)
{
	const struct in_addr net4 = {.s_addr = htonl(INADDR_LOOPBACK & IN_CLASSA_NET)};

	if (ipv6)
		mnl_attr_put(nlh, FRA_SRC, sizeof(in6addr_loopback), &in6addr_loopback);
	else
		mnl_attr_put(nlh, FRA_SRC, sizeof(net4), &net4);
}

static int add_loopback_rule(struct mnl_socket *nl, bool ipv6)
{
	char buf[NETLINK_REQUEST_BYTES];
	struct nlmsghdr *nlh = localroute_rule(buf, ipv6, loopback_len(ipv6), RULE_LOOPBACK);

	from_loopback(nlh, ipv6);
	mnl_attr_put_u32(nlh, FRA_FWMARK, TRANSPARENT_MARK_LOOPBACK);
	return localroute_talk(nl, nlh);
}

static int add_unmarked_rules(struct mnl_socket *nl, bool ipv6)
{
	char buf[NETLINK_REQUEST_BYTES];
	struct nlmsghdr *nlh =
		localroute_rule_for(buf, ipv6, loopback_len(ipv6), RULE_ELSEWHERE, RT_TABLE_MAIN);
	int code;

	from_loopback(nlh, ipv6);
	mnl_attr_put_u32(nlh, FRA_SUPPRESS_PREFIXLEN, 0);
	code = localroute_talk(nl, nlh);
	if (code)
		return code;
	nlh = localroute_rule(buf, ipv6, loopback_len(ipv6), RULE_UNMARKED);
	from_loopback(nlh, ipv6);
	return localroute_talk(nl, nlh);
}

/* The test. Its client has an address reserved for documentation (RFC 5737 and RFC 3849). */

static socklen_t test_addresses(bool ipv6, union sock_addr *server, union sock_addr *client)
{
	static const struct in6_addr doc6 = {.s6_addr = {0x20, 0x01, 0x0d, 0xb8, [15] = 1}};

	memset(server, 0, sizeof(*server));
	memset(client, 0, sizeof(*client));
	server->sa.sa_family = client->sa.sa_family = (sa_family_t)family_of(ipv6);
	if (ipv6) {
		server->in6.sin6_addr = in6addr_loopback;
		client->in6.sin6_addr = doc6;
		return sizeof(server->in6);
	}
	server->in4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	client->in4.sin_addr.s_addr = htonl(0xc0000201); /* 192.0.2.1 */
	return sizeof(server->in4);
}

/* Makes a listening socket at server, and puts its address there. The descriptor or -errno. */
static int test_listen(union sock_addr *server, socklen_t len)
{
	auto_fd int fd =
		socket(server->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || bind(fd, &server->sa, len) < 0 || listen(fd, 1) < 0 ||
	    getsockname(fd, &server->sa, &len) < 0)
		return -errno;
	return steal_fd(&fd);
}

static int set_option(int fd, int level, int option, uint32_t value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* Makes a socket that connects from client to server. The descriptor or -errno. */
static int test_connect(const union sock_addr *client, const union sock_addr *server, socklen_t len,
			uint32_t mark)
{
	bool ipv6 = client->sa.sa_family == AF_INET6;
	auto_fd int fd =
		socket(client->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int code = fd < 0 ? -errno
			  : set_option(fd, ipv6 ? IPPROTO_IPV6 : IPPROTO_IP,
				       ipv6 ? IPV6_TRANSPARENT : IP_TRANSPARENT, 1);

	if (!code && mark)
		code = set_option(fd, SOL_SOCKET, SO_MARK, mark);
	if (!code && bind(fd, &client->sa, len) < 0)
		code = -errno;
	if (!code && connect(fd, &server->sa, len) < 0 && errno != EINPROGRESS)
		code = -errno;
	return code ? code : steal_fd(&fd);
}

static int wait_for(int fd, short events)
{
	struct pollfd pfd = {.fd = fd, .events = events};
	int n = poll(&pfd, 1, TEST_MS), error = 0;
	socklen_t len = sizeof(error);

	if (n <= 0)
		return n < 0 ? -errno : -ETIMEDOUT;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		return -errno;
	return -error;
}

/* Tries whether a server sees the address of the client. 0 or -errno. */
static int try_connection(bool ipv6, uint32_t mark)
{
	union sock_addr server, client, seen = {.sa.sa_family = AF_UNSPEC};
	socklen_t len = test_addresses(ipv6, &server, &client), seen_len = sizeof(seen);
	auto_fd int listening = test_listen(&server, len), connected = -1, accepted = -1;
	int code = listening < 0 ? listening : 0;

	if (!code) {
		connected = test_connect(&client, &server, len, mark);
		code = connected < 0 ? connected : wait_for(connected, POLLOUT);
	}
	if (!code)
		code = wait_for(listening, POLLIN);
	if (code)
		return code;
	accepted = accept4(listening, &seen.sa, &seen_len, SOCK_CLOEXEC);
	if (accepted < 0)
		return -errno;
	return sockaddr_same_host(&seen, &client) ? 0 : -EADDRNOTAVAIL;
}

/* Set-up of one family. */

static int route_marked(struct mnl_socket *nl, bool ipv6, struct err *e)
{
	int code = localroute_add_mark(nl, ipv6, TRANSPARENT_MARK);

	if (code)
		return err_errno(e, code, "cannot add a routing rule");
	code = localroute_add(nl, ipv6);
	return code ? err_errno(e, code, "cannot add a route") : 0;
}

/* The marked kind is tried first: without the rule for loopback addresses the mark alone
 * decides. */
static int try_marked(bool ipv6, struct err *e)
{
	int code = accept_marks(ipv6, e);

	if (code)
		return code;
	code = try_connection(ipv6, TRANSPARENT_MARK);
	return code ? err_errno(e, code, "a marked connection within the namespace") : 0;
}

/* marked: accepted sockets inherit marks. */
static int route_loopback(struct mnl_socket *nl, bool ipv6, bool marked, struct err *e)
{
	int code = marked ? add_loopback_rule(nl, ipv6) : add_unmarked_rules(nl, ipv6);

	return code ? err_errno(e, code, "cannot add a routing rule") : 0;
}

static int try_loopback(struct mnl_socket *nl, bool ipv6, bool marked, struct err *e)
{
	int code = route_loopback(nl, ipv6, marked, e);

	if (code)
		return code;
	code = try_connection(ipv6, TRANSPARENT_MARK_LOOPBACK);
	return code ? err_errno(e, code, "a connection within the namespace") : 0;
}

static void remember(struct err *why, const struct err *e)
{
	if (e->code && !why->code)
		*why = *e;
}

static uint32_t set_up_family(struct mnl_socket *nl, bool ipv6, bool behind, struct err *why)
{
	struct err e = {.code = 0};
	uint32_t works = 0;

	if (route_marked(nl, ipv6, &e) == 0) {
		if (behind)
			works |= TRANSPARENT_BIT(TRANSPARENT_BEHIND, ipv6);
		if (try_marked(ipv6, &e) == 0)
			works |= TRANSPARENT_BIT(TRANSPARENT_OWN, ipv6);
		remember(why, &e);
		e.code = 0;
		if (try_loopback(nl, ipv6, works & TRANSPARENT_BIT(TRANSPARENT_OWN, ipv6), &e) == 0)
			works |= TRANSPARENT_BIT(TRANSPARENT_LOOPBACK, ipv6);
	}
	if (e.code)
		err_wrap(&e, e.code, ipv6 ? "IPv6" : "IPv4");
	remember(why, &e);
	return works;
}

/* A packet that comes in by lo from the router has no route yet. With route_localnet it may have
 * one to a loopback address, and the answer may leave by the router's interface. The packet's
 * source is not on lo, so a filter by source must be loose. */
static int accept_routed(const char *ifname, struct err *e)
{
	char name[64];
	int code;

	snprintf(name, sizeof(name), "ipv4/conf/%s/route_localnet", ifname);
	code = sysctl_set(name, "1\n", e);
	code = code ? code : sysctl_set("ipv4/conf/lo/route_localnet", "1\n", e);
	return code ? code : sysctl_set("ipv4/conf/lo/rp_filter", "2\n", e);
}

static uint32_t set_up_routed(const char *ifname, struct err *e)
{
	auto_netlink struct mnl_socket *nl = NULL;

	if (!ifname[0] || accept_routed(ifname, e) < 0)
		return 0;
	nl = netlink_open(NETLINK_NETFILTER);
	if (!nl)
		err_errno(e, -errno, "cannot open a netfilter socket");
	if (!nl || transparent_routed_rules(nl, ifname, e) < 0)
		return 0;
	return TRANSPARENT_BIT(TRANSPARENT_ROUTED, false) |
	       TRANSPARENT_BIT(TRANSPARENT_ROUTED, true);
}

uint32_t transparent_set_up(const char *ifname, struct err *why)
{
	auto_netlink struct mnl_socket *nl = netlink_open(NETLINK_ROUTE);
	struct err e = {.code = 0};
	uint32_t works;
	bool behind;

	why->code = 0;
	if (!nl) {
		err_errno(why, -errno, "cannot open a netlink socket");
		return 0;
	}
	/* The child brings lo up as well, but perhaps it has not done so yet. */
	if (netif_loopback_up(why) < 0)
		return 0;
	behind = transparent_mark_answers(&e) == 0;
	works = set_up_family(nl, false, behind, why);
	works |= set_up_family(nl, true, behind, why);
	remember(why, &e);
	e.code = 0;
	works |= set_up_routed(ifname, &e);
	remember(why, &e);
	return works;
}

int transparent_put_back(struct mnl_socket *route, struct mnl_socket *nft, bool marked,
			 const char *ifname, struct err *e)
{
	int code = transparent_mark_answers_again(nft, e);

	if (!code && ifname[0])
		code = transparent_routed_rules(nft, ifname, e);
	for (unsigned ipv6 = 0; ipv6 < 2 && !code; ipv6++) {
		code = route_marked(route, ipv6, e);
		if (!code)
			code = route_loopback(route, ipv6, marked, e);
		/* A namespace without IPv6 never had rules of it. */
		if (code && ipv6 && !fd_is_shortage(code))
			code = e->code = 0;
	}
	return code;
}
