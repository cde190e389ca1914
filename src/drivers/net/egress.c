/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/net/egress.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"

#define PORT_MAX 65535

/* The parts of a rule's text. */
struct parts {
	char addr[64];
	const char *prefix, *ports; /* NULL: none */
};

/* Parses a number of at most five digits that is no larger than max: strtol would take signs and
 * blanks. Returns the number and sets *end behind it, or -EINVAL. */
static int parse_number(const char *s, int max, const char **end)
{
	size_t len = strspn(s, "0123456789");
	int n;

	if (len < 1 || len > 5)
		return -EINVAL;
	n = (int)strtol(s, NULL, 10);
	*end = s + len;
	return n <= max ? n : -EINVAL;
}

static int copy_addr(struct parts *p, const char *from, size_t len)
{
	if (len >= sizeof(p->addr))
		return -EINVAL;
	memcpy(p->addr, from, len);
	p->addr[len] = '\0';
	return 0;
}

/* Parses what follows the address and prefix length: nothing, or a colon and ports. */
static int split_ports(struct parts *p, const char *rest)
{
	if (*rest && *rest != ':')
		return -EINVAL;
	p->ports = *rest ? rest + 1 : NULL;
	return 0;
}

/* Parses [ADDRESS/LENGTH], or [ADDRESS] with the length behind the bracket. */
static int split_brackets(struct parts *p, char *text)
{
	char *end = strchr(text, ']'), *slash;

	if (!end)
		return -EINVAL;
	*end++ = '\0';
	slash = strchr(text, '/');
	if (slash && (*end == '/' || strchr(slash, ':')))
		return -EINVAL; /* a second length; ports within the brackets */
	if (!slash && *end == '/')
		slash = end;
	p->prefix = slash ? slash + 1 : NULL;
	if (copy_addr(p, text + 1,
		      slash && slash < end ? (size_t)(slash - text - 1) : strlen(text + 1)))
		return -EINVAL;
	return split_ports(p, slash == end ? end + strcspn(end, ":") : end);
}

static int split(struct parts *p, char *text)
{
	char *slash = strchr(text, '/'), *colon = strchr(text, ':');

	*p = (struct parts){.prefix = NULL};
	if (*text == '[')
		return split_brackets(p, text);
	if (slash) {
		p->prefix = slash + 1;
		if (copy_addr(p, text, (size_t)(slash - text)))
			return -EINVAL;
		return split_ports(p, slash + strcspn(slash, ":"));
	}
	/* With more than one colon it is an IPv6 address. */
	if (!colon || strchr(colon + 1, ':'))
		return copy_addr(p, text, strlen(text));
	p->ports = colon + 1;
	return copy_addr(p, text, (size_t)(colon - text));
}

static int parse_address(const struct parts *p, struct dp_outward_rule *out)
{
	const char *end = "";
	int bits, n;

	if (inet_pton(AF_INET, p->addr, out->addr) == 1)
		out->family = AF_INET;
	else if (inet_pton(AF_INET6, p->addr, out->addr) == 1)
		out->family = AF_INET6;
	else
		return -EINVAL;
	bits = out->family == AF_INET ? 32 : 128;
	n = p->prefix ? parse_number(p->prefix, bits, &end) : bits;
	if (n < 0 || (*end && *end != ':'))
		return -EINVAL;
	out->prefix_len = (uint8_t)n;
	return 0;
}

static int parse_ports(const char *s, struct dp_outward_rule *out)
{
	int first, last;

	out->port_first = 0;
	out->port_last = PORT_MAX;
	if (!s)
		return 0;
	first = last = parse_number(s, PORT_MAX, &s);
	if (first >= 0 && *s == '-')
		last = parse_number(s + 1, PORT_MAX, &s);
	if (first < 1 || last < first || *s)
		return -EINVAL;
	out->port_first = (uint16_t)first;
	out->port_last = (uint16_t)last;
	return 0;
}

/* Clears the bits behind the prefix. Whether any was set. */
static bool mask_host_bits(struct dp_outward_rule *r)
{
	size_t len = r->family == AF_INET ? 4 : 16;
	bool any = false;

	for (size_t i = 0; i < len; i++) {
		unsigned kept = r->prefix_len > 8 * i ? r->prefix_len - 8 * (unsigned)i : 0;
		uint8_t mask = (uint8_t)(kept >= 8 ? 0xff : 0xff00 >> kept);

		any |= r->addr[i] & (uint8_t)~mask;
		r->addr[i] &= mask;
	}
	return any;
}

