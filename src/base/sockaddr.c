/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sockaddr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

bool sockaddr_is_loopback(const struct sockaddr *sa)
{
	struct sockaddr_in6 in6;
	struct sockaddr_in in4;

	if (sa->sa_family == AF_INET) {
		memcpy(&in4, sa, sizeof(in4));
		return ntohl(in4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	}
	if (sa->sa_family != AF_INET6)
		return false;
	memcpy(&in6, sa, sizeof(in6));
	return IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr) ||
	       (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr) &&
		in6.sin6_addr.s6_addr[12] == IN_LOOPBACKNET);
}

socklen_t sockaddr_len(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET)
		return sizeof(struct sockaddr_in);
	return sa->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : 0;
}

void sockaddr_unmap(union sock_addr *a)
{
	struct sockaddr_in in4 = {.sin_family = AF_INET};

	if (a->sa.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr))
		return;
	in4.sin_port = a->in6.sin6_port;
	memcpy(&in4.sin_addr, &a->in6.sin6_addr.s6_addr[12], sizeof(in4.sin_addr));
	memset(a, 0, sizeof(*a));
	a->in4 = in4;
}

const char *sockaddr_format(const struct sockaddr *sa, char buf[SOCKADDR_TEXT_BYTES])
{
	union sock_addr a = {.sa = {.sa_family = AF_UNSPEC}};
	char ip[INET6_ADDRSTRLEN];

	memcpy(&a, sa, sockaddr_len(sa));
	if (a.sa.sa_family == AF_INET)
		snprintf(buf, SOCKADDR_TEXT_BYTES, "%s:%u",
			 inet_ntop(AF_INET, &a.in4.sin_addr, ip, sizeof(ip)),
			 ntohs(a.in4.sin_port));
	else if (a.sa.sa_family == AF_INET6)
		snprintf(buf, SOCKADDR_TEXT_BYTES, "[%s]:%u",
			 inet_ntop(AF_INET6, &a.in6.sin6_addr, ip, sizeof(ip)),
			 ntohs(a.in6.sin6_port));
	else
		snprintf(buf, SOCKADDR_TEXT_BYTES, "nobody");
	return buf;
}
