/* SPDX-License-Identifier: Apache-2.0 */
#include "ns/turned.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/checksum.h"
#include "base/fd.h"
#include "base/loop.h"
#include "ns/localroute.h"
#include "ns/netlink.h"
#include "ns/nfqueue.h"
#include "ns/nft.h"

/*
 * A packet that a packet socket (packet(7)) puts on lo comes in there without having left from
 * anywhere: rules for what comes in see it, those for what leaves do not. It has a mark, and behind
 * the rules that turn connections elsewhere there is one of ours, as nft(8) would show it:
 *
 *   table inet rootlesskit {
 *     chain asked {
 *       type filter hook prerouting priority dstnat + 20;
 *       meta mark 0x524b5452 queue to 21067
 *     }
 *   }
 *
 * The queue shows the packet, with the destination that it has by then, and the verdict is to drop
 * it. Connection tracking forgets what is dropped before it has left or arrived. When the rule has
 * been taken away, the packet goes on, but not beyond the namespace: its time to live is 1.
 */

#define MARK	 0x524b5452u
#define QUEUE	 21067
#define PRIORITY (-80) /* NF_IP_PRI_NAT_DST is -100 */

/* The sender: addresses reserved for documentation (RFC 5737 and RFC 3849). */
#define SENDER4 0xc0000201u /* 192.0.2.1 */
static const struct in6_addr sender6 = {.s6_addr = {0x20, 0x01, 0x0d, 0xb8, [15] = 1}};

/* What the queue may hold. Nobody but us has reason to send packets with the mark. */
#define QUEUE_PACKETS 64
/* But root of the namespace may, any number of them. After so many for one question, another time
 * may be better. */
#define FOREIGN_MAX   (2 * QUEUE_PACKETS)
#define MESSAGE_BYTES 4096
#define COPY_BYTES    128

/* The packet */

/* Writes the TCP or UDP header behind an IP header. addresses: the sum over both. Its length. */
static size_t put_transport(uint8_t *at, int proto, in_port_t source, in_port_t dest,
			    uint32_t addresses)
{
	struct tcphdr tcp = {.source = source,
			     .dest = dest,
			     .syn = 1,
			     .doff = sizeof(tcp) / 4,
			     .window = htons(1024)};
	struct udphdr udp = {.source = source, .dest = dest, .len = htons(sizeof(udp))};
	size_t len = proto == IPPROTO_TCP ? sizeof(tcp) : sizeof(udp);
	uint32_t so_far = addresses + (uint32_t)proto + (uint32_t)len;

	if (proto == IPPROTO_TCP) {
		tcp.check = htons(checksum_of(checksum_add(so_far, &tcp, len)));
		memcpy(at, &tcp, len);
		return len;
	}
	udp.check = htons(checksum_of(checksum_add(so_far, &udp, len)));
	if (udp.check == 0) /* which would mean that there is none */
		udp.check = 0xffff;
	memcpy(at, &udp, len);
	return len;
}

static size_t put_ipv4(uint8_t *buf, int proto, const union sock_addr *at, in_port_t source)
{
	struct iphdr ip = {.version = 4,
			   .ihl = sizeof(ip) / 4,
			   .ttl = 1,
			   .protocol = (uint8_t)proto,
			   .saddr = htonl(SENDER4),
			   .daddr = at->in4.sin_addr.s_addr};
	size_t len = sizeof(ip) + put_transport(buf + sizeof(ip), proto, source, at->in4.sin_port,
						checksum_add(0, &ip.saddr, 8));

	ip.tot_len = htons((uint16_t)len);
	ip.check = htons(checksum_of(checksum_add(0, &ip, sizeof(ip))));
	memcpy(buf, &ip, sizeof(ip));
	return len;
}

static size_t put_ipv6(uint8_t *buf, int proto, const union sock_addr *at, in_port_t source)
{
	struct ip6_hdr ip = {.ip6_src = sender6, .ip6_dst = at->in6.sin6_addr};
	size_t len = put_transport(buf + sizeof(ip), proto, source, at->in6.sin6_port,
				   checksum_add(0, &ip.ip6_src, 32));

	ip.ip6_vfc = 6 << 4;
	ip.ip6_plen = htons((uint16_t)len);
	ip.ip6_nxt = (uint8_t)proto;
	ip.ip6_hlim = 1;
	memcpy(buf, &ip, sizeof(ip));
	return sizeof(ip) + len;
}

/* The sender's port is the question's number: answers to earlier questions may come late. */
size_t turned_packet(uint8_t buf[TURNED_PACKET_BYTES], int proto, const union sock_addr *at,
		     uint16_t number)
{
	return at->sa.sa_family == AF_INET ? put_ipv4(buf, proto, at, htons(number))
					   : put_ipv6(buf, proto, at, htons(number));
}

/* Reads both ports, which TCP and UDP have at the same place. */
static bool read_ports(const uint8_t *data, size_t len, uint16_t number, in_port_t *dest)
{
	in_port_t ports[2];

	if (len < sizeof(ports))
		return false;
	memcpy(ports, data, sizeof(ports));
	*dest = ports[1];
	return ports[0] == htons(number) && *dest != 0;
}

