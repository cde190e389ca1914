/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sockaddr.h"

#include <netinet/in.h>
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
