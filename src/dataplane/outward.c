/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/outward.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/fdpass.h"
#include "base/limits.h"
#include "dataplane/sockopt.h"
#include "ns/router.h"

static_assert(DP_OUTWARD_CHANNEL == 1 << (DP_OUTWARD_FDS - 1), "the channel is the last");

void outward_init(struct dataplane_outward *o)
{
	o->netns_fd = o->raw4 = o->raw6 = -1;
	o->has = 0;
	for (unsigned i = 0; i < LIMIT_WORKERS; i++)
		for (unsigned j = 0; j < DP_OUTWARD_FDS; j++)
			o->fds[i][j] = -1;
}

void outward_close(struct dataplane_outward *o)
{
	close_fd(&o->netns_fd);
	close_fd(&o->raw4);
	close_fd(&o->raw6);
	for (unsigned i = 0; i < LIMIT_WORKERS; i++)
		for (unsigned j = 0; j < DP_OUTWARD_FDS; j++)
			close_fd(&o->fds[i][j]);
}

/* Sockets */

static int set_transparent(int fd, int family)
{
	if (family == AF_INET)
		return sockopt_set(fd, IPPROTO_IP, IP_TRANSPARENT, 1);
	return sockopt_set(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1);
}

static int bind_any(int fd, int family, uint16_t port)
{
	union sock_addr a = {.sa.sa_family = (sa_family_t)family};
	socklen_t len = family == AF_INET ? sizeof(a.in4) : sizeof(a.in6);

	if (family == AF_INET)
		a.in4.sin_port = htons(port);
	else
		a.in6.sin6_port = htons(port);
	return bind(fd, &a.sa, len) < 0 ? -errno : 0;
}

/* Opens a transparent socket. Returns the descriptor or -errno. */
static int open_transparent(int family, int type, int proto)
{
	auto_fd int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, proto);
	int code = fd < 0 ? -errno : set_transparent(fd, family);

	if (!code && family == AF_INET6)
		code = sockopt_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	return code ? code : steal_fd(&fd);
}

static int open_tcp(int family, unsigned worker)
{
	auto_fd int fd = open_transparent(family, SOCK_STREAM, IPPROTO_TCP);
	int code = fd < 0 ? fd : sockopt_tcp(fd);

	if (code)
		return code;
	sockopt_no_pacing(fd);
	code = bind_any(fd, family, (uint16_t)(ROUTER_TCP_PORT + worker));
	if (!code && listen(fd, LIMIT_OUT_BACKLOG) < 0)
		code = -errno;
	return code ? code : steal_fd(&fd);
}

/* The kernel tells with each datagram where it was sent to. */
static int open_udp(int family)
{
	auto_fd int fd = open_transparent(family, SOCK_DGRAM, IPPROTO_UDP);
	int code = fd < 0 ? fd : sockopt_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);

	/* A responder (worker/out_responder.c) binds to a server's address and port, and the
	 * server's port may be this one. */
	if (!code)
		code = sockopt_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (!code && family == AF_INET)
		code = sockopt_set(fd, IPPROTO_IP, IP_RECVORIGDSTADDR, 1);
	else if (!code)
		code = sockopt_set(fd, IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 1);
	if (code)
		return code;
	sockopt_udp(fd);
	code = bind_any(fd, family, ROUTER_UDP_PORT);
	return code ? code : steal_fd(&fd);
}

static int open_raw(int family)
{
	auto_fd int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW);
	int code = fd < 0 ? -errno : 0;

	/* For IPv4, IPPROTO_RAW implies the header option: raw(7). */
	if (!code && family == AF_INET6)
		code = sockopt_set(fd, IPPROTO_IPV6, IPV6_HDRINCL, 1);
	return code ? code : steal_fd(&fd);
}

static int open_family(struct dataplane_outward *o, unsigned worker, int family)
{
	unsigned v6 = family == AF_INET6;
	int *tcp = &o->fds[worker][v6], *udp = &o->fds[worker][2 + v6];

	*tcp = open_tcp(family, worker);
	if (*tcp < 0)
		return *tcp;
	*udp = open_udp(family);
	return *udp < 0 ? *udp : 0;
}