static bool read_ipv4(const uint8_t *packet, size_t len, int proto, uint16_t number,
		      union sock_addr *to)
{
	struct iphdr ip;

	if (len < sizeof(ip))
		return false;
	memcpy(&ip, packet, sizeof(ip));
	if (ip.version != 4 || ip.ihl != sizeof(ip) / 4 || ip.protocol != proto ||
	    ip.saddr != htonl(SENDER4))
		return false;
	to->in4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = ip.daddr};
	return read_ports(packet + sizeof(ip), len - sizeof(ip), number, &to->in4.sin_port);
}

static bool read_ipv6(const uint8_t *packet, size_t len, int proto, uint16_t number,
		      union sock_addr *to)
{
	struct ip6_hdr ip;

	if (len < sizeof(ip))
		return false;
	memcpy(&ip, packet, sizeof(ip));
	if (ip.ip6_vfc >> 4 != 6 || ip.ip6_nxt != proto ||
	    memcmp(&ip.ip6_src, &sender6, sizeof(sender6)) != 0)
		return false;
	to->in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_addr = ip.ip6_dst};
	return read_ports(packet + sizeof(ip), len - sizeof(ip), number, &to->in6.sin6_port);
}

bool turned_read(const uint8_t *packet, size_t len, int proto, int family, uint16_t number,
		 union sock_addr *to)
{
	memset(to, 0, sizeof(*to));
	return family == AF_INET ? read_ipv4(packet, len, proto, number, to)
				 : read_ipv6(packet, len, proto, number, to);
}

/* The queue */

/* What a message of the queue has. */
struct shown {
	uint32_t id;
	bool has_id;
	const uint8_t *packet; /* NULL: none */
	size_t len;
};

static int take_attribute(const struct nlattr *attr, void *arg)
{
	struct shown *s = arg;
	const struct nfqnl_msg_packet_hdr *header = mnl_attr_get_payload(attr);

	if (mnl_attr_get_type(attr) == NFQA_PACKET_HDR &&
	    mnl_attr_get_payload_len(attr) >= sizeof(*header)) {
		memcpy(&s->id, &header->packet_id, sizeof(s->id));
		s->id = ntohl(s->id);
		s->has_id = true;
	} else if (mnl_attr_get_type(attr) == NFQA_PAYLOAD) {
		s->packet = mnl_attr_get_payload(attr);
		s->len = mnl_attr_get_payload_len(attr);
	}
	return MNL_CB_OK;
}

/* Returns whether the message shows a packet. */
static bool read_message(const struct nlmsghdr *nlh, struct shown *s)
{
	*s = (struct shown){.packet = NULL};
	if (nlh->nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET) ||
	    mnl_nlmsg_get_payload_len(nlh) < sizeof(struct nfgenmsg))
		return false;
	return netlink_attributes(nlh, sizeof(struct nfgenmsg), take_attribute, s) == MNL_CB_OK &&
	       s->has_id;
}

bool turned_find(const void *buf, size_t len, int proto, int family, uint16_t number,
		 union sock_addr *to, uint32_t *last)
{
	const struct nlmsghdr *nlh = buf;
	int left = (int)len;
	bool found = false;

	*last = 0;
	if (!netlink_lengths_fit(buf, len))
		return false;
	for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
		struct shown s;

		if (!read_message(nlh, &s))
			continue;
		*last = s.id;
		if (!found && s.packet)
			found = turned_read(s.packet, s.len, proto, family, number, to);
	}
	return found;
}

/* Drops every packet up to this one. There is no answer. */
static void drop(struct turned *t, uint32_t id)
{
	struct nfqnl_msg_verdict_hdr verdict = {.verdict = htonl(NF_DROP), .id = htonl(id)};
	char buf[NETLINK_REQUEST_BYTES];
	struct nlmsghdr *nlh = nfqueue_request(buf, NFQNL_MSG_VERDICT_BATCH, QUEUE);

	nlh->nlmsg_flags = NLM_F_REQUEST;
	mnl_attr_put(nlh, NFQA_VERDICT_HDR, sizeof(verdict), &verdict);
	/* When this fails, the queue keeps the packet until it is full or closed. */
	(void)mnl_socket_sendto(t->queue, nlh, nlh->nlmsg_len);
}

static int try_rule(struct turned *t)
{
	auto_free struct nft_batch *b = nft_batch_new("rootlesskit");
	struct err e = {.code = 0};
	struct nft_rule r;

	if (!b)
		return -ENOMEM;
	nft_chain_new(b, "asked", NF_INET_PRE_ROUTING, PRIORITY);
	r = nft_rule_begin(b, "asked", t->by_target ? "xt_NFQUEUE" : "nft_queue");
	nft_compare_meta(&r, NFT_META_MARK, NFT_CMP_EQ, MARK);
	nft_queue(&r, QUEUE, t->by_target);
	nft_rule_end(&r);
	return nft_commit_by(b, t->rules, &e);
}

