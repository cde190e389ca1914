/* SPDX-License-Identifier: Apache-2.0 */
#include "out_world.h"

#include "cmocka_all.h"

#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <string.h>

struct sockaddr_in addr_of(uint32_t address, uint16_t port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(address)};
}

static void set_policy(struct dp_outward *p)
{
	*p = (struct dp_outward){.mark_accept = MARK_ACCEPT,
				 .mark_refused = MARK_REFUSED,
				 .mark_unreachable_host = MARK_HOST,
				 .mark_unreachable_net = MARK_NET,
				 .mark_prohibited = MARK_PROHIBITED,
				 .netns_cookie = SIM_NETNS,
				 .n_resolvers = 2};
	p->gateway4.s_addr = htonl(GATEWAY);
	p->inside4.s_addr = htonl(INSIDE);
	p->dns4.s_addr = htonl(DNS);
	p->resolvers[0].in4 = addr_of(RESOLVER, 53);
	p->resolvers[1].in4 = addr_of(RESOLVER + 1, 53);
}

void out_world_open_with(struct out_world *o, uint64_t seed, unsigned faults, unsigned fds_max,
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
	set_policy(&o->policy);
	o->ports.max = 1000;
	o->gate = queue ? sim_channel(s) : -1;
	o->channel = sim_channel(s);
	o->listener = sim_listener(s);
	o->udp = sim_socket(s, true);
	o->raw = sim_socket(s, true);
	config.out = (struct out_config){.policy = &o->policy,
					 .ports = &o->ports,
					 .tcp_fd = {o->listener, -1},
					 .udp_fd = {o->udp, -1},
					 .queue_fd = o->gate,
					 .channel_fd = o->channel,
					 .raw_fd = {o->raw, -1},
					 .fds_max = fds_max,
					 .tcp_flows_max = 32,
					 .pending_max = 16,
					 .maps_max = 16,
					 .peers_max = 16,
					 .responders_max = 4};
	world_start(&o->x, &config);
	/* Packets that an earlier data plane left in the queue are asked for again. */
	for (int i = 0; queue && i < 2; i++) {
		uint8_t batch[64];

		assert_true(sim_channel_get_any(s, o->gate, batch, sizeof(batch)) > 0);
	}
}

void out_world_open(struct out_world *o)
{
	out_world_open_with(o, 1, 0, 200, true);
}

void out_world_close(struct out_world *o)
{
	assert_int_equal(o->held, 0);
	assert_int_equal(o->x.stats.out_tcp_pending, 0);
	assert_int_equal(o->x.stats.out_tcp_flows, 0);
	assert_int_equal(o->ports.tcp, 0);
	/* The raw socket is no worker's. */
	o->x.io->ops->close_fd(o->x.io, o->raw);
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
	uint8_t buf[256] = {0};
	struct nlmsghdr *nlh = (struct nlmsghdr *)buf;
	struct nfqnl_msg_packet_hdr hdr = {.packet_id = htonl(++o->last_packet)};
	size_t at = sizeof(*nlh) + 4; /* struct nfgenmsg */

	at += put_attr(buf + at, NFQA_PACKET_HDR, &hdr, sizeof(hdr));
	at += put_attr(buf + at, NFQA_PAYLOAD, packet, len);
	nlh->nlmsg_type = 3 << 8 | NFQNL_MSG_PACKET;
	nlh->nlmsg_len = (uint32_t)at;
	sim_channel_put(o->x.sim, o->gate, buf, at, NULL, 0);
	o->held++;
}

uint32_t syn_to(struct out_world *o, uint16_t client_port, uint32_t server, uint16_t port,
		uint32_t seq)
{
	struct {
		struct iphdr ip;
		struct tcphdr tcp;
	} p = {.ip = {.version = 4,
		      .ihl = 5,
		      .tot_len = htons(sizeof(p)),
		      .protocol = IPPROTO_TCP,
		      .saddr = htonl(INSIDE),
		      .daddr = htonl(server)},
	       .tcp = {.source = htons(client_port),
		       .dest = htons(port),
		       .seq = htonl(seq),
		       .doff = 5,
		       .syn = 1}};

	put_packet(o, &p, sizeof(p));
	return o->last_packet;
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
	struct sockaddr_in dest = addr_of(SERVER, port);
	int far = sim_client_connect(o->x.sim, o->listener);

	assert_true(far >= 0);
	sim_client_from(o->x.sim, far, INSIDE, client_port);
	sim_client_to(o->x.sim, far, &dest);
	return far;
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

void feed_router(struct out_world *o)
{
	struct broker_request req;

	settle(&o->x);
	while (sim_channel_get(o->x.sim, o->channel, &req, sizeof(req))) {
		struct broker_reply reply = {
			.family = req.family, .proto = req.proto, .count = req.count};
		struct io_sock is = {.family = AF_INET,
				     .type = req.proto == IPPROTO_UDP ? SOCK_DGRAM : SOCK_STREAM,
				     .protocol = req.proto,
				     .netns_cookie = SIM_NETNS};
		int fds[FDPASS_MAX];

		assert_int_equal(req.family, AF_INET);
		for (unsigned i = 0; i < req.count; i++)
			fds[i] = sim_socket_like(o->x.sim, &is, false);
		sim_channel_put(o->x.sim, o->channel, &reply, sizeof(reply), fds, req.count);
	}
	settle(&o->x);
}

void send_up(struct out_world *o, uint16_t client_port, uint32_t to, uint16_t port,
	     const char *text)
{
	struct sockaddr_in client = addr_of(INSIDE, client_port), dest = addr_of(to, port);

	assert_true(sim_datagram_to(o->x.sim, o->udp, &client, &dest, text, strlen(text), 0));
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
	struct sockaddr_in source = addr_of(from, port);
	struct in_addr local = {0};

	assert_true(sim_datagram_in(o->x.sim, fd, &source, &local, text, strlen(text), 0));
	settle(&o->x);
}

void expect_addr(const struct sockaddr_in *a, uint32_t address, uint16_t port)
{
	assert_int_equal(ntohl(a->sin_addr.s_addr), address);
	assert_int_equal(ntohs(a->sin_port), port);
}
