/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/net/cidr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

/* Parses a prefix length: at most three digits. strtol would take signs, blanks and overflow. */
static int parse_prefix(const char *s)
{
	int n = 0;

	if (!*s || strlen(s) > 3)
		return -EINVAL;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return -EINVAL;
		n = n * 10 + (*s - '0');
	}
	return n;
}

static uint32_t host_bits(int prefix_len)
{
	return UINT32_MAX >> prefix_len;
}

static int split(const char *s, struct in_addr *addr, int *prefix_len)
{
	char text[INET_ADDRSTRLEN];
	const char *slash = strchr(s, '/');
	size_t len = slash ? (size_t)(slash - s) : 0;

	if (!slash || len >= sizeof(text))
		return -EINVAL;
	memcpy(text, s, len);
	text[len] = '\0';
	*prefix_len = parse_prefix(slash + 1);
	return inet_pton(AF_INET, text, addr) == 1 && *prefix_len >= 0 ? 0 : -EINVAL;
}

int cidr_parse(const char *s, struct cidr *out, struct err *e)
{
	struct in_addr addr;
	int prefix_len;

	if (split(s, &addr, &prefix_len) < 0)
		return err_set(
			e, -EINVAL,
			"invalid CIDR address: %.64s: it must be an IPv4 network like 10.0.2.0/24",
			s);
	if (prefix_len < CIDR_PREFIX_MIN || prefix_len > CIDR_PREFIX_MAX)
		return err_set(e, -EINVAL,
			       "cidr %s: the prefix length must be %d to %d, like 10.0.2.0/24", s,
			       CIDR_PREFIX_MIN, CIDR_PREFIX_MAX);
	out->base = ntohl(addr.s_addr);
	out->prefix_len = prefix_len;
	if (out->base & host_bits(prefix_len)) {
		char net[INET_ADDRSTRLEN];

		out->base &= ~host_bits(prefix_len);
		return err_set(e, -EINVAL,
			       "cidr must be like 10.0.2.0/24, not like 10.0.2.100/24: "
			       "%s is no network address, %s/%d would be",
			       s, cidr_address(out, 0, net), prefix_len);
	}
	return 0;
}

const char *cidr_address(const struct cidr *cidr, uint32_t offset, char *buf)
{
	struct in_addr addr = {.s_addr = htonl(cidr->base + offset)};

	return inet_ntop(AF_INET, &addr, buf, INET_ADDRSTRLEN);
}
