/* SPDX-License-Identifier: Apache-2.0 */
#include "worker_world.h"

#include "cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The way out against the simulated kernel: packets in the queue and their verdicts, connects that
 * succeed, fail and hang, connections that come early, late or never; UDP mappings.
 */

#define NF_DROP	  0
#define NF_ACCEPT 1

enum {
	MARK_ACCEPT = 100,
	MARK_REFUSED = 201,
	MARK_HOST,
	MARK_NET,
	MARK_PROHIBITED,
};

#define INSIDE	 0x0a000264u /* 10.0.2.100 */
#define SERVER	 0xc0000202u /* 192.0.2.2 */
#define GATEWAY	 0x0a000202u
#define DNS	 0x0a000203u
#define RESOLVER 0xc0000235u /* 192.0.2.53; the other one is .54 */

struct out_world {
	struct world x;
	struct dp_outward policy;
	struct out_ports ports;
	int gate, listener, udp, raw, channel;
	uint32_t last_packet; /* id */
	unsigned held;	      /* packets without a verdict */
};

static struct sockaddr_in addr_of(uint32_t address, uint16_t port)
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
	p->dns4.s_addr = htonl(DNS);
	p->resolvers[0].in4 = addr_of(RESOLVER, 53);
	p->resolvers[1].in4 = addr_of(RESOLVER + 1, 53);
}

