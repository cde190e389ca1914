/* SPDX-License-Identifier: Apache-2.0 */
#include "out_world.h"

#include "cmocka_all.h"

#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <string.h>

int out_of_family(const struct out_world *o, const int fds[2])
{
	return fds[o->x.family == AF_INET6];
}

union sock_addr out_addr(const struct out_world *o, uint32_t host, uint16_t port)
{
	return sim_addr(o->x.family, host, port);
}

static void set_policy(struct out_world *o)
{
	struct dp_outward *p = &o->policy;

	*p = (struct dp_outward){.mark_accept = MARK_ACCEPT,
				 .mark_refused = MARK_REFUSED,
				 .mark_unreachable_host = MARK_HOST,
				 .mark_unreachable_net = MARK_NET,
				 .mark_prohibited = MARK_PROHIBITED,
				 .netns_cookie = SIM_NETNS,
				 .n_resolvers = 2};
	p->ipv6 = 1;
	p->gateway4.s_addr = htonl(GATEWAY);
	p->inside4.s_addr = htonl(INSIDE);
	p->dns4.s_addr = htonl(DNS);
	p->gateway6 = sim_addr(AF_INET6, GATEWAY, 0).in6.sin6_addr;
	p->inside6 = sim_addr(AF_INET6, INSIDE, 0).in6.sin6_addr;
	p->dns6 = sim_addr(AF_INET6, DNS, 0).in6.sin6_addr;
	p->resolvers[0] = out_addr(o, RESOLVER, 53);
	p->resolvers[1] = out_addr(o, RESOLVER + 1, 53);
}

static int router_socket(struct out_world *o, int family)
{
	struct io_sock is = {.family = family,
			     .type = SOCK_DGRAM,
			     .protocol = IPPROTO_UDP,
			     .netns_cookie = SIM_NETNS};

	return sim_socket_like(o->x.sim, &is, false);
}

struct worker_config out_world_begin(struct out_world *o, uint64_t seed, unsigned faults,
				     bool queue)
{
	struct worker_config config = {.tcp_flows_max = 16,
				       .udp_flows_max = 16,
				       .listeners_max = 8,
				       .pipes_max = 3,
				       .fds_max = 100,
				       .udp_timeout_ms = 90000,
				       .netns_cookie = SIM_NETNS};
	struct sim *s;

	memset(o, 0, sizeof(*o));
	world_begin(&o->x, seed, faults);
	s = o->x.sim;
	set_policy(o);
	o->ports.max = 1000;
	o->gate = queue ? sim_channel(s) : -1;
	o->x.router = sim_channel(s);
	for (unsigned i = 0; i < 2; i++) {
		int family = i ? AF_INET6 : AF_INET;

		o->listener[i] = sim_listener(s, family);
		o->udp[i] = router_socket(o, family);
		o->raw[i] = router_socket(o, family);
	}
	config.out = (struct out_config){.policy = &o->policy,
					 .ports = &o->ports,
					 .tcp_fd = {o->listener[0], o->listener[1]},
					 .udp_fd = {o->udp[0], o->udp[1]},
					 .queue_fd = o->gate,
					 .channel_fd = o->x.router,
					 .raw_fd = {o->raw[0], o->raw[1]},
					 .fds_max = 200,
					 .tcp_flows_max = 32,
					 .pending_max = 16,
					 .maps_max = 16,
					 .peers_max = 16,
					 .responders_max = 4};
	return config;
}

void expect_repeated(struct out_world *o)
{
	for (int i = 0; i < 2; i++) {
		uint8_t batch[64];
		struct nlmsghdr nlh;

		assert_true(sim_channel_get_any(o->x.sim, o->gate, batch, sizeof(batch)) > 0);
		memcpy(&nlh, batch, sizeof(nlh));
		assert_int_equal(nlh.nlmsg_type & 0xff, NFQNL_MSG_VERDICT_BATCH);
	}
}

void out_world_start(struct out_world *o, const struct worker_config *config)
{
	world_start(&o->x, config);
	if (o->gate >= 0)
		expect_repeated(o);
}

void out_world_open_with(struct out_world *o, uint64_t seed, unsigned faults, unsigned fds_max,
			 bool queue)
{
	struct worker_config config = out_world_begin(o, seed, faults, queue);

	config.out.fds_max = fds_max;
	out_world_start(o, &config);
}

void out_world_open(struct out_world *o)
{
	out_world_open_with(o, 1, 0, 200, true);
}

