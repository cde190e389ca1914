/* SPDX-License-Identifier: Apache-2.0 */
#include "out_world.h"

#include "cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/array.h"
#include "dataplane/dataplane.h"
#include "ns/transparent.h"

/*
 * Published ports by way of the router (--net=builtin): servers see the client's address, and a
 * server that is not at the namespace's own address is found at the loopback addresses.
 */

#define CLIENT	  0xcb007109u /* 203.0.113.9 */
#define CONTAINER 0xac110002u /* 172.17.0.2 */

/* Adds a port, for which the router's sockets have not come yet. */
static void way_in_begin(struct out_world *o, uint32_t proto, uint16_t target2, bool literal)
{
	struct dp_msg msg = port_msg(&o->x, proto, target2);

	msg.transparent = 1;
	msg.literal = literal;
	o->x.listener = sim_listener(o->x.sim, o->x.family);
	ask_add(&o->x, &msg, o->x.listener);
	expect_answer(&o->x, o->x.port_id, o->x.seq, 0);
	settle(&o->x);
}

static void way_in_add(struct out_world *o, uint32_t proto, uint16_t target2, bool literal)
{
	feed_router(o);
	way_in_begin(o, proto, target2, literal);
	feed_router(o);
}

static void way_in_open(struct out_world *o, uint32_t proto, uint16_t target2)
{
	out_world_open(o);
	way_in_add(o, proto, target2, false);
}

/* A loopback address that the user named, where the namespace is ready for that. */
static void test_udp_literal_loopback(void **state)
{
	static const struct {
		bool same_family, other_family; /* prepared for this family */
		bool literal;
		uint32_t to;
	} rows[] = {
		{true, false, true, INADDR_LOOPBACK},
		{true, true, false, INSIDE},
		{false, true, true, INSIDE},
		{false, false, true, INSIDE},
	};
	struct out_world o;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct sim_datagram d;
		bool ipv6;

		out_world_open(&o);
		ipv6 = o.x.family == AF_INET6;
		o.x.w->config.transparent =
			rows[i].same_family * TRANSPARENT_BIT(TRANSPARENT_ROUTED, ipv6) |
			rows[i].other_family * TRANSPARENT_BIT(TRANSPARENT_ROUTED, !ipv6);
		way_in_add(&o, PORT_UDP, 0, rows[i].literal);
		send_down(&o, o.x.listener, CLIENT, 4000, "hello");
		d = sent(&o, "hello");
		expect_addr(&o, &d.to, rows[i].to, 80);
		expect_addr(&o, &d.from, CLIENT, ntohs(d.from.in4.sin_port));
		out_world_close(&o);
	}
}

/* UDP */

static void from_client(struct out_world *o, uint16_t port, const char *text)
{
	send_down(o, o->x.listener, CLIENT, port, text);
}

/* The ways on which the datagrams of a port may go, in the order in which they are tried: by the
 * router, to the target, and to the second target, if there is one. */
enum way { ROUTED, FIRST, SECOND };

/* The datagram has left by this way. Its descriptor. */
static int expect_by(struct out_world *o, enum way way, const char *text)
{
	struct sim_datagram d = sent(o, text);
	bool routed = way == ROUTED;

	expect_addr(o, &d.to, routed ? INSIDE : INADDR_LOOPBACK, way == SECOND ? 81 : 80);
	assert_int_equal(d.from.sa.sa_family, routed ? o->x.family : 0);
	if (routed)
		expect_addr(o, &d.from, CLIENT, ntohs(d.from.in4.sin_port));
	return d.fd;
}

/* All of these datagrams of one client have left by this way. Their descriptor. */
static int expect_all_by(struct out_world *o, enum way way, const char *const *texts)
{
	int fd = expect_by(o, way, texts[0]);

	while (*++texts)
		assert_int_equal(expect_by(o, way, *texts), fd);
	return fd;
}

/* Nobody is at the end of this way. */
static void refuse(struct out_world *o, int fd)
{
	assert_true(sim_datagram_error(o->x.sim, fd, -ECONNREFUSED));
	settle(&o->x);
	feed_router(o);
}

/* The datagrams leave by one way after the other, up to this one, and are refused on each. */
static void refused_up_to(struct out_world *o, enum way last, const char *const *texts)
{
	for (enum way way = ROUTED; way <= last; way++)
		refuse(o, expect_all_by(o, way, texts));
}