static int open_worker(struct dataplane_outward *o, unsigned worker, struct err *e)
{
	int code = open_family(o, worker, AF_INET);

	if (!code && o->config.ipv6)
		code = open_family(o, worker, AF_INET6);
	if (code)
		return err_errno(e, code, "cannot make a transparent socket of the router");
	if (!(o->has & DP_OUTWARD_QUEUE))
		return 0;
	return router_queue_open((uint16_t)(ROUTER_QUEUE + worker), &o->fds[worker][4], e);
}

static int open_raws(struct dataplane_outward *o, struct err *e)
{
	o->raw4 = open_raw(AF_INET);
	if (o->raw4 >= 0 && o->config.ipv6)
		o->raw6 = open_raw(AF_INET6);
	if (o->raw4 < 0 || (o->config.ipv6 && o->raw6 < 0))
		return err_errno(e, o->raw4 < 0 ? o->raw4 : o->raw6,
				 "cannot make a raw socket of the router");
	return 0;
}

int outward_open(struct dataplane_outward *o, bool queue, struct err *e)
{
	int code = 0;

	o->has = DP_OUTWARD_TCP4 | DP_OUTWARD_UDP4;
	if (o->config.ipv6)
		o->has |= DP_OUTWARD_TCP6 | DP_OUTWARD_UDP6;
	if (queue)
		o->has |= DP_OUTWARD_QUEUE;
	for (unsigned i = 0; i < o->workers && !code; i++)
		code = open_worker(o, i, e);
	if (!code)
		code = open_raws(o, e);
	if (code)
		return code;
	code = sockopt_netns_cookie(o->raw4, &o->config.netns_cookie);
	return code ? err_errno(e, code, "SO_NETNS_COOKIE") : 0;
}

/* Messages */

static int send_worker(const struct dataplane_outward *o, int sock, unsigned worker, int channel,
		       int flags)
{
	struct dp_outward_worker msg = {.number = worker,
					.has = o->has | (channel >= 0 ? DP_OUTWARD_CHANNEL : 0)};
	int fds[DP_OUTWARD_FDS];
	size_t n = 0;

	for (unsigned bit = 0; bit < DP_OUTWARD_FDS - 1; bit++)
		if (o->has >> bit & 1)
			fds[n++] = o->fds[worker][bit];
	if (channel >= 0)
		fds[n++] = channel;
	return fdpass_send(sock, &msg, sizeof(msg), fds, n, flags);
}

int outward_send(const struct dataplane_outward *o, int sock, const int *channels, int flags)
{
	int raws[2] = {o->raw4, o->raw6};
	int code = fdpass_send(sock, &o->config, sizeof(o->config), raws, o->config.ipv6 ? 2 : 1,
			       flags);

	for (unsigned i = 0; i < o->workers && !code; i++)
		code = send_worker(o, sock, i, channels ? channels[i] : -1, flags);
	return code;
}

static int receive_worker(struct dataplane_outward *o, int sock, unsigned worker)
{
	struct dp_outward_worker msg;
	int fds[DP_OUTWARD_FDS];
	size_t n = DP_OUTWARD_FDS, next = 0;
	ssize_t len = fdpass_recv(sock, &msg, sizeof(msg), fds, &n, 0);

	if (len < 0)
		return (int)len;
	if (len != sizeof(msg) || msg.number != worker || msg.has >= 1u << DP_OUTWARD_FDS ||
	    (size_t)__builtin_popcount(msg.has) != n) {
		fdpass_close(fds, len > 0 ? n : 0);
		return -EPROTO;
	}
	o->has = msg.has;
	for (unsigned bit = 0; bit < DP_OUTWARD_FDS; bit++)
		if (msg.has >> bit & 1)
			o->fds[worker][bit] = fds[next++];
	return 0;
}

int outward_receive(struct dataplane_outward *o, int sock)
{
	int raws[2] = {-1, -1}, code = 0;
	size_t n = 2;
	ssize_t len = fdpass_recv(sock, &o->config, sizeof(o->config), raws, &n, 0);

	if (len < 0)
		return (int)len;
	o->raw4 = len > 0 && n > 0 ? raws[0] : -1;
	o->raw6 = len > 0 && n > 1 ? raws[1] : -1;
	if (len != sizeof(o->config) || n != (o->config.ipv6 ? 2 : 1) ||
	    o->config.n_rules > DP_OUTWARD_RULES || o->config.n_resolvers > DP_RESOLVERS)
		return -EPROTO;
	for (unsigned i = 0; i < o->workers && !code; i++)
		code = receive_worker(o, sock, i);
	return code;
}