int egress_parse(const char *text, bool deny, struct dp_outward_rule *out, struct err *e)
{
	const char *name = deny ? "egress-deny" : "egress-allow";
	auto_free char *copy = strdup(text);
	char net[INET6_ADDRSTRLEN];
	struct parts parts;

	memset(out, 0, sizeof(*out));
	if (!copy)
		return err_errno(e, -ENOMEM, "--%s", name);
	if (split(&parts, copy) || parse_address(&parts, out) || parse_ports(parts.ports, out))
		return err_set(e, -EINVAL,
			       "--%s %.80s: it must be a network with or without ports, like "
			       "10.0.0.0/8, 192.0.2.1:443 or [2001:db8::/32]:1-1023",
			       name, text);
	out->deny = deny;
	if (mask_host_bits(out))
		return err_set(e, -EINVAL, "--%s %.80s is no network address, %s/%u would be", name,
			       text, inet_ntop(out->family, out->addr, net, sizeof(net)),
			       out->prefix_len);
	return 0;
}

/* Addresses to connect from. */

static bool parse_one_address(const char *text, union sock_addr *v4, union sock_addr *v6)
{
	struct in6_addr a6;
	struct in_addr a4;

	if (inet_pton(AF_INET, text, &a4) == 1) {
		v4->in4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = a4};
		return true;
	}
	if (inet_pton(AF_INET6, text, &a6) != 1)
		return false;
	v6->in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_addr = a6};
	return true;
}

static void take_interface_address(const struct sockaddr *sa, union sock_addr *v4,
				   union sock_addr *v6)
{
	const union sock_addr *a = (const union sock_addr *)sa;

	if (sa->sa_family == AF_INET && v4->sa.sa_family != AF_INET)
		v4->in4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = a->in4.sin_addr};
	if (sa->sa_family == AF_INET6 && v6->sa.sa_family != AF_INET6 &&
	    !IN6_IS_ADDR_LINKLOCAL(&a->in6.sin6_addr))
		v6->in6 = (struct sockaddr_in6){.sin6_family = AF_INET6,
						.sin6_addr = a->in6.sin6_addr};
}

static int parse_interface(const char *name, union sock_addr *v4, union sock_addr *v6,
			   struct err *e)
{
	union sock_addr found4 = {.sa.sa_family = AF_UNSPEC}, found6 = found4;
	struct ifaddrs *all;

	if (getifaddrs(&all) < 0)
		return err_errno(e, -errno, "--outbound-addr: interfaces");
	for (const struct ifaddrs *i = all; i; i = i->ifa_next)
		if (i->ifa_addr && !strcmp(i->ifa_name, name))
			take_interface_address(i->ifa_addr, &found4, &found6);
	freeifaddrs(all);
	if (found4.sa.sa_family)
		*v4 = found4;
	if (found6.sa.sa_family)
		*v6 = found6;
	if (found4.sa.sa_family || found6.sa.sa_family)
		return 0;
	return err_set(e, -EINVAL,
		       "--outbound-addr %.64s: it must be an IP address of this host, or an "
		       "interface that has one",
		       name);
}

/* Checks that the host has the address: no connection could be made from another. */
static int check_own(const union sock_addr *a, struct err *e)
{
	char text[INET6_ADDRSTRLEN];
	const void *bytes = a->sa.sa_family == AF_INET ? (const void *)&a->in4.sin_addr
						       : (const void *)&a->in6.sin6_addr;
	auto_fd int fd = -1;

	if (!a->sa.sa_family)
		return 0;
	fd = socket(a->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && bind(fd, &a->sa, sizeof(*a)) == 0)
		return 0;
	return err_errno(e, -errno, "--outbound-addr %s: it must be an address of this host",
			 inet_ntop(a->sa.sa_family, bytes, text, sizeof(text)));
}

int egress_outbound(const char *text, union sock_addr *v4, union sock_addr *v6, struct err *e)
{
	auto_free char *copy = strdup(text);
	char *rest = copy, *word;
	int code = 0;

	if (!copy)
		return err_errno(e, -ENOMEM, "--outbound-addr");
	while (!code && (word = strsep(&rest, ",")))
		if (!parse_one_address(word, v4, v6))
			code = parse_interface(word, v4, v6, e);
	code = code ? code : check_own(v4, e);
	return code ? code : check_own(v6, e);
}

/* Text */

static void put_rule(FILE *f, const struct dp_outward_rule *r)
{
	bool ipv6 = r->family == AF_INET6;
	char addr[INET6_ADDRSTRLEN];

	inet_ntop(ipv6 ? AF_INET6 : AF_INET, r->addr, addr, sizeof(addr));
	fprintf(f, ipv6 && r->port_first ? "%s [%s/%u]" : "%s %s/%u", r->deny ? "deny" : "allow",
		addr, r->prefix_len);
	if (r->port_first == 0)
		return;
	fprintf(f, r->port_first == r->port_last ? ":%u" : ":%u-%u", r->port_first, r->port_last);
}

const char *egress_text(const struct dp_outward *policy, char *buf, size_t size)
{
	FILE *f = fmemopen(buf, size, "w");

	buf[0] = '\0';
	if (!f)
		return buf;
	for (uint32_t i = 0; i < policy->n_rules && i < DP_OUTWARD_RULES; i++) {
		fputs(i ? ", " : "", f);
		put_rule(f, &policy->rules[i]);
	}
	fclose(f);
	buf[size - 1] = '\0';
	return buf;
}
