/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/udp_key.h"

#include <netinet/udp.h>
#include <string.h>

static void map_ipv4(struct in6_addr *out, const struct in_addr *in)
{
	out->s6_addr32[0] = out->s6_addr32[1] = 0;
	out->s6_addr32[2] = htonl(0xffff);
	out->s6_addr32[3] = in->s_addr;
}

bool udp_key_client(struct udp_key *key, const struct io_datagram *d)
{
	union sock_addr name;

	if (d->name_len > sizeof(name) || d->name_len < sizeof(name.in4))
		return false;
	memcpy(&name, d->name, d->name_len);
	if (name.sa.sa_family == AF_INET) {
		map_ipv4(&key->client, &name.in4.sin_addr);
		key->client_port = name.in4.sin_port;
		return true;
	}
	if (name.sa.sa_family != AF_INET6)
		return false;
	key->client = name.in6.sin6_addr;
	key->client_port = name.in6.sin6_port;
	key->client_scope = name.in6.sin6_scope_id;
	return true;
}

static void key_local_ipv4(struct udp_key *key, const struct cmsghdr *c)
{
	struct in_pktinfo info;

	memcpy(&info, CMSG_DATA(c), sizeof(info));
	/* If the datagram was sent to a broadcast address, this is our own address. */
	map_ipv4(&key->local, &info.ipi_spec_dst);
}

static void key_local_ipv6(struct udp_key *key, const struct cmsghdr *c)
{
	struct in6_pktinfo info;

	memcpy(&info, CMSG_DATA(c), sizeof(info));
	if (IN6_IS_ADDR_MULTICAST(&info.ipi6_addr))
		return;
	key->local = info.ipi6_addr;
	/* Only link-local addresses need an interface; otherwise the route decides. */
	if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
		key->local_ifindex = info.ipi6_ifindex;
}

size_t udp_read_control(const struct io_datagram *d, struct udp_key *key)
{
	struct msghdr msg = {.msg_control = d->control, .msg_controllen = d->control_len};
	int segment = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO)
			memcpy(&segment, CMSG_DATA(c), sizeof(segment));
		else if (key && c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO)
			key_local_ipv4(key, c);
		else if (key && c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
			key_local_ipv6(key, c);
	}
	return segment > 0 && (size_t)segment < d->len ? (size_t)segment : 0;
}

struct udp_payload udp_payload_of(const struct io_datagram *d, size_t segment)
{
	return (struct udp_payload){.data = d->payload,
				    .len = (uint32_t)d->len,
				    .segment = (uint16_t)segment,
				    .buf_id = d->buf_id};
}