void out_world_close(struct out_world *o)
{
	assert_int_equal(o->held, 0);
	assert_int_equal(o->x.w->stats->out_tcp_pending, 0);
	assert_int_equal(o->x.w->stats->out_tcp_flows, 0);
	assert_int_equal(o->x.w->config.out.ports->tcp, 0);
	/* The raw sockets are no worker's. */
	for (unsigned i = 0; i < 2; i++)
		o->x.io->ops->close_fd(o->x.io, o->raw[i]);
	world_close(&o->x);
}

/* The queue */

static size_t put_attr(uint8_t *at, uint16_t type, const void *data, size_t len)
{
	struct nlattr attr = {.nla_len = (uint16_t)(sizeof(attr) + len), .nla_type = type};

	memcpy(at, &attr, sizeof(attr));
	memcpy(at + sizeof(attr), data, len);
	return (sizeof(attr) + len + 3) & ~(size_t)3;
}

void put_packet(struct out_world *o, const void *packet, size_t len)
{
	uint8_t buf[256] __attribute__((aligned(8))) = {0};
	struct nlmsghdr *nlh = (struct nlmsghdr *)buf;
	struct nfqnl_msg_packet_hdr hdr = {.packet_id = htonl(++o->last_packet)};
	size_t at = sizeof(*nlh) + 4; /* struct nfgenmsg */

	at += put_attr(buf + at, NFQA_PACKET_HDR, &hdr, sizeof(hdr));
	at += put_attr(buf + at, NFQA_PAYLOAD, packet, len);
	nlh->nlmsg_type = 3 << 8 | NFQNL_MSG_PACKET;
	nlh->nlmsg_len = (uint32_t)at;
	sim_channel_put(o->x.sim, o->gate, buf, at, NULL, 0);
	o->held++;
	assert_true(len <= sizeof(o->packet));
	memcpy(o->packet, packet, len);
	o->packet_len = len;
}

static size_t header_ipv4(uint8_t *at, const union sock_addr *dest, uint8_t proto, size_t len)
{
	struct iphdr ip = {.version = 4,
			   .ihl = 5,
			   .tot_len = htons((uint16_t)(sizeof(ip) + len)),
			   .protocol = proto,
			   .saddr = htonl(INSIDE),
			   .daddr = dest->in4.sin_addr.s_addr};

	memcpy(at, &ip, sizeof(ip));
	return sizeof(ip);
}

static size_t header_ipv6(uint8_t *at, const union sock_addr *dest, uint8_t proto, size_t len)
{
	struct ip6_hdr ip = {.ip6_flow = htonl(6u << 28),
			     .ip6_plen = htons((uint16_t)len),
			     .ip6_nxt = proto,
			     .ip6_src = sim_addr(AF_INET6, INSIDE, 0).in6.sin6_addr,
			     .ip6_dst = dest->in6.sin6_addr};

	memcpy(at, &ip, sizeof(ip));
	return sizeof(ip);
}

void put_ip_packet(struct out_world *o, const union sock_addr *dest, uint8_t proto,
		   const void *content, size_t len)
{
	bool ipv6 = dest->sa.sa_family == AF_INET6;
	uint8_t packet[128];
	size_t at = (ipv6 ? header_ipv6 : header_ipv4)(packet, dest, proto, len);

	assert_true(at + len <= sizeof(packet));
	memcpy(packet + at, content, len);
	put_packet(o, packet, at + len);
}

uint32_t syn_to_addr(struct out_world *o, uint16_t client_port, const union sock_addr *dest,
		     uint32_t seq)
{
	struct tcphdr tcp = {.source = htons(client_port),
			     .dest = dest->in4.sin_port,
			     .seq = htonl(seq),
			     .doff = 5,
			     .syn = 1};

	put_ip_packet(o, dest, IPPROTO_TCP, &tcp, sizeof(tcp));
	return o->last_packet;
}

uint32_t syn_to(struct out_world *o, uint16_t client_port, uint32_t server, uint16_t port,
		uint32_t seq)
{
	union sock_addr dest = out_addr(o, server, port);

	return syn_to_addr(o, client_port, &dest, seq);
}

uint32_t syn(struct out_world *o, uint16_t client_port, uint16_t port)
{
	return syn_to(o, client_port, SERVER, port, 7);
}

bool next_verdict(struct out_world *o, struct verdict *v)
{
	uint8_t buf[40];
	struct nfqnl_msg_verdict_hdr hdr;

	memset(v, 0, sizeof(*v));
	memset(buf, 0, sizeof(buf));
	/* A drop has no mark. */
	if (!sim_channel_get_any(o->x.sim, o->gate, buf, sizeof(buf)))
		return false;
	memcpy(&hdr, buf + 24, sizeof(hdr));
	v->packet = ntohl(hdr.id);
	v->verdict = ntohl(hdr.verdict);
	memcpy(&v->mark, buf + 36, sizeof(v->mark));
	v->mark = ntohl(v->mark);
	assert_true(o->held > 0);
	o->held--;
	return true;
}

