/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/gate_packet.h"

#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <string.h>

#include "ns/netlink.h"

/* No honest TCP packet has more extension headers than this (RFC 8504, 5.3). */
#define EXTENSIONS_MAX 8

/* The part of the packet that follows the IP header. */
struct rest {
	const uint8_t *data;
	size_t len;
	uint8_t proto;
};

static bool read_ipv4(const uint8_t *data, size_t len, struct gate_packet *out, struct rest *rest)
{
	struct iphdr ip;
	size_t header, total;

	if (len < sizeof(ip))
		return false;
	memcpy(&ip, data, sizeof(ip));
	header = (size_t)ip.ihl * 4;
	total = ntohs(ip.tot_len);
	if (header < sizeof(ip) || total < header || total > len)
		return false;
	if (ntohs(ip.frag_off) & (IP_MF | IP_OFFMASK))
		return false;
	out->source.in4.sin_family = out->dest.in4.sin_family = AF_INET;
	out->source.in4.sin_addr.s_addr = ip.saddr;
	out->dest.in4.sin_addr.s_addr = ip.daddr;
	*rest = (struct rest){.data = data + header, .len = total - header, .proto = ip.protocol};
	return true;
}

static bool is_extension(uint8_t proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_DSTOPTS || proto == IPPROTO_ROUTING;
}

/* Skips the extension headers (RFC 8200, 4). */
static bool skip_extensions(struct rest *rest)
{
	for (unsigned i = 0; is_extension(rest->proto); i++) {
		struct ip6_ext ext;
		size_t len;

		if (i == EXTENSIONS_MAX || rest->len < sizeof(ext))
			return false;
		memcpy(&ext, rest->data, sizeof(ext));
		len = ((size_t)ext.ip6e_len + 1) * 8;
		if (len > rest->len)
			return false;
		rest->data += len;
		rest->len -= len;
		rest->proto = ext.ip6e_nxt;
	}
	return true;
}

static bool read_ipv6(const uint8_t *data, size_t len, struct gate_packet *out, struct rest *rest)
{
	struct ip6_hdr ip;
	size_t payload;

	if (len < sizeof(ip))
		return false;
	memcpy(&ip, data, sizeof(ip));
	payload = ntohs(ip.ip6_plen);
	if (payload > len - sizeof(ip))
		return false;
	out->source.in6.sin6_family = out->dest.in6.sin6_family = AF_INET6;
	out->source.in6.sin6_addr = ip.ip6_src;
	out->dest.in6.sin6_addr = ip.ip6_dst;
	*rest = (struct rest){.data = data + sizeof(ip), .len = payload, .proto = ip.ip6_nxt};
	return skip_extensions(rest);
}

static bool read_syn(const struct rest *rest, struct gate_packet *out)
{
	struct tcphdr tcp;

	if (rest->len < sizeof(tcp))
		return false;
	memcpy(&tcp, rest->data, sizeof(tcp));
	if (!tcp.syn || tcp.ack || tcp.rst || tcp.fin || tcp.source == 0 || tcp.dest == 0)
		return false;
	out->kind = GATE_SYN;
	out->seq = ntohl(tcp.seq);
	/* An IPv6 port is at the same place. */
	out->source.in4.sin_port = tcp.source;
	out->dest.in4.sin_port = tcp.dest;
	return true;
}

static bool read_echo(const struct rest *rest, uint8_t type, struct gate_packet *out)
{
	if (rest->len < sizeof(struct icmphdr) || rest->data[0] != type || rest->data[1] != 0)
		return false;
	out->kind = GATE_ECHO;
	out->icmp = rest->data;
	out->icmp_len = rest->len;
	return true;
}

bool gate_packet_parse(const uint8_t *data, size_t len, struct gate_packet *out)
{
	struct rest rest;
	bool ipv6;

	memset(out, 0, sizeof(*out));
	if (len == 0)
		return false;
	ipv6 = data[0] >> 4 == 6;
	if (!ipv6 && data[0] >> 4 != 4)
		return false;
	if (!(ipv6 ? read_ipv6 : read_ipv4)(data, len, out, &rest))
		return false;
	if (rest.proto == IPPROTO_TCP)
		return read_syn(&rest, out);
	if (rest.proto == (ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		return read_echo(&rest, ipv6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO, out);
	return false;
}

/* The queue's socket */

static bool read_message(const struct nlmsghdr *nlh, struct gate_message *out)
{
	const struct nlattr *attr;
	bool has_id = false;

	*out = (struct gate_message){.packet = NULL};
	if (nlh->nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET) ||
	    nlh->nlmsg_len < MNL_NLMSG_HDRLEN + sizeof(struct nfgenmsg))
		return false;
	for (attr = mnl_nlmsg_get_payload_offset(nlh, sizeof(struct nfgenmsg));
	     mnl_attr_ok(attr, netlink_left(nlh, attr)); attr = mnl_attr_next(attr)) {
		uint16_t len = mnl_attr_get_payload_len(attr);

		if (mnl_attr_get_type(attr) == NFQA_PAYLOAD) {
			out->packet = mnl_attr_get_payload(attr);
			out->len = len;
		} else if (mnl_attr_get_type(attr) == NFQA_PACKET_HDR &&
			   len >= sizeof(struct nfqnl_msg_packet_hdr)) {
			struct nfqnl_msg_packet_hdr hdr;

			memcpy(&hdr, mnl_attr_get_payload(attr), sizeof(hdr));
			out->id = ntohl(hdr.packet_id);
			has_id = true;
		}
	}
	return has_id;
}

bool gate_message_next(const void *data, size_t len, size_t *at, struct gate_message *out)
{
	while (*at < len) {
		const struct nlmsghdr *nlh = (const void *)((const uint8_t *)data + *at);
		size_t left = len - *at;

		if (left < sizeof(*nlh) || nlh->nlmsg_len < sizeof(*nlh) || nlh->nlmsg_len > left)
			return false;
		*at += MNL_ALIGN(nlh->nlmsg_len);
		if (read_message(nlh, out))
			return true;
	}
	return false;
}