/* The datagrams leave by this way, and the server answers. Their descriptor. */
static int answered_by(struct out_world *o, enum way way, const char *const *texts)
{
	int fd = expect_all_by(o, way, texts);

	goes_down(o, fd, way == ROUTED ? INSIDE : INADDR_LOOPBACK, way == SECOND ? 81 : 80,
		  "answer");
	return fd;
}

static const char *const hello[] = {"hello", NULL};

static void test_udp_bears_the_clients_address(void **state)
{
	struct out_world o;
	int fd;

	(void)state;
	way_in_open(&o, PORT_UDP, 0);
	from_client(&o, 4000, "hello");
	fd = answered_by(&o, ROUTED, hello);
	from_client(&o, 4000, "more");
	assert_int_equal(expect_by(&o, ROUTED, "more"), fd);
	out_world_close(&o);
}

/* The router's way refuses, the first target refuses, and the first datagram is not lost. */
static void test_udp_first_datagram_finds_the_third_way(void **state)
{
	static const char *const texts[] = {"hello", "and more", NULL};
	struct out_world o;

	(void)state;
	way_in_open(&o, PORT_UDP, 81);
	from_client(&o, 4000, texts[0]);
	from_client(&o, 4000, texts[1]);
	refused_up_to(&o, FIRST, texts);
	answered_by(&o, SECOND, texts);
	assert_int_equal(o.x.stats.udp_datagrams_in, 2);
	/* The next client begins there. */
	from_client(&o, 4001, "next");
	expect_by(&o, SECOND, "next");
	expect_nothing_sent(&o);
	out_world_close(&o);
}

/* No server is there: each datagram is sent by each way once. */
static void test_udp_nobody_anywhere(void **state)
{
	struct out_world o;

	(void)state;
	way_in_open(&o, PORT_UDP, 81);
	from_client(&o, 4000, "hello");
	refused_up_to(&o, SECOND, hello);
	expect_nothing_sent(&o);
	assert_int_equal(o.x.stats.udp_datagrams_in, 1);
	assert_int_equal(o.x.stats.udp_dropped, 0);
	out_world_close(&o);
}

/* A server that has answered moves from the namespace's address to the loopback address. The first
 * datagram after a moment of silence is not lost. */
static void test_udp_server_moves_while_its_flow_is_quiet(void **state)
{
	struct out_world o;
	int fd;

	(void)state;
	way_in_open(&o, PORT_UDP, 0);
	from_client(&o, 4000, "hello");
	fd = answered_by(&o, ROUTED, hello);
	pass(&o.x, SECOND_NS / 5);
	from_client(&o, 4000, "moved");
	assert_int_equal(expect_by(&o, ROUTED, "moved"), fd);
	refuse(&o, fd);
	expect_by(&o, FIRST, "moved");
	out_world_close(&o);
}

/* Clients on this host have no address that the router could show. */
static void test_udp_client_of_this_host(void **state)
{
	struct out_world o;

	(void)state;
	way_in_open(&o, PORT_UDP, 0);
	send_down(&o, o.x.listener, INADDR_LOOPBACK, 4000, "hello");
	expect_by(&o, FIRST, "hello");
	out_world_close(&o);
}

/* TCP */

static int client_connects(struct out_world *o, uint32_t address, uint16_t port)
{
	int far = sim_client_connect(o->x.sim, o->x.listener);

	assert_true(far >= 0);
	sim_client_from(o->x.sim, far, address, port);
	settle(&o->x);
	feed_router(o);
	return far;
}

static void expect_server_sees(struct out_world *o, int client, int server, uint32_t address)
{
	union sock_addr bound;
	uint32_t mark;

	assert_true(server >= 0);
	bound = sim_bound(o->x.sim, server, &mark);
	assert_int_equal(sim_host_of(&bound), address);
	expect_joined(o, client, server);
}

