/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/sockopt.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include "base/array.h"
#include "base/linux_calls.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/* As in Go's net package: the kernel notices after 15 + 9 * 15 s that a peer has vanished. */
#define KEEPALIVE_S 15

/* Datagrams come in bursts while a worker is busy with other flows. The kernel limits this to
 * net.core.rmem_max and wmem_max, and counts a small datagram as some 800 bytes: at least 2,500 of
 * them fit. */
#define UDP_BUFFER_BYTES (2 << 20)

int sockopt_set(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

bool sockopt_is(int fd, int option, int want)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) == 0 && value == want;
}

int sockopt_netns_cookie(int fd, uint64_t *cookie)
{
	socklen_t len = sizeof(*cookie);

	*cookie = 0;
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, cookie, &len) < 0 && errno != ENOPROTOOPT)
		return -errno;
	return 0;
}

bool sockopt_in_netns(int fd, uint64_t cookie)
{
	uint64_t own;

	return sockopt_netns_cookie(fd, &own) == 0 && own != 0 && own == cookie;
}

int sockopt_tcp(int fd)
{
	static const struct {
		int level, option, value;
	} options[] = {
		{IPPROTO_TCP, TCP_NODELAY, 1},
		{SOL_SOCKET, SO_KEEPALIVE, 1},
		{IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_S},
		{IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_S},
		/* An urgent byte is delivered in its place: splice(2) stops there, recv(2) reads
		 * it. */
		{SOL_SOCKET, SO_OOBINLINE, 1},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
		int code = sockopt_set(fd, options[i].level, options[i].option, options[i].value);

		if (code < 0)
			return code;
	}
	return 0;
}

void sockopt_no_pacing(int fd)
{
	setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
}

void sockopt_udp(int fd)
{
	sockopt_set(fd, IPPROTO_UDP, UDP_GRO, 1);
	sockopt_set(fd, SOL_SOCKET, SO_RCVBUF, UDP_BUFFER_BYTES);
	sockopt_set(fd, SOL_SOCKET, SO_SNDBUF, UDP_BUFFER_BYTES);
}

int sockopt_outside_udp(int fd, int family)
{
	sockopt_udp(fd);
	return family == AF_INET6 ? sockopt_set(fd, IPPROTO_IPV6, IPV6_RECVERR, 1)
				  : sockopt_set(fd, IPPROTO_IP, IP_RECVERR, 1);
}
