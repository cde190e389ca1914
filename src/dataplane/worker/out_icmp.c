/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/out_icmp.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>

#include "base/checksum.h"
#include "dataplane/worker/worker_internal.h"

/*
 * ICMP messages to the inside, through raw sockets of the router's namespace: errors that the
 * outside has reported about datagrams (RFC 792, RFC 4443), and answers to pings.
 */

#define TTL 64

/* Checksums */

static uint16_t checksum(uint32_t sum, const void *data, size_t len)
{
	return htons(checksum_of(checksum_add(sum, data, len)));
}

/* The sum of the addresses and other fields that an ICMPv6 checksum covers (RFC 8200, 8.1). */
static uint32_t pseudo_header(const struct in6_addr *from, const struct in6_addr *to, size_t len,
			      uint8_t proto)
{
	uint32_t sum = checksum_add(checksum_add(0, from, sizeof(*from)), to, sizeof(*to));

	return sum + (uint32_t)len + proto;
}

/* Sending */

static void send_raw(struct worker *w, int fd, const union sock_addr *to, socklen_t to_len,
		     void *header, size_t header_len, void *message, size_t len)
{
	struct iovec iov[] = {{.iov_base = header, .iov_len = header_len},
			      {.iov_base = message, .iov_len = len}};
	union sock_addr name = *to;
	struct msghdr msg = {
		.msg_name = &name, .msg_namelen = to_len, .msg_iov = iov, .msg_iovlen = 2};

	name.in4.sin_port = 0; /* raw(7) wants port 0; an IPv6 port is at the same place */
	if (fd >= 0)
		w->io->ops->sendmsg(w->io, fd, &msg, 0);
}

static void send_ipv4(struct worker *w, const struct in_addr *from, const union sock_addr *to,
		      void *message, size_t len)
{
	struct iphdr ip = {.version = 4,
			   .ihl = sizeof(ip) / 4,
			   .tot_len = htons((uint16_t)(sizeof(ip) + len)),
			   .ttl = TTL,
			   .protocol = IPPROTO_ICMP,
			   .saddr = from->s_addr,
			   .daddr = to->in4.sin_addr.s_addr};
	uint16_t sum;

	memset((uint8_t *)message + 2, 0, sizeof(sum));
	sum = checksum(0, message, len);
	memcpy((uint8_t *)message + 2, &sum, sizeof(sum));
	send_raw(w, w->config.out.raw_fd[0], to, sizeof(to->in4), &ip, sizeof(ip), message, len);
}

static void send_ipv6(struct worker *w, const struct in6_addr *from, const union sock_addr *to,
		      void *message, size_t len)
{
	struct ip6_hdr ip = {.ip6_flow = htonl(6u << 28),
			     .ip6_plen = htons((uint16_t)len),
			     .ip6_nxt = IPPROTO_ICMPV6,
			     .ip6_hlim = TTL,
			     .ip6_src = *from,
			     .ip6_dst = to->in6.sin6_addr};
	uint16_t sum;

	memset((uint8_t *)message + 2, 0, sizeof(sum));
	sum = checksum(pseudo_header(from, &ip.ip6_dst, len, IPPROTO_ICMPV6), message, len);
	memcpy((uint8_t *)message + 2, &sum, sizeof(sum));
	send_raw(w, w->config.out.raw_fd[1], to, sizeof(to->in6), &ip, sizeof(ip), message, len);
}

void out_icmp_send(struct worker *w, const union sock_addr *client, const union sock_addr *from,
		   void *message, size_t len)
{
	if (client->sa.sa_family == AF_INET6)
		send_ipv6(w, &from->in6.sin6_addr, client, message, len);
	else
		send_ipv4(w, &from->in4.sin_addr, client, message, len);
}

/* Errors: an ICMP header of 8 bytes, then the headers of the datagram, by which the client's kernel
 * finds the socket that sent it. */

struct error4 {
	struct icmphdr icmp;
	struct iphdr ip;
	struct udphdr udp;
};

struct error6 {
	struct icmp6_hdr icmp;
	struct ip6_hdr ip;
	struct udphdr udp;
};