static void test_tcp_bears_the_clients_address(void **state)
{
	struct out_world o;
	int client, server;

	(void)state;
	way_in_open(&o, PORT_TCP, 0);
	client = client_connects(&o, CLIENT, 4000);
	server = sim_server_accept(o.x.sim);
	expect_server_sees(&o, client, server, CLIENT);
	assert_int_equal(o.x.stats.tcp_transparent, 1);
	finish(&o, client, server);
	/* A client of this host is seen as without the router. */
	client = client_connects(&o, INADDR_LOOPBACK, 4001);
	server = sim_server_accept(o.x.sim);
	expect_server_sees(&o, client, server, 0);
	finish(&o, client, server);
	out_world_close(&o);
}

/* A loopback address that the user named, where the namespace is ready for that. */
static void test_tcp_literal_loopback(void **state)
{
	(void)state;
	for (unsigned other = 0; other < 2; other++) {
		union sock_addr to;
		struct out_world o;
		bool ipv6;
		int client, server;

		out_world_open(&o);
		ipv6 = o.x.family == AF_INET6;
		/* The other family's rules are of no use. */
		o.x.w->config.transparent = TRANSPARENT_BIT(TRANSPARENT_ROUTED, ipv6 != other);
		way_in_add(&o, PORT_TCP, 0, true);
		client = client_connects(&o, CLIENT, 4000);
		server = sim_server_accept(o.x.sim);
		expect_server_sees(&o, client, server, CLIENT);
		to = sim_connected_to(o.x.sim, server);
		expect_addr(&o, &to, other ? INSIDE : INADDR_LOOPBACK, 80);
		finish(&o, client, server);
		out_world_close(&o);
	}
}

/* Rules turn what comes in for the loopback address, port 80, to port 81 of a container. By the
 * router they do so by themselves. The others are sent there. */
static void turn_to_container(struct out_world *o)
{
	struct dp_msg msg = {.type = DP_MSG_TARGET,
			     .port_id = o->x.port_id,
			     .target = out_addr(o, CONTAINER, 81),
			     .target2 = out_addr(o, INADDR_LOOPBACK, 80)};

	sim_channel_put(o->x.sim, o->x.control, &msg, sizeof(msg), NULL, 0);
	settle(&o->x);
	feed_router(o);
}

/* A client connects, and its server at to sees it as seen; 0: as without the router. */
static void expect_reached(struct out_world *o, uint32_t client, const union sock_addr *to,
			   uint32_t seen)
{
	int far = client_connects(o, client, 4000), server = sim_server_accept(o->x.sim);
	union sock_addr got;

	expect_server_sees(o, far, server, seen);
	got = sim_connected_to(o->x.sim, server);
	assert_true(sockaddr_same_host(&got, to));
	assert_int_equal(got.in4.sin_port, to->in4.sin_port);
	finish(o, far, server);
}

static void test_tcp_turned(void **state)
{
	union sock_addr container, loopback;
	struct out_world o;

	(void)state;
	out_world_open(&o);
	container = out_addr(&o, CONTAINER, 81);
	loopback = out_addr(&o, INADDR_LOOPBACK, 80);
	o.x.w->config.transparent = TRANSPARENT_BIT(TRANSPARENT_ROUTED, o.x.family == AF_INET6);
	way_in_add(&o, PORT_TCP, 0, true);
	expect_reached(&o, INADDR_LOOPBACK, &loopback, 0);
	turn_to_container(&o);
	expect_reached(&o, CLIENT, &loopback, CLIENT);
	expect_reached(&o, INADDR_LOOPBACK, &container, 0);
	sim_refuse_port(o.x.sim, 81);
	expect_reached(&o, INADDR_LOOPBACK, &loopback, 0);
	sim_refuse_port(o.x.sim, 80);
	expect_reached(&o, INADDR_LOOPBACK, &container, 0);
	out_world_close(&o);
}

static void test_udp_turned(void **state)
{
	struct sim_datagram d;
	struct out_world o;

	(void)state;
	out_world_open(&o);
	o.x.w->config.transparent = TRANSPARENT_BIT(TRANSPARENT_ROUTED, o.x.family == AF_INET6);
	way_in_add(&o, PORT_UDP, 0, true);
	turn_to_container(&o);
	from_client(&o, 4000, "hello");
	d = sent(&o, "hello");
	expect_addr(&o, &d.to, INADDR_LOOPBACK, 80);
	expect_addr(&o, &d.from, CLIENT, ntohs(d.from.in4.sin_port));
	send_down(&o, o.x.listener, INADDR_LOOPBACK, 4001, "from here");
	d = sent(&o, "from here");
	expect_addr(&o, &d.to, CONTAINER, 81);
	refuse(&o, d.fd);
	expect_by(&o, FIRST, "from here");
	out_world_close(&o);
}