static void out_world_open_with(struct out_world *o, uint64_t seed, unsigned faults,
				unsigned fds_max, bool queue)
{
	struct worker_config config = {.tcp_flows_max = 16,
				       .udp_flows_max = 16,
				       .listeners_max = 8,
				       .pipes_max = 3,
				       .fds_max = 100,
				       .udp_pending_max = 8,
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

static void out_world_open(struct out_world *o)
{
	out_world_open_with(o, 1, 0, 200, true);
}

static void out_world_close(struct out_world *o)
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

static void put_packet(struct out_world *o, const void *packet, size_t len)
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

/* The packet that opens a connection. Its id. */
static uint32_t syn_to(struct out_world *o, uint16_t client_port, uint32_t server, uint16_t port,
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

static uint32_t syn(struct out_world *o, uint16_t client_port, uint16_t port)
{
	return syn_to(o, client_port, SERVER, port, 7);
}

struct verdict {
	uint32_t packet, verdict, mark;
};

static bool next_verdict(struct out_world *o, struct verdict *v)
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

static void expect_verdict(struct out_world *o, uint32_t packet, uint32_t verdict, uint32_t mark)
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

static void expect_no_verdict(struct out_world *o)
{
	struct verdict v;

	settle(&o->x);
	assert_false(next_verdict(o, &v));
}

/* The packet has gone on: the client's connection waits to be accepted. Its far end. */
static int arrive(struct out_world *o, uint16_t client_port, uint16_t port)
{
	struct sockaddr_in dest = addr_of(SERVER, port);
	int far = sim_client_connect(o->x.sim, o->listener);

	assert_true(far >= 0);
	sim_client_from(o->x.sim, far, INSIDE, client_port);
	sim_client_to(o->x.sim, far, &dest);
	return far;
}

static void expect_joined(struct out_world *o, int client, int server)
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

static void finish(struct out_world *o, int client, int server)
{
	sim_far_shutdown(o->x.sim, client);
	sim_far_shutdown(o->x.sim, server);
	settle(&o->x);
	assert_true(sim_far_saw_end(o->x.sim, client));
	assert_true(sim_far_saw_end(o->x.sim, server));
}

static void test_connects_before_the_client_is_accepted(void **state)
{
	struct out_world o;
	uint32_t packet;
	int client, server;

	(void)state;
	out_world_open(&o);
	packet = syn(&o, 4000, 80);
	expect_verdict(&o, packet, NF_ACCEPT, MARK_ACCEPT);
	server = sim_outside(o.x.sim, 80);
	client = arrive(&o, 4000, 80);
	settle(&o.x);
	assert_int_equal(o.x.stats.out_tcp_connected, 1);
	assert_int_equal(o.x.stats.out_tcp_flows, 1);
	expect_joined(&o, client, server);
	assert_int_equal(o.x.stats.out_tcp_bytes_up, 8);
	assert_int_equal(o.x.stats.out_tcp_bytes_down, 6);
	assert_int_equal(o.x.stats.tcp_bytes_in + o.x.stats.tcp_bytes_out, 0);
	finish(&o, client, server);
	assert_int_equal(o.x.stats.out_tcp_closed, 1);
	out_world_close(&o);
}

static void test_client_hears_why_not(void **state)
{
	struct out_world o;

	(void)state;
	out_world_open(&o);
	sim_refuse_port(o.x.sim, 81);
	expect_verdict(&o, syn(&o, 4000, 81), NF_ACCEPT, MARK_REFUSED);
	expect_verdict(&o, syn_to(&o, 4001, INADDR_LOOPBACK, 80, 1), NF_ACCEPT, MARK_PROHIBITED);
	expect_verdict(&o, syn_to(&o, 4001, 0, 80, 1), NF_ACCEPT, MARK_PROHIBITED);
	expect_verdict(&o, syn_to(&o, 4002, DNS, 80, 1), NF_ACCEPT, MARK_REFUSED);
	assert_int_equal(o.x.stats.out_tcp_refused, 2);
	assert_int_equal(o.x.stats.out_tcp_prohibited, 2);
	out_world_close(&o);
}

static void test_odd_packets_are_dropped(void **state)
{
	struct out_world o;

	(void)state;
	out_world_open(&o);
	put_packet(&o, "nonsense", 8);
	expect_verdict(&o, o.last_packet, NF_DROP, 0);
	assert_int_equal(o.x.stats.out_packets_odd, 1);
	out_world_close(&o);
}

/* The client's TCP repeats its packet after 1, 3, 7 ... seconds; then it stops. */
static void test_silence_is_answered_with_silence(void **state)
{
	struct out_world o;
	uint32_t held;

	(void)state;
	out_world_open(&o);
	sim_silent_port(o.x.sim, 82);
	held = syn(&o, 4000, 82);
	expect_no_verdict(&o);
	for (uint64_t s = 1; s <= 8; s *= 2) {
		uint32_t again;

		pass(&o.x, s * SECOND_NS);
		again = syn(&o, 4000, 82);
		expect_verdict(&o, held, NF_DROP, 0);
		held = again;
	}
	assert_int_equal(o.x.stats.out_tcp_pending, 1);
	pass(&o.x, 16 * SECOND_NS); /* the next one would come now */
	assert_int_equal(o.x.stats.out_tcp_pending, 1);
	pass(&o.x, 30 * SECOND_NS);
	expect_verdict(&o, held, NF_DROP, 0);
	assert_int_equal(o.x.stats.out_tcp_pending, 0);
	assert_int_equal(o.x.stats.out_tcp_timed_out, 1);
	out_world_close(&o);
}

static void test_repeated_packets(void **state)
{
	struct out_world o;
	uint32_t first, second, anew;
	int client;

	(void)state;
	out_world_open(&o);
	sim_silent_port(o.x.sim, 80);
	first = syn(&o, 4000, 80);
	expect_no_verdict(&o);
	/* The later one is held: the earlier may have been another data plane's to judge. */
	second = syn(&o, 4000, 80);
	expect_verdict(&o, first, NF_DROP, 0);
	/* The client has given up and begins anew from the same port. */
	anew = syn_to(&o, 4000, SERVER, 80, 8);
	expect_verdict(&o, second, NF_DROP, 0);
	expect_no_verdict(&o);
	sim_silent_port(o.x.sim, 0);
	expect_verdict(&o, anew, NF_ACCEPT, MARK_ACCEPT);
	/* The answer to the packet was lost: it comes again. */
	expect_verdict(&o, syn_to(&o, 4000, SERVER, 80, 8), NF_ACCEPT, MARK_ACCEPT);
	client = arrive(&o, 4000, 80);
	settle(&o.x);
	assert_int_equal(o.x.stats.out_tcp_connected, 1);
	finish(&o, client, sim_outside(o.x.sim, 80));
	out_world_close(&o);
}

static void test_client_that_does_not_come(void **state)
{
	struct out_world o;
	int server;

	(void)state;
	out_world_open(&o);
	expect_verdict(&o, syn(&o, 4000, 80), NF_ACCEPT, MARK_ACCEPT);
	server = sim_outside(o.x.sim, 80);
	pass(&o.x, 12 * SECOND_NS);
	assert_int_equal(o.x.stats.out_tcp_pending, 0);
	assert_true(sim_far_saw_reset(o.x.sim, server));
	out_world_close(&o);
}

static void test_accepted_first(void **state)
{
	(void)state;
	for (int queue = 0; queue < 2; queue++) {
		struct out_world o;
		int client, refused;

		out_world_open_with(&o, 1, 0, 200, queue);
		sim_refuse_port(o.x.sim, 81);
		client = arrive(&o, 4000, 80);
		refused = arrive(&o, 4001, 81);
		settle(&o.x);
		assert_int_equal(o.x.stats.out_tcp_flows, 1);
		assert_true(sim_far_saw_reset(o.x.sim, refused));
		expect_joined(&o, client, sim_outside(o.x.sim, 80));
		finish(&o, client, sim_outside(o.x.sim, 80));
		out_world_close(&o);
	}
}

/* A connection that an earlier data plane let through, and its packet repeated. */
static void test_accepted_while_its_packet_waits(void **state)
{
	struct out_world o;
	uint32_t packet;
	int client;

	(void)state;
	out_world_open(&o);
	sim_silent_port(o.x.sim, 80);
	packet = syn(&o, 4000, 80);
	expect_no_verdict(&o);
	client = arrive(&o, 4000, 80);
	settle(&o.x);
	sim_silent_port(o.x.sim, 0);
	expect_verdict(&o, packet, NF_DROP, 0);
	settle(&o.x);
	expect_joined(&o, client, sim_outside(o.x.sim, 80));
	finish(&o, client, sim_outside(o.x.sim, 80));
	out_world_close(&o);
}

/* More connects than there is room for, none of them answered. */
static void test_flood_gives_way(void **state)
{
	struct out_world o;
	uint32_t packet;
	struct verdict v;
	int client;

	(void)state;
	out_world_open(&o);
	sim_silent_port(o.x.sim, 82);
	for (uint16_t i = 0; i < 40; i++) {
		syn(&o, (uint16_t)(5000 + i), 82);
		turn(&o.x);
	}
	settle(&o.x);
	while (next_verdict(&o, &v))
		assert_int_equal(v.verdict, NF_DROP);
	assert_true(o.x.stats.out_tcp_evicted > 0);
	assert_in_range(o.x.stats.out_tcp_pending, 8, 16);
	/* A connect that is answered still gets through. */
	packet = syn(&o, 4000, 80);
	for (bool found = false; !found; turn(&o.x))
		while (next_verdict(&o, &v))
			if (v.packet == packet) {
				assert_int_equal(v.mark, MARK_ACCEPT);
				found = true;
			}
	client = arrive(&o, 4000, 80);
	settle(&o.x);
	expect_joined(&o, client, sim_outside(o.x.sim, 80));
	finish(&o, client, sim_outside(o.x.sim, 80));
	pass(&o.x, 20 * SECOND_NS);
	while (next_verdict(&o, &v))
		assert_int_equal(v.verdict, NF_DROP);
	out_world_close(&o);
}

/* Published ports do not miss what the way out takes. */
static void test_ports_keep_their_descriptors(void **state)
{
	struct out_world o;
	struct verdict v;
	int client;

	(void)state;
	out_world_open_with(&o, 1, 0, 12, true);
	add_port(&o.x, 0, 0);
	sim_silent_port(o.x.sim, 82);
	for (uint16_t i = 0; i < 20; i++)
		syn(&o, (uint16_t)(5000 + i), 82);
	settle(&o.x);
	assert_true(o.x.stats.out_tcp_dropped > 0);
	assert_true(o.x.w->out.fds <= 12);
	client = sim_client_connect(o.x.sim, o.x.listener);
	settle(&o.x);
	assert_int_equal(o.x.stats.tcp_flows, 1);
	assert_int_equal(o.x.stats.accept_paused, 0);
	sim_far_reset(o.x.sim, client);
	pass(&o.x, 20 * SECOND_NS);
	while (next_verdict(&o, &v))
		assert_int_equal(v.verdict, NF_DROP);
	out_world_close(&o);
}

static void test_shared_ports_run_out(void **state)
{
	struct out_world o;

	(void)state;
	out_world_open(&o);
	o.ports.max = 0;
	expect_verdict(&o, syn(&o, 4000, 80), NF_DROP, 0);
	assert_int_equal(o.x.stats.out_tcp_dropped, 1);
	out_world_close(&o);
}

static void test_next_resolver_by_tcp(void **state)
{
	struct out_world o;
	int server;

	(void)state;
	out_world_open(&o);
	o.x.w->out.policy.resolvers[0].in4.sin_port = htons(5301);
	o.x.w->out.policy.resolvers[1].in4.sin_port = htons(5302);
	sim_refuse_port(o.x.sim, 5301);
	expect_verdict(&o, syn_to(&o, 4000, DNS, 53, 1), NF_ACCEPT, MARK_ACCEPT);
	server = sim_outside(o.x.sim, 5302);
	assert_true(server >= 0);
	pass(&o.x, 12 * SECOND_NS);
	assert_true(sim_far_saw_reset(o.x.sim, server));
	out_world_close(&o);
}

/* Random runs: a client repeats its packet until something becomes of it. */

#define CLIENTS 10

struct client {
	uint16_t port; /* of the server, its own is 1000 more */
	uint32_t seq;
	bool let_through, refused, over;
	int far;
	size_t sent, received;
};

static void take_verdicts(struct out_world *o, struct client *clients, const uint32_t *owner)
{
	struct verdict v;

	while (next_verdict(o, &v)) {
		struct client *c = &clients[owner[v.packet]];

		c->let_through |= v.mark == MARK_ACCEPT;
		c->refused |= v.mark == MARK_REFUSED;
	}
}

static void client_step(struct out_world *o, struct client *c)
{
	struct sim *s = o->x.sim;
	uint8_t buf[512];
	int server = sim_outside(s, c->port);

	if (c->far < 0 && c->let_through && sim_random(s, 3) == 0)
		c->far = arrive(o, (uint16_t)(c->port + 1000), c->port);
	if (c->far < 0 || server < 0)
		return;
	memset(buf, c->port & 0xff, sizeof(buf));
	if (c->sent < 20000)
		c->sent += sim_far_write(s, c->far, buf, 1 + sim_random(s, sizeof(buf)));
	for (size_t n; (n = sim_far_read(s, server, buf, sizeof(buf))) > 0; c->received += n)
		for (size_t i = 0; i < n; i++)
			assert_int_equal(buf[i], c->port & 0xff);
	if (c->sent >= 20000 && c->received == c->sent && !c->over) {
		sim_far_shutdown(s, c->far);
		sim_far_shutdown(s, server);
		c->over = true;
	}
}

static void run_random(uint64_t seed)
{
	struct client clients[CLIENTS];
	uint32_t owner[4000];
	struct out_world o;
	unsigned left = CLIENTS;

	out_world_open_with(&o, seed, (unsigned)(seed % 40), 200, true);
	for (uint16_t i = 0; i < CLIENTS; i++)
		clients[i] = (struct client){.port = (uint16_t)(2000 + i), .seq = i, .far = -1};
	sim_refuse_port(o.x.sim, 2003);
	for (unsigned step = 0; left > 0; step++) {
		assert_true(step < 60000);
		left = 0;
		for (uint32_t i = 0; i < CLIENTS; i++) {
			struct client *c = &clients[i];

			left += !c->over && !c->refused;
			if (c->far < 0 && !c->refused && o.last_packet + 1 < 4000 &&
			    sim_random(o.x.sim, 20) == 0)
				owner[syn_to(&o, (uint16_t)(c->port + 1000), SERVER, c->port,
					     c->seq)] = i;
			client_step(&o, c);
		}
		turn(&o.x);
		take_verdicts(&o, clients, owner);
	}
	/* A packet that came late has made a connection that nobody takes. */
	pass(&o.x, 60 * SECOND_NS);
	take_verdicts(&o, clients, owner);
	for (uint32_t i = 0; i < CLIENTS; i++)
		assert_true(clients[i].over != (clients[i].port == 2003));
	out_world_close(&o);
}

static void test_random_runs(void **state)
{
	const char *runs = getenv("WORKER_RUNS"), *one = getenv("WORKER_SEED");
	uint64_t first = one ? strtoull(one, NULL, 10) : 1;
	uint64_t n = one ? 1 : runs ? strtoull(runs, NULL, 10) : 60;

	(void)state;
	for (uint64_t seed = first; seed < first + n; seed++) {
		fprintf(stderr, "WORKER_SEED=%llu\r", (unsigned long long)seed);
		run_random(seed);
	}
}

/* UDP */

/* The router's socket service answers. */
static void feed_router(struct out_world *o)
{
	struct broker_request req;
	struct io_sock is = {.family = AF_INET,
			     .type = SOCK_DGRAM,
			     .protocol = IPPROTO_UDP,
			     .netns_cookie = SIM_NETNS};

	settle(&o->x);
	while (sim_channel_get(o->x.sim, o->channel, &req, sizeof(req))) {
		struct broker_reply reply = {
			.family = req.family, .proto = req.proto, .count = req.count};
		int fds[FDPASS_MAX];

		assert_int_equal(req.family, AF_INET);
		assert_int_equal(req.proto, IPPROTO_UDP);
		for (unsigned i = 0; i < req.count; i++)
			fds[i] = sim_socket_like(o->x.sim, &is, false);
		sim_channel_put(o->x.sim, o->channel, &reply, sizeof(reply), fds, req.count);
	}
	settle(&o->x);
}

static void send_up(struct out_world *o, uint16_t client_port, uint32_t to, uint16_t port,
		    const char *text)
{
	struct sockaddr_in client = addr_of(INSIDE, client_port), dest = addr_of(to, port);

	assert_true(sim_datagram_to(o->x.sim, o->udp, &client, &dest, text, strlen(text), 0));
	settle(&o->x);
}

/* The datagram that left next. */
static struct sim_datagram sent(struct out_world *o, const char *text)
{
	struct sim_datagram d;

	assert_true(sim_datagram_out(o->x.sim, &d));
	assert_int_equal(d.len, strlen(text));
	assert_memory_equal(d.data, text, d.len);
	return d;
}

static void expect_nothing_sent(struct out_world *o)
{
	struct sim_datagram d;

	settle(&o->x);
	assert_false(sim_datagram_out(o->x.sim, &d));
}

static void send_down(struct out_world *o, int fd, uint32_t from, uint16_t port, const char *text)
{
	struct sockaddr_in source = addr_of(from, port);
	struct in_addr local = {0};

	assert_true(sim_datagram_in(o->x.sim, fd, &source, &local, text, strlen(text), 0));
	settle(&o->x);
}

static void expect_addr(const struct sockaddr_in *a, uint32_t address, uint16_t port)
{
	assert_int_equal(ntohl(a->sin_addr.s_addr), address);
	assert_int_equal(ntohs(a->sin_port), port);
}

static void test_udp_one_mapping_for_all(void **state)
{
	struct out_world o;
	struct sim_datagram a, b, c;

	(void)state;
	out_world_open(&o);
	feed_router(&o);
	send_up(&o, 4000, SERVER, 6000, "one");
	send_up(&o, 4000, SERVER + 1, 6001, "two");
	send_up(&o, 4001, SERVER, 6000, "three");
	a = sent(&o, "one");
	b = sent(&o, "two");
	c = sent(&o, "three");
	expect_addr(&a.to, SERVER, 6000);
	expect_addr(&b.to, SERVER + 1, 6001);
	assert_int_equal(a.fd, b.fd);
	assert_int_not_equal(a.fd, c.fd);
	assert_int_equal(o.x.stats.out_udp_flows, 2);
	/* Answers come from the address that was asked, also from another port of it. */
	send_down(&o, a.fd, SERVER + 1, 6001, "from two");
	b = sent(&o, "from two");
	expect_addr(&b.from, SERVER + 1, 6001);
	expect_addr(&b.to, INSIDE, 4000);
	send_down(&o, a.fd, SERVER + 1, 7777, "other port");
	b = sent(&o, "other port");
	expect_addr(&b.from, SERVER + 1, 7777);
	/* From nobody else. */
	send_down(&o, a.fd, SERVER + 2, 6001, "stranger");
	send_down(&o, c.fd, SERVER + 1, 6001, "not yours");
	expect_nothing_sent(&o);
	assert_int_equal(o.x.stats.out_udp_dropped, 2);
	out_world_close(&o);
}

static void test_udp_expires(void **state)
{
	struct out_world o;

	(void)state;
	out_world_open(&o);
	send_up(&o, 4000, SERVER, 6000, "long");
	send_up(&o, 4001, SERVER, 53, "dns");
	pass(&o.x, 11 * SECOND_NS);
	assert_int_equal(o.x.stats.out_udp_flows, 1);
	pass(&o.x, 100 * SECOND_NS);
	assert_int_equal(o.x.stats.out_udp_flows, 1);
	pass(&o.x, 20 * SECOND_NS);
	assert_int_equal(o.x.stats.out_udp_flows, 0);
	assert_int_equal(o.x.stats.out_udp_expired, 2);
	assert_int_equal(o.ports.udp, 0);
	/* A mapping that is used stays. */
	for (int i = 0; i < 5; i++) {
		send_up(&o, 4000, SERVER, 6000, "used");
		pass(&o.x, 60 * SECOND_NS);
	}
	assert_int_equal(o.x.stats.out_udp_flows, 1);
	assert_int_equal(o.x.stats.out_udp_expired, 2);
	out_world_close(&o);
}

/* Each has written to one address: none takes the answers of another. */
static void test_udp_answers_are_for_one_mapping(void **state)
{
	struct out_world o;
	struct sim_datagram d;
	int fds[8];

	(void)state;
	out_world_open(&o);
	feed_router(&o);
	for (uint16_t i = 0; i < 8; i++) {
		send_up(&o, (uint16_t)(4000 + i), SERVER + i, 6000, "hello");
		fds[i] = sent(&o, "hello").fd;
	}
	for (unsigned i = 0; i < 8; i++)
		for (uint32_t k = 0; k < 8; k++) {
			send_down(&o, fds[i], SERVER + k, 6000, "answer");
			assert_int_equal(sim_datagram_out(o.x.sim, &d), i == k);
			feed_router(&o);
		}
	out_world_close(&o);
}

/* Of all, those to port 53 too. */
static void test_udp_oldest_of_all_goes(void **state)
{
	struct out_world o;

	(void)state;
	out_world_open(&o);
	send_up(&o, 4000, SERVER, 6000, "oldest");
	for (uint16_t i = 1; o.x.stats.out_udp_evicted == 0; i++)
		send_up(&o, (uint16_t)(4000 + i), SERVER, 53, "newer");
	/* Mappings to port 53 have all been there, and expire; the other has gone before. */
	pass(&o.x, 30 * SECOND_NS);
	assert_int_equal(o.x.stats.out_udp_flows, 0);
	out_world_close(&o);
}

static void test_udp_least_recently_used_goes(void **state)
{
	struct out_world o;
	struct sim_datagram first, again;
	struct sim_datagram d;

	(void)state;
	out_world_open(&o);
	send_up(&o, 4000, SERVER, 6000, "first");
	first = sent(&o, "first");
	for (uint16_t i = 1; i < 40; i++) {
		send_up(&o, (uint16_t)(4000 + i), SERVER, 6000, "other");
		send_up(&o, 4000, SERVER, 6000, "again");
		while (sim_datagram_out(o.x.sim, &d))
			again = d;
	}
	assert_int_equal(again.fd, first.fd);
	assert_in_range(o.x.stats.out_udp_flows, 10, 16);
	assert_true(o.x.stats.out_udp_evicted > 20);
	out_world_close(&o);
}

static void expect_icmp(struct out_world *o, uint8_t code, uint32_t from, uint16_t client_port,
			uint16_t port)
{
	struct {
		struct iphdr ip;
		struct icmphdr icmp;
		struct iphdr quoted;
		uint16_t source, dest, len, check;
	} __attribute__((packed)) p;
	struct sim_datagram d;

	assert_true(sim_datagram_out(o->x.sim, &d));
	assert_int_equal(d.fd, o->raw);
	assert_int_equal(d.len, sizeof(p));
	memcpy(&p, d.data, sizeof(p));
	assert_int_equal(ntohl(p.ip.saddr), from);
	assert_int_equal(ntohl(p.ip.daddr), INSIDE);
	assert_int_equal(p.icmp.type, ICMP_DEST_UNREACH);
	assert_int_equal(p.icmp.code, code);
	assert_int_equal(ntohl(p.quoted.saddr), INSIDE);
	assert_int_equal(ntohl(p.quoted.daddr), from);
	assert_int_equal(ntohs(p.source), client_port);
	assert_int_equal(ntohs(p.dest), port);
}

static void test_udp_errors_are_passed_on(void **state)
{
	struct out_world o;
	struct sockaddr_in dest = addr_of(SERVER, 6000);
	struct sim_datagram d;

	(void)state;
	out_world_open(&o);
	send_up(&o, 4000, SERVER, 6000, "hello");
	d = sent(&o, "hello");
	sim_queue_error(o.x.sim, d.fd, &dest, ECONNREFUSED);
	assert_true(sim_datagram_error(o.x.sim, d.fd, -ECONNREFUSED));
	settle(&o.x);
	expect_icmp(&o, ICMP_PORT_UNREACH, SERVER, 4000, 6000);
	/* The mapping goes on. */
	send_up(&o, 4000, SERVER, 6000, "again");
	assert_int_equal(sent(&o, "again").fd, d.fd);
	/* Where nobody may go, and what is not served. */
	send_up(&o, 4000, INADDR_LOOPBACK, 6000, "x");
	expect_icmp(&o, ICMP_PKT_FILTERED, INADDR_LOOPBACK, 4000, 6000);
	send_up(&o, 4000, DNS, 54, "x");
	expect_icmp(&o, ICMP_PORT_UNREACH, DNS, 4000, 54);
	assert_int_equal(o.x.stats.out_udp_prohibited, 2);
	out_world_close(&o);
}

static void test_gateway_has_a_socket_of_its_own(void **state)
{
	struct out_world o;
	struct sim_datagram world, host;

	(void)state;
	out_world_open(&o);
	feed_router(&o);
	send_up(&o, 4000, SERVER, 6000, "world");
	send_up(&o, 4000, GATEWAY, 6000, "host");
	world = sent(&o, "world");
	host = sent(&o, "host");
	expect_addr(&host.to, INADDR_LOOPBACK, 6000);
	assert_int_not_equal(world.fd, host.fd);
	send_down(&o, host.fd, INADDR_LOOPBACK, 6000, "answer");
	host = sent(&o, "answer");
	expect_addr(&host.from, GATEWAY, 6000);
	expect_addr(&host.to, INSIDE, 4000);
	out_world_close(&o);
}

static void test_next_resolver_by_udp(void **state)
{
	struct out_world o;
	struct sim_datagram d;

	(void)state;
	out_world_open(&o);
	feed_router(&o);
	send_up(&o, 4000, DNS, 53, "who");
	d = sent(&o, "who");
	expect_addr(&d.to, RESOLVER, 53);
	send_down(&o, d.fd, RESOLVER, 53, "he");
	d = sent(&o, "he");
	expect_addr(&d.from, DNS, 53);
	/* Asked again at once: the same. Asked again later without an answer: the next. */
	send_up(&o, 4001, DNS, 53, "who");
	send_up(&o, 4001, DNS, 53, "who");
	sent(&o, "who");
	d = sent(&o, "who");
	expect_addr(&d.to, RESOLVER, 53);
	pass(&o.x, 2 * SECOND_NS);
	send_up(&o, 4001, DNS, 53, "who");
	d = sent(&o, "who");
	expect_addr(&d.to, RESOLVER + 1, 53);
	send_down(&o, d.fd, RESOLVER + 1, 53, "she");
	d = sent(&o, "she");
	expect_addr(&d.from, DNS, 53);
	/* Others ask that one from now on. */
	send_up(&o, 4002, DNS, 53, "who");
	d = sent(&o, "who");
	expect_addr(&d.to, RESOLVER + 1, 53);
	assert_int_equal(o.x.stats.out_dns_queries, 5);
	out_world_close(&o);
}

/* A resolver's new port for each question: an answered one makes room at once, however many there
 * are, and before others that are older. */
static void test_answered_questions_make_room(void **state)
{
	struct out_world o;
	struct sim_datagram d;
	int first;

	(void)state;
	out_world_open(&o);
	feed_router(&o);
	send_up(&o, 3000, SERVER, 6000, "older");
	first = sent(&o, "older").fd;
	for (uint16_t i = 0; i < 500; i++) {
		send_up(&o, (uint16_t)(4000 + i), DNS, 53, "who");
		d = sent(&o, "who");
		send_down(&o, d.fd, RESOLVER, 53, "he");
		sent(&o, "he");
	}
	assert_int_equal(o.x.stats.out_udp_dropped, 0);
	assert_true(o.x.stats.out_udp_evicted > 400);
	send_up(&o, 3000, SERVER, 6000, "again");
	assert_int_equal(sent(&o, "again").fd, first);
	out_world_close(&o);
}

static void test_new_resolvers(void **state)
{
	struct out_world o;
	struct dp_msg msg = {.type = DP_MSG_RESOLVERS};
	struct sim_datagram d;

	(void)state;
	out_world_open(&o);
	feed_router(&o);
	send_up(&o, 4000, DNS, 53, "who");
	d = sent(&o, "who");
	expect_addr(&d.to, RESOLVER, 53);
	msg.target.in4 = addr_of(RESOLVER + 7, 53);
	sim_channel_put(o.x.sim, o.x.control, &msg, sizeof(msg), NULL, 0);
	settle(&o.x);
	send_up(&o, 4000, DNS, 53, "who");
	d = sent(&o, "who");
	expect_addr(&d.to, RESOLVER + 7, 53);
	/* The one before is not listened to any more. */
	send_down(&o, d.fd, RESOLVER, 53, "late");
	expect_nothing_sent(&o);
	out_world_close(&o);
}

static void test_router_is_another(void **state)
{
	struct out_world o;
	struct dp_msg msg = {.type = DP_MSG_NEW_ROUTER};
	struct sim_datagram d;

	(void)state;
	out_world_open(&o);
	sim_channel_end(o.x.sim, o.channel);
	send_up(&o, 4000, SERVER, 6000, "hello");
	d = sent(&o, "hello");
	send_down(&o, d.fd, SERVER, 6000, "lost");
	expect_nothing_sent(&o);
	o.channel = sim_channel(o.x.sim);
	sim_channel_put(o.x.sim, o.x.control, &msg, sizeof(msg), &o.channel, 1);
	feed_router(&o);
	send_down(&o, d.fd, SERVER, 6000, "arrives");
	d = sent(&o, "arrives");
	expect_addr(&d.from, SERVER, 6000);
	out_world_close(&o);
}

/* The next one comes before the end of the first is heard. */
static void test_router_is_another_already(void **state)
{
	struct out_world o;
	struct dp_msg msg = {.type = DP_MSG_NEW_ROUTER};
	struct sim_datagram d;
	int first;

	(void)state;
	out_world_open(&o);
	first = o.channel;
	o.channel = sim_channel(o.x.sim);
	sim_channel_put(o.x.sim, o.x.control, &msg, sizeof(msg), &o.channel, 1);
	settle(&o.x);
	sim_channel_end(o.x.sim, first);
	feed_router(&o);
	send_up(&o, 4000, SERVER, 6000, "hello");
	d = sent(&o, "hello");
	send_down(&o, d.fd, SERVER, 6000, "arrives");
	sent(&o, "arrives");
	out_world_close(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connects_before_the_client_is_accepted),
		cmocka_unit_test(test_client_hears_why_not),
		cmocka_unit_test(test_odd_packets_are_dropped),
		cmocka_unit_test(test_silence_is_answered_with_silence),
		cmocka_unit_test(test_repeated_packets),
		cmocka_unit_test(test_client_that_does_not_come),
		cmocka_unit_test(test_accepted_first),
		cmocka_unit_test(test_accepted_while_its_packet_waits),
		cmocka_unit_test(test_flood_gives_way),
		cmocka_unit_test(test_ports_keep_their_descriptors),
		cmocka_unit_test(test_shared_ports_run_out),
		cmocka_unit_test(test_next_resolver_by_tcp),
		cmocka_unit_test(test_random_runs),
		cmocka_unit_test(test_udp_one_mapping_for_all),
		cmocka_unit_test(test_udp_expires),
		cmocka_unit_test(test_udp_answers_are_for_one_mapping),
		cmocka_unit_test(test_udp_oldest_of_all_goes),
		cmocka_unit_test(test_udp_least_recently_used_goes),
		cmocka_unit_test(test_udp_errors_are_passed_on),
		cmocka_unit_test(test_gateway_has_a_socket_of_its_own),
		cmocka_unit_test(test_next_resolver_by_udp),
		cmocka_unit_test(test_answered_questions_make_room),
		cmocka_unit_test(test_new_resolvers),
		cmocka_unit_test(test_router_is_another),
		cmocka_unit_test(test_router_is_another_already),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
