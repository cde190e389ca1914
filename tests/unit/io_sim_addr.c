/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "io_sim_internal.h"

/* Where the simulated hosts are in IPv6: RFC 3849. */
static const struct in6_addr network = {.s6_addr = {0x20, 0x01, 0x0d, 0xb8}};

union sock_addr sim_addr(int family, uint32_t host, uint16_t port)
{
	union sock_addr a = {.in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)}};

	if (family == AF_INET) {
		a = (union sock_addr){.in6 = {0}};
		a.in4 = (struct sockaddr_in){.sin_family = AF_INET,
					     .sin_port = htons(port),
					     .sin_addr.s_addr = htonl(host)};
	} else if (host >> 24 == IN_LOOPBACKNET) {
		a.in6.sin6_addr = in6addr_loopback;
	} else if (host) {
		a.in6.sin6_addr = network;
		a.in6.sin6_addr.s6_addr32[3] = htonl(host);
	}
	return a;
}

uint32_t sim_host_of(const union sock_addr *a)
{
	if (a->sa.sa_family == AF_INET)
		return ntohl(a->in4.sin_addr.s_addr);
	if (IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr))
		return INADDR_LOOPBACK;
	return ntohl(a->in6.sin6_addr.s6_addr32[3]);
}

/* connect(2) and sendto(2) to an address of the other family, or to an IPv4 address by a mapped
 * one, are faults of the worker's. Only a dual-stack socket may send to a mapped address. */
int sim_addr_error(const struct sim *s, const struct object *o, const struct sockaddr *addr,
		   socklen_t len)
{
	union sock_addr a = {.in6 = {0}};

	assert(addr->sa_family == o->family && len == sockaddr_len(addr));
	if (o->family == AF_INET)
		return 0;
	memcpy(&a, addr, len);
	assert(o->dual || !IN6_IS_ADDR_V4MAPPED(&a.in6.sin6_addr));
	if (o->outside && s->no_ipv6)
		return s->no_ipv6;
	return IN6_IS_ADDR_LINKLOCAL(&a.in6.sin6_addr) && !a.in6.sin6_scope_id ? -EINVAL : 0;
}

union sock_addr sim_addr_shown(const struct object *o, const union sock_addr *a)
{
	union sock_addr mapped = {.in6 = {.sin6_family = AF_INET6}};

	if (a->sa.sa_family == o->family)
		return *a;
	/* Nobody of the other family comes to a socket that is not a dual-stack one. */
	assert(o->dual && a->sa.sa_family == AF_INET);
	mapped.in6.sin6_port = a->in4.sin_port;
	mapped.in6.sin6_addr.s6_addr32[2] = htonl(0xffff);
	mapped.in6.sin6_addr.s6_addr32[3] = a->in4.sin_addr.s_addr;
	return mapped;
}