/* A client of IPv4 comes to a dual-stack port with a mapped address: its server sees the plain one,
 * if the server has an IPv4 address, and otherwise none. */
static void test_tcp_mapped_client(void **state)
{
	union sock_addr from = sim_addr(AF_INET, CLIENT, 4000), bound;

	(void)state;
	for (unsigned same = 0; same < 2; same++) {
		struct out_world o;
		struct dp_msg msg;
		uint32_t mark;
		int client, server;

		out_world_open(&o);
		feed_router(&o);
		o.x.family = AF_INET6;
		o.x.target_family = same ? AF_INET : AF_INET6;
		msg = port_msg(&o.x, PORT_TCP, 0);
		msg.transparent = 1;
		o.x.listener = sim_listener_dual(o.x.sim);
		ask_add(&o.x, &msg, o.x.listener);
		expect_answer(&o.x, o.x.port_id, o.x.seq, 0);
		feed_router(&o);
		client = sim_client_connect(o.x.sim, o.x.listener);
		sim_client_is(o.x.sim, client, &from);
		settle(&o.x);
		server = sim_server_accept(o.x.sim);
		assert_true(server >= 0);
		bound = sim_bound(o.x.sim, server, &mark);
		assert_int_equal(bound.sa.sa_family, same ? AF_INET : AF_UNSPEC);
		if (same)
			assert_true(sockaddr_same_host(&bound, &from));
		assert_int_equal(o.x.stats.tcp_transparent, same);
		assert_int_equal(o.x.stats.tcp_transparent_lost, !same);
		finish(&o, client, server);
		out_world_close(&o);
	}
}

/* A link-local address means nothing in the namespace. */
static void test_tcp_client_of_a_link(void **state)
{
	union sock_addr from = {.in6 = {.sin6_family = AF_INET6,
					.sin6_port = htons(4000),
					.sin6_scope_id = 3,
					.sin6_addr = {.s6_addr = {0xfe, 0x80, [15] = 9}}}};
	struct out_world o;
	uint32_t mark;
	int client, server;

	(void)state;
	out_world_open(&o);
	o.x.family = o.x.target_family = AF_INET6;
	way_in_add(&o, PORT_TCP, 0, false);
	client = sim_client_connect(o.x.sim, o.x.listener);
	sim_client_is(o.x.sim, client, &from);
	settle(&o.x);
	server = sim_server_accept(o.x.sim);
	assert_true(server >= 0);
	assert_int_equal(sim_bound(o.x.sim, server, &mark).sa.sa_family, AF_UNSPEC);
	assert_int_equal(o.x.stats.tcp_transparent_lost, 1);
	expect_joined(&o, client, server);
	finish(&o, client, server);
	out_world_close(&o);
}

/* A connection waits for a socket of the router's, and nothing else happens: the router is asked
 * again, whether the request could not leave, or the router had no socket. */
static void test_tcp_router_is_asked_again(void **state)
{
	struct broker_reply refusal = {.proto = IPPROTO_TCP, .err = -ENOMEM};
	struct broker_request req;
	struct out_world o;
	int client, server;

	(void)state;
	out_world_open(&o);
	feed_router(&o);
	sim_channel_short(o.x.sim, o.x.router, true);
	way_in_begin(&o, PORT_TCP, 0, false);
	client = sim_client_connect(o.x.sim, o.x.listener);
	sim_client_from(o.x.sim, client, CLIENT, 4000);
	settle(&o.x);
	assert_false(sim_channel_get(o.x.sim, o.x.router, &req, sizeof(req)));
	sim_channel_short(o.x.sim, o.x.router, false);
	pass(&o.x, SECOND_NS / 10);
	assert_true(sim_channel_get(o.x.sim, o.x.router, &req, sizeof(req)));
	assert_int_equal(req.proto, IPPROTO_TCP);
	refusal.family = req.family;
	sim_channel_put(o.x.sim, o.x.router, &refusal, sizeof(refusal), NULL, 0);
	pass(&o.x, SECOND_NS / 10);
	feed_router(&o);
	server = sim_server_accept(o.x.sim);
	expect_server_sees(&o, client, server, CLIENT);
	finish(&o, client, server);
	out_world_close(&o);
}

