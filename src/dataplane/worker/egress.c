/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/egress.h"

#include <arpa/nameser.h>
#include <stdbool.h>
#include <string.h>

/* Addresses that lead to this host whatever the routes say, and addresses of no host. */

static bool ipv4_is_out_of_bounds(struct in_addr in)
{
	uint32_t a = ntohl(in.s_addr);

	/* 0.0.0.0/8 is "this host" (RFC 1122, 3.2.1.3): the kernel connects to itself. 224.0.0.0/4
	 * is multicast, and the broadcast address is in 240.0.0.0/4. */
	return a >> 24 == 0 || a >> 24 == IN_LOOPBACKNET || a >> 28 >= 0xe;
}

static bool ipv6_is_out_of_bounds(const struct in6_addr *a)
{
	/* The first 96 bits are 0 in ::, ::1 and IPv4-compatible addresses; in mapped ones the last
	 * 16 of them are 1 (RFC 4291, 2.5.5). A link-local address means nothing on another link.
	 */
	if (a->s6_addr32[0] == 0 && a->s6_addr32[1] == 0 &&
	    (a->s6_addr32[2] == 0 || a->s6_addr32[2] == htonl(0xffff)))
		return true;
	return IN6_IS_ADDR_MULTICAST(a) || IN6_IS_ADDR_LINKLOCAL(a);
}

static bool is_out_of_bounds(const union sock_addr *dest)
{
	if (dest->sa.sa_family == AF_INET6)
		return ipv6_is_out_of_bounds(&dest->in6.sin6_addr);
	return ipv4_is_out_of_bounds(dest->in4.sin_addr);
}

/* Rules */

static bool has_prefix(const uint8_t *addr, const uint8_t *prefix, unsigned bits)
{
	unsigned bytes = bits / 8, rest = bits % 8;

	if (memcmp(addr, prefix, bytes) != 0)
		return false;
	return rest == 0 || (addr[bytes] ^ prefix[bytes]) >> (8 - rest) == 0;
}

static bool rule_matches(const struct dp_outward_rule *rule, const union sock_addr *dest)
{
	bool ipv6 = dest->sa.sa_family == AF_INET6;
	uint16_t port = ntohs(dest->in4.sin_port); /* an IPv6 port is at the same place */
	const uint8_t *addr =
		ipv6 ? dest->in6.sin6_addr.s6_addr : (const uint8_t *)&dest->in4.sin_addr;

	if (rule->family != dest->sa.sa_family || rule->prefix_len > (ipv6 ? 128 : 32))
		return false;
	return port >= rule->port_first && port <= rule->port_last &&
	       has_prefix(addr, rule->addr, rule->prefix_len);
}

/* The matching rule with the longest prefix decides; of two that are equally long, the one that
 * denies. */
static bool rules_deny(const struct dp_outward *config, const union sock_addr *dest)
{
	int longest = -1;
	bool deny = false;

	for (uint32_t i = 0; i < config->n_rules && i < DP_OUTWARD_RULES; i++) {
		const struct dp_outward_rule *rule = &config->rules[i];

		if (rule->prefix_len < longest || !rule_matches(rule, dest))
			continue;
		deny = rule->deny || (deny && rule->prefix_len == longest);
		longest = rule->prefix_len;
	}
	return deny;
}

/* Where a connection goes */

/* The gateway's address may be the name server's, too: then the port decides. */
static enum egress_kind kind_of(const struct dp_outward *config, const union sock_addr *dest)
{
	bool gateway = dest->in4.sin_addr.s_addr == config->gateway4.s_addr;
	bool dns = dest->in4.sin_addr.s_addr == config->dns4.s_addr;

	if (dest->sa.sa_family == AF_INET6) {
		gateway = IN6_ARE_ADDR_EQUAL(&dest->in6.sin6_addr, &config->gateway6);
		dns = IN6_ARE_ADDR_EQUAL(&dest->in6.sin6_addr, &config->dns6);
	}
	if (dns && (!gateway || dest->in4.sin_port == htons(NAMESERVER_PORT)))
		return EGRESS_DNS;
	return gateway ? EGRESS_HOST : EGRESS_WORLD;
}

static void to_loopback(union sock_addr *to)
{
	if (to->sa.sa_family == AF_INET6)
		to->in6.sin6_addr = in6addr_loopback;
	else
		to->in4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
}

enum egress egress_decide(const struct dp_outward *config, const union sock_addr *dest,
			  unsigned resolver, union sock_addr *to, enum egress_kind *kind)
{
	if (is_out_of_bounds(dest) || rules_deny(config, dest))
		return EGRESS_PROHIBITED;
	*kind = kind_of(config, dest);
	*to = *dest;
	switch (*kind) {
	case EGRESS_HOST:
		if (config->disable_host_loopback)
			return EGRESS_REFUSED;
		to_loopback(to);
		return EGRESS_ALLOWED;
	case EGRESS_DNS:
		if (dest->in4.sin_port != htons(NAMESERVER_PORT) || config->n_resolvers == 0)
			return EGRESS_REFUSED;
		*to = config->resolvers[resolver % config->n_resolvers];
		return EGRESS_ALLOWED;
	default:
		return EGRESS_ALLOWED;
	}
}