static bool code_ipv4(int err, struct icmphdr *icmp)
{
	icmp->type = ICMP_DEST_UNREACH;
	switch (err) {
	case ECONNREFUSED:
		icmp->code = ICMP_PORT_UNREACH;
		return true;
	case EHOSTUNREACH:
		icmp->code = ICMP_HOST_UNREACH;
		return true;
	case ENETUNREACH:
	case EAFNOSUPPORT:  /* the host has no addresses of this family */
	case EADDRNOTAVAIL: /* the host does not have the address of --outbound-addr */
		icmp->code = ICMP_NET_UNREACH;
		return true;
	case EACCES:
	case EPERM:
		icmp->code = ICMP_PKT_FILTERED;
		return true;
	case EMSGSIZE:
		icmp->code = ICMP_FRAG_NEEDED;
		return true;
	default:
		return false;
	}
}

static bool code_ipv6(int err, struct icmp6_hdr *icmp)
{
	icmp->icmp6_type = err == EMSGSIZE ? ICMP6_PACKET_TOO_BIG : ICMP6_DST_UNREACH;
	switch (err) {
	case ECONNREFUSED:
		icmp->icmp6_code = ICMP6_DST_UNREACH_NOPORT;
		return true;
	case EHOSTUNREACH:
		icmp->icmp6_code = ICMP6_DST_UNREACH_ADDR;
		return true;
	case ENETUNREACH:
	case EAFNOSUPPORT:  /* the host has no addresses of this family */
	case EADDRNOTAVAIL: /* the host does not have the address of --outbound-addr */
		icmp->icmp6_code = ICMP6_DST_UNREACH_NOROUTE;
		return true;
	case EACCES:
	case EPERM:
		icmp->icmp6_code = ICMP6_DST_UNREACH_ADMIN;
		return true;
	case EMSGSIZE:
		return true;
	default:
		return false;
	}
}

static struct udphdr quoted_udp(const union sock_addr *client, const union sock_addr *dest,
				size_t len)
{
	return (struct udphdr){.source = client->in4.sin_port,
			       .dest = dest->in4.sin_port,
			       .len = htons((uint16_t)(sizeof(struct udphdr) + len))};
}

static void error_ipv4(struct worker *w, const union sock_addr *client, const union sock_addr *dest,
		       int err, uint32_t mtu, size_t len)
{
	struct error4 e = {.ip = {.version = 4,
				  .ihl = sizeof(e.ip) / 4,
				  .tot_len = htons((uint16_t)(sizeof(e.ip) + sizeof(e.udp) + len)),
				  .ttl = TTL,
				  .protocol = IPPROTO_UDP,
				  .saddr = client->in4.sin_addr.s_addr,
				  .daddr = dest->in4.sin_addr.s_addr},
			   .udp = quoted_udp(client, dest, len)};

	if (!code_ipv4(err, &e.icmp))
		return;
	e.icmp.un.frag.mtu = htons((uint16_t)mtu);
	e.ip.check = checksum(0, &e.ip, sizeof(e.ip));
	send_ipv4(w, &dest->in4.sin_addr, client, &e, sizeof(e));
}

static void error_ipv6(struct worker *w, const union sock_addr *client, const union sock_addr *dest,
		       int err, uint32_t mtu, size_t len)
{
	struct error6 e = {.ip = {.ip6_flow = htonl(6u << 28),
				  .ip6_plen = htons((uint16_t)(sizeof(e.udp) + len)),
				  .ip6_nxt = IPPROTO_UDP,
				  .ip6_hlim = TTL,
				  .ip6_src = client->in6.sin6_addr,
				  .ip6_dst = dest->in6.sin6_addr},
			   .udp = quoted_udp(client, dest, len)};

	if (!code_ipv6(err, &e.icmp))
		return;
	e.icmp.icmp6_mtu = htonl(mtu);
	send_ipv6(w, &dest->in6.sin6_addr, client, &e, sizeof(e));
}

void out_icmp_error(struct worker *w, const union sock_addr *client, const union sock_addr *dest,
		    int err, uint32_t mtu, size_t len)
{
	if (err == EMSGSIZE && mtu == 0)
		return;
	if (len > UDP_PAYLOAD_MAX - sizeof(struct error6))
		len = 0;
	if (client->sa.sa_family != dest->sa.sa_family)
		return;
	if (client->sa.sa_family == AF_INET6)
		error_ipv6(w, client, dest, err, mtu, len);
	else
		error_ipv4(w, client, dest, err, mtu, len);
}