void expect_verdict(struct out_world *o, uint32_t packet, uint32_t verdict, uint32_t mark)
{
	struct verdict v;

	for (int i = 0; !next_verdict(o, &v); i++) {
		assert_true(i < 200);
		turn(&o->x);
	}
	assert_int_equal(v.packet, packet);
	assert_int_equal(v.verdict, verdict);
	assert_int_equal(v.mark, mark);
}

void expect_no_verdict(struct out_world *o)
{
	struct verdict v;

	settle(&o->x);
	assert_false(next_verdict(o, &v));
}

int arrive(struct out_world *o, uint16_t client_port, uint16_t port)
{
	union sock_addr dest = out_addr(o, SERVER, port);
	int far = sim_client_connect(o->x.sim, out_of_family(o, o->listener));

	assert_true(far >= 0);
	sim_client_from(o->x.sim, far, INSIDE, client_port);
	sim_client_to(o->x.sim, far, &dest);
	return far;
}

int out_server_of(const struct out_world *o, int far)
{
	for (uint32_t i = 0; far >= 0 && i < o->x.w->tcp.used; i++) {
		const struct tcp_flow *f = &o->x.w->tcp.flows[i];

		if (f->state == TCP_FLOW_OPEN && sim_far_of(f->fd[0]) == far)
			return sim_far_of(f->fd[1]);
	}
	return -1;
}

void expect_joined(struct out_world *o, int client, int server)
{
	char got[8] = "";

	assert_true(server >= 0);
	assert_int_equal(sim_far_write(o->x.sim, client, "question", 8), 8);
	settle(&o->x);
	assert_int_equal(sim_far_read(o->x.sim, server, got, 8), 8);
	assert_memory_equal(got, "question", 8);
	assert_int_equal(sim_far_write(o->x.sim, server, "answer", 6), 6);
	settle(&o->x);
	assert_int_equal(sim_far_read(o->x.sim, client, got, 8), 6);
	assert_memory_equal(got, "answer", 6);
}

void finish(struct out_world *o, int client, int server)
{
	sim_far_shutdown(o->x.sim, client);
	sim_far_shutdown(o->x.sim, server);
	settle(&o->x);
	assert_true(sim_far_saw_end(o->x.sim, client));
	assert_true(sim_far_saw_end(o->x.sim, server));
}

/* Datagrams, and sockets of the router's */

void serve_router(struct out_world *o)
{
	struct broker_request req;

	while (sim_channel_get(o->x.sim, o->x.router, &req, sizeof(req))) {
		struct broker_reply reply = {
			.family = req.family, .proto = req.proto, .count = req.count};
		struct io_sock is = {.family = req.family,
				     .type = req.proto == IPPROTO_UDP ? SOCK_DGRAM : SOCK_STREAM,
				     .protocol = req.proto,
				     .netns_cookie = SIM_NETNS};
		int fds[FDPASS_MAX];

		for (unsigned i = 0; i < req.count; i++)
			fds[i] = sim_socket_like(o->x.sim, &is, false);
		sim_channel_put(o->x.sim, o->x.router, &reply, sizeof(reply), fds, req.count);
	}
}

void feed_router(struct out_world *o)
{
	settle(&o->x);
	serve_router(o);
	settle(&o->x);
}

void send_up(struct out_world *o, uint16_t client_port, uint32_t to, uint16_t port,
	     const char *text)
{
	union sock_addr client = out_addr(o, INSIDE, client_port), dest = out_addr(o, to, port);

	assert_true(sim_datagram_in(o->x.sim, out_of_family(o, o->udp), &client, &dest, text,
				    strlen(text), 0));
	settle(&o->x);
}

struct sim_datagram sent(struct out_world *o, const char *text)
{
	struct sim_datagram d;

	assert_true(sim_datagram_out(o->x.sim, &d));
	assert_int_equal(d.len, strlen(text));
	assert_memory_equal(d.data, text, d.len);
	return d;
}

void expect_nothing_sent(struct out_world *o)
{
	struct sim_datagram d;

	settle(&o->x);
	assert_false(sim_datagram_out(o->x.sim, &d));
}