/* The router's broker hangs, so there is no socket of the router's for the connection: it does not
 * wait for ever, nor do those that follow. Later the router's way is tried again. */
static void test_tcp_router_does_not_answer(void **state)
{
	struct out_world o;
	int clients[2], server;

	(void)state;
	out_world_open(&o);
	feed_router(&o);
	way_in_begin(&o, PORT_TCP, 0, false);
	clients[0] = sim_client_connect(o.x.sim, o.x.listener);
	sim_client_from(o.x.sim, clients[0], CLIENT, 4000);
	settle(&o.x);
	assert_true(sim_server_accept(o.x.sim) < 0);
	pass(&o.x, SECOND_NS + SECOND_NS / 10);
	server = sim_server_accept(o.x.sim);
	expect_server_sees(&o, clients[0], server, 0);
	finish(&o, clients[0], server);
	clients[1] = sim_client_connect(o.x.sim, o.x.listener);
	sim_client_from(o.x.sim, clients[1], CLIENT, 4001);
	settle(&o.x);
	server = sim_server_accept(o.x.sim);
	expect_server_sees(&o, clients[1], server, 0);
	finish(&o, clients[1], server);
	pass(&o.x, 5 * SECOND_NS);
	feed_router(&o);
	clients[0] = client_connects(&o, CLIENT, 4002);
	server = sim_server_accept(o.x.sim);
	expect_server_sees(&o, clients[0], server, CLIENT);
	finish(&o, clients[0], server);
	out_world_close(&o);
}

/* The same for a client of this host, for whom the router's way is the last one: it is told. */
static void test_tcp_last_way_does_not_answer(void **state)
{
	struct out_world o;
	int client;

	(void)state;
	out_world_open(&o);
	feed_router(&o);
	way_in_begin(&o, PORT_TCP, 0, false);
	sim_refuse_port(o.x.sim, 80);
	client = sim_client_connect(o.x.sim, o.x.listener);
	sim_client_from(o.x.sim, client, INADDR_LOOPBACK, 4000);
	settle(&o.x);
	assert_false(sim_far_saw_reset(o.x.sim, client));
	pass(&o.x, 2 * SECOND_NS);
	assert_true(sim_far_saw_reset(o.x.sim, client));
	assert_int_equal(o.x.stats.tcp_timed_out, 1);
	assert_int_equal(o.x.stats.tcp_flows, 0);
	feed_router(&o);
	out_world_close(&o);
}

/* A server that listens on the loopback address alone refuses the router's way. It is reached at
 * the loopback address. */
static void test_tcp_server_on_loopback_alone(void **state)
{
	struct out_world o;
	int client, server;

	(void)state;
	way_in_open(&o, PORT_TCP, 0);
	sim_fail_bound(o.x.sim, -ECONNREFUSED);
	client = client_connects(&o, CLIENT, 4000);
	server = sim_server_accept(o.x.sim);
	expect_server_sees(&o, client, server, 0);
	finish(&o, client, server);
	out_world_close(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_udp_bears_the_clients_address),
		cmocka_unit_test(test_udp_literal_loopback),
		cmocka_unit_test(test_udp_first_datagram_finds_the_third_way),
		cmocka_unit_test(test_udp_nobody_anywhere),
		cmocka_unit_test(test_udp_server_moves_while_its_flow_is_quiet),
		cmocka_unit_test(test_udp_client_of_this_host),
		cmocka_unit_test(test_tcp_bears_the_clients_address),
		cmocka_unit_test(test_tcp_literal_loopback),
		cmocka_unit_test(test_tcp_turned),
		cmocka_unit_test(test_udp_turned),
		cmocka_unit_test(test_tcp_mapped_client),
		cmocka_unit_test(test_tcp_client_of_a_link),
		cmocka_unit_test(test_tcp_router_is_asked_again),
		cmocka_unit_test(test_tcp_router_does_not_answer),
		cmocka_unit_test(test_tcp_last_way_does_not_answer),
		cmocka_unit_test(test_tcp_server_on_loopback_alone),
	};

	return WORLD_RUN_BOTH_FAMILIES(tests);
}