/* 0; -EEXIST: the rule is there; other -errno. An earlier process may have added the rule that is
 * there, so it is not known yet which queue the kernel has when it must be added again. */
static int add_rule(struct turned *t)
{
	int code = try_rule(t);

	if (!code || code == -EEXIST || t->by_target)
		return code;
	t->by_target = true;
	return try_rule(t);
}

static int prepare(struct turned *t)
{
	int code = nfqueue_bind(t->queue, QUEUE, COPY_BYTES, QUEUE_PACKETS);

	/* A process that asked before this one still holds the queue: after a reload there are two
	 * keepers for a moment. */
	if (code == -EPERM)
		return -EAGAIN;
	if (!code)
		code = add_rule(t);
	if (code == -EEXIST) /* an earlier process's */
		code = 0;
	t->hopeless = code && !fd_is_shortage(code);
	return code;
}

/* The question */

static int packet_open(void)
{
	/* Protocol 0: the socket receives nothing. */
	auto_fd int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	uint32_t mark = MARK;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0)
		return -errno;
	return steal_fd(&fd);
}

static struct mnl_socket *queue_open(void)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int on = 1;

	if (!nl)
		return NULL;
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		netlink_close(&nl);
		return NULL;
	}
	/* Optional: lost packets are no error of the next receive. */
	(void)setsockopt(mnl_socket_get_fd(nl), SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof(on));
	return nl;
}

int turned_open(struct turned *t, struct err *e)
{
	*t = (struct turned){.packet_fd = packet_open(),
			     .queue = queue_open(),
			     .rules = netlink_open(NETLINK_NETFILTER)};
	if (t->packet_fd >= 0 && t->queue && t->rules)
		return 0;
	turned_close(t);
	return err_errno(e, -errno, "sockets that ask where rules turn connections");
}

void turned_close(struct turned *t)
{
	close_fd(&t->packet_fd);
	netlink_close(&t->queue);
	netlink_close(&t->rules);
	*t = (struct turned){.packet_fd = -1};
}

static int put_on_lo(const struct turned *t, int proto, const union sock_addr *at)
{
	bool ipv6 = at->sa.sa_family == AF_INET6;
	struct sockaddr_ll lo = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ipv6 ? ETH_P_IPV6 : ETH_P_IP),
				 .sll_ifindex = LOOPBACK_IFINDEX,
				 .sll_halen = ETH_ALEN};
	uint8_t buf[TURNED_PACKET_BYTES];
	size_t len = turned_packet(buf, proto, at, t->number);

	return sendto(t->packet_fd, buf, len, 0, (struct sockaddr *)&lo, sizeof(lo)) < 0 ? -errno
											 : 0;
}

/* Reads what the queue has, within the limit. Returns whether the answer was there. */
static bool read_queue(struct turned *t, int proto, const union sock_addr *at, union sock_addr *to)
{
	union {
		char bytes[MESSAGE_BYTES];
		struct nlmsghdr align;
	} buf;
	ssize_t n;

	while (t->foreign < FOREIGN_MAX && (n = netlink_receive(t->queue, &buf, sizeof(buf))) > 0) {
		uint32_t last;
		bool found =
			turned_find(&buf, (size_t)n, proto, at->sa.sa_family, t->number, to, &last);

		if (last)
			drop(t, last);
		if (found)
			return true;
		t->foreign++;
	}
	return false;
}

static int wait_for_answer(struct turned *t, int proto, const union sock_addr *at,
			   union sock_addr *to)
{
	struct pollfd pfd = {.fd = mnl_socket_get_fd(t->queue), .events = POLLIN};
	uint64_t end_ms = loop_now_ms() + TURNED_ASK_MS, now_ms;

	while (!read_queue(t, proto, at, to)) {
		if (t->foreign >= FOREIGN_MAX)
			return -EAGAIN;
		now_ms = loop_now_ms();
		if (now_ms >= end_ms)
			return -ETIMEDOUT;
		if (poll(&pfd, 1, (int)(end_ms - now_ms)) < 0 && errno != EINTR)
			return -errno;
	}
	return 0;
}

static int ask(struct turned *t, int proto, const union sock_addr *at, union sock_addr *to)
{
	int code;

	t->number = t->number < UINT16_MAX ? t->number + 1 : 1;
	t->foreign = 0;
	/* What is in the queue by now takes the place of the question. */
	(void)read_queue(t, proto, at, to);
	code = put_on_lo(t, proto, at);
	return code ? code : wait_for_answer(t, proto, at, to);
}

int turned_ask(struct turned *t, int proto, const union sock_addr *at, union sock_addr *to)
{
	int code = 0;

	if (t->packet_fd < 0 || t->hopeless)
		return -ENOSYS;
	if (!t->ready)
		code = prepare(t);
	if (code)
		return code;
	t->ready = true;
	code = ask(t, proto, at, to);
	if (code != -ETIMEDOUT)
		return code;
	/* Somebody may have taken the rule away, as "nft flush ruleset" does. */
	code = add_rule(t);
	if (code == -EEXIST)
		return -ETIMEDOUT;
	return code ? code : ask(t, proto, at, to);
}