void send_down(struct out_world *o, int fd, uint32_t from, uint16_t port, const char *text)
{
	union sock_addr source = out_addr(o, from, port), local = out_addr(o, INSIDE, 0);

	assert_true(sim_datagram_in(o->x.sim, fd, &source, &local, text, strlen(text), 0));
	settle(&o->x);
}

struct sim_datagram goes_up(struct out_world *o, uint16_t client_port, uint32_t to, uint16_t port,
			    const char *text)
{
	send_up(o, client_port, to, port, text);
	return sent(o, text);
}

struct sim_datagram goes_down(struct out_world *o, int fd, uint32_t from, uint16_t port,
			      const char *text)
{
	send_down(o, fd, from, port, text);
	return sent(o, text);
}

void expect_addr(const struct out_world *o, const union sock_addr *a, uint32_t host, uint16_t port)
{
	union sock_addr want = out_addr(o, host, port);

	assert_int_equal(a->sa.sa_family, want.sa.sa_family);
	assert_true(sockaddr_same_host(a, &want));
	assert_int_equal(ntohs(a->in4.sin_port), port);
}

static uint32_t sum_up(uint32_t sum, const void *data, size_t len)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
	return sum;
}

/* RFC 1071. In IPv6 the checksum covers the addresses, too: RFC 8200, 8.1. */
void expect_checksum(const struct out_world *o, const struct sim_datagram *d)
{
	size_t header = o->x.family == AF_INET6 ? sizeof(struct ip6_hdr) : sizeof(struct iphdr);
	uint32_t sum = sum_up(0, d->data + header, d->len - header);

	if (o->x.family == AF_INET6) {
		sum = sum_up(sum, d->data + offsetof(struct ip6_hdr, ip6_src), 32);
		sum += (uint32_t)(d->len - header) + IPPROTO_ICMPV6;
	}
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	assert_int_equal(sum, 0xffff);
}

struct ports {
	uint16_t source, dest, len, check;
};

struct error4 {
	struct iphdr ip;
	struct icmphdr icmp;
	struct iphdr quoted;
	struct ports udp;
};

struct error6 {
	struct ip6_hdr ip;
	struct icmp6_hdr icmp;
	struct ip6_hdr quoted;
	struct ports udp;
};

static void expect_error4(const struct sim_datagram *d, uint8_t code, uint32_t from,
			  struct ports *udp)
{
	struct error4 p;

	assert_int_equal(d->len, sizeof(p));
	memcpy(&p, d->data, sizeof(p));
	assert_int_equal(ntohl(p.ip.saddr), from);
	assert_int_equal(ntohl(p.ip.daddr), INSIDE);
	assert_int_equal(p.icmp.type, ICMP_DEST_UNREACH);
	assert_int_equal(p.icmp.code, code);
	assert_int_equal(ntohl(p.quoted.saddr), INSIDE);
	assert_int_equal(ntohl(p.quoted.daddr), from);
	*udp = p.udp;
}

static void expect_error6(const struct sim_datagram *d, uint8_t code, uint32_t from,
			  struct ports *udp)
{
	struct in6_addr there = sim_addr(AF_INET6, from, 0).in6.sin6_addr;
	struct in6_addr inside = sim_addr(AF_INET6, INSIDE, 0).in6.sin6_addr;
	struct error6 p;

	assert_int_equal(d->len, sizeof(p));
	memcpy(&p, d->data, sizeof(p));
	assert_true(IN6_ARE_ADDR_EQUAL(&p.ip.ip6_src, &there));
	assert_true(IN6_ARE_ADDR_EQUAL(&p.ip.ip6_dst, &inside));
	assert_int_equal(p.icmp.icmp6_type, ICMP6_DST_UNREACH);
	assert_int_equal(p.icmp.icmp6_code, code);
	assert_true(IN6_ARE_ADDR_EQUAL(&p.quoted.ip6_src, &inside));
	assert_true(IN6_ARE_ADDR_EQUAL(&p.quoted.ip6_dst, &there));
	*udp = p.udp;
}

void expect_icmp(struct out_world *o, uint8_t code4, uint8_t code6, uint32_t from,
		 uint16_t client_port, uint16_t port)
{
	struct sim_datagram d;
	struct ports udp;

	assert_true(sim_datagram_out(o->x.sim, &d));
	assert_int_equal(d.fd, out_of_family(o, o->raw));
	expect_checksum(o, &d);
	if (o->x.family == AF_INET6)
		expect_error6(&d, code6, from, &udp);
	else
		expect_error4(&d, code4, from, &udp);
	assert_int_equal(ntohs(udp.source), client_port);
	assert_int_equal(ntohs(udp.dest), port);
}
