/* SPDX-License-Identifier: Apache-2.0 */
/* A port whose target changes while it is in use, on the simulated kernel: rules of the namespace
 * turn it to a container, and where that refuses, the address that the user named is still there.
 */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "ns/transparent.h"
#include "udp_world.h"

#define CLIENT	  0xc0000264u /* 192.0.2.100 */
#define CONTAINER 0xac110002u /* 172.17.0.2 */
#define BRIDGE	  0xac110001u
#define EVERYTHING                                                                                 \
	(TRANSPARENT_BIT(TRANSPARENT_LOOPBACK, 0) | TRANSPARENT_BIT(TRANSPARENT_BEHIND, 0))

/* In the container, and of the port that was published. */
#define PORT	  81
#define PUBLISHED 80

static uint32_t routes(uint32_t to)
{
	return to >> 16 == CONTAINER >> 16 ? BRIDGE : 0x0a000264u;
}

static void open_with(struct world *x, uint32_t proto)
{
	world_open(x, 1, 0);
	x->w->config.transparent = EVERYTHING;
	sim_routes(x->sim, routes);
	add_port(x, proto, 0);
	settle(x);
}

static union sock_addr address(uint32_t ip, uint16_t port)
{
	return (union sock_addr){.in4 = {.sin_family = AF_INET,
					 .sin_port = htons(port),
					 .sin_addr.s_addr = htonl(ip)}};
}

static void tell(struct world *x, int port_id, union sock_addr target, union sock_addr target2)
{
	struct dp_msg msg = {
		.type = DP_MSG_TARGET, .port_id = port_id, .target = target, .target2 = target2};
	struct dp_msg answer;

	tell_worker(x, x->control, &msg, -1);
	settle(x);
	assert_false(next_answer(x, &answer));
}

static void turn_to_container(struct world *x)
{
	tell(x, x->port_id, address(CONTAINER, PORT), address(INADDR_LOOPBACK, PUBLISHED));
}

static int connect_client(struct world *x)
{
	int client = sim_client_connect(x->sim, x->listener);

	sim_client_from(x->sim, client, CLIENT, 40000);
	settle(x);
	return client;
}

/* The worker has connected with the client's address; the mark says to which of the two. */
static void expect_connected(struct world *x, bool to_container)
{
	int client = connect_client(x), server = sim_server_accept(x->sim);
	uint32_t mark;

	assert_true(server >= 0);
	assert_false(sim_far_saw_reset(x->sim, client));
	assert_int_equal(ntohl(sim_bound(x->sim, server, &mark).in4.sin_addr.s_addr), CLIENT);
	assert_int_equal(mark, to_container ? 0 : TRANSPARENT_MARK_LOOPBACK);
}

static void test_tcp(void **state)
{
	struct world x;

	(void)state;
	open_with(&x, PORT_TCP);
	expect_connected(&x, false);
	turn_to_container(&x);
	expect_connected(&x, true);
	sim_refuse_port(x.sim, PORT);
	expect_connected(&x, false);
	assert_int_equal(x.stats.tcp_refused, 0);
	sim_refuse_port(x.sim, 0);
	expect_connected(&x, true);
	/* Nobody turns it any more. */
	tell(&x, x.port_id, address(INADDR_LOOPBACK, PUBLISHED),
	     address(INADDR_LOOPBACK, PUBLISHED));
	expect_connected(&x, false);
	assert_int_equal(x.stats.tcp_transparent, 5);
	assert_int_equal(x.stats.tcp_transparent_lost, 0);
	world_close(&x);
}

/* A flow that waits for another try when the target changes goes to the new one. */
static void test_tcp_under_way(void **state)
{
	struct world x;
	uint32_t mark;
	int server;

	(void)state;
	open_with(&x, PORT_TCP);
	sim_refuse_port(x.sim, PUBLISHED);
	connect_client(&x);
	assert_int_equal(x.stats.tcp_flows, 1);
	assert_int_equal(sim_server_accept(x.sim), -1);
	turn_to_container(&x);
	pass(&x, SECOND_NS);
	server = sim_server_accept(x.sim);
	assert_true(server >= 0);
	assert_int_equal(ntohl(sim_bound(x.sim, server, &mark).in4.sin_addr.s_addr), CLIENT);
	assert_int_equal(mark, 0);
	world_close(&x);
}

/* What a port has learnt about its last server says nothing about the next. */
static void test_memory(void **state)
{
	struct world x;
	uint32_t mark;

	(void)state;
	open_with(&x, PORT_TCP);
	sim_fail_bound(x.sim, -EINPROGRESS);
	connect_client(&x);
	pass(&x, 2 * SECOND_NS);
	assert_true(sim_server_accept(x.sim) >= 0);
	assert_int_equal(x.stats.tcp_transparent_lost, 1);
	sim_fail_bound(x.sim, 0);
	connect_client(&x); /* the port has stopped trying */
	assert_int_equal(sim_bound(x.sim, sim_server_accept(x.sim), &mark).in4.sin_addr.s_addr, 0);
	turn_to_container(&x);
	expect_connected(&x, true);
	world_close(&x);
}

/* The next datagram went to this port of a server. Returns its descriptor. */
static int expect_sent_to(struct world *x, const char *text, uint16_t port)
{
	struct sim_datagram d;

	assert_true(sim_datagram_out(x->sim, &d));
	assert_int_equal(d.len, strlen(text));
	assert_memory_equal(d.data, text, d.len);
	assert_int_equal(ntohs(d.to.in4.sin_port), port);
	return d.fd;
}

/* The first datagram came before the container and its rules. The flow gets there when they do. */
static void test_udp_that_came_too_early(void **state)
{
	struct world x;
	int fd;

	(void)state;
	open_with(&x, PORT_UDP);
	assert_true(udp_client_sends(&x, 1, "early", 0));
	settle(&x);
	fd = expect_sent_to(&x, "early", PUBLISHED);
	assert_true(sim_datagram_error(x.sim, fd, -ECONNREFUSED));
	settle(&x);
	turn_to_container(&x);
	assert_true(udp_client_sends(&x, 1, "in time", 0));
	settle(&x);
	fd = expect_sent_to(&x, "in time", PORT);
	assert_true(udp_server_sends(&x, fd, "answer"));
	settle(&x);
	udp_expect_sent(&x, "answer");
	assert_int_equal(x.stats.udp_flows, 1);
	world_close(&x);
}

static void test_udp(void **state)
{
	struct world x;
	int fd;

	(void)state;
	open_with(&x, PORT_UDP);
	assert_true(udp_client_sends(&x, 1, "one", 0));
	settle(&x);
	fd = expect_sent_to(&x, "one", PUBLISHED);
	turn_to_container(&x);
	/* A flow that is there goes on. */
	assert_true(udp_client_sends(&x, 1, "two", 0));
	settle(&x);
	assert_int_equal(expect_sent_to(&x, "two", PUBLISHED), fd);
	assert_true(udp_client_sends(&x, 2, "three", 0));
	settle(&x);
	fd = expect_sent_to(&x, "three", PORT);
	/* No datagram is lost when nobody listens there. */
	assert_true(sim_datagram_error(x.sim, fd, -ECONNREFUSED));
	settle(&x);
	fd = expect_sent_to(&x, "three", PUBLISHED);
	/* The next client tries the container first, even if the other has answered. */
	assert_true(udp_server_sends(&x, fd, "answer"));
	settle(&x);
	udp_expect_sent(&x, "answer");
	assert_true(udp_client_sends(&x, 3, "four", 0));
	settle(&x);
	expect_sent_to(&x, "four", PORT);
	world_close(&x);
}

/* Messages that change nothing. */
static void test_ignored(void **state)
{
	static const union sock_addr none = {.sa.sa_family = AF_UNSPEC};
	union sock_addr v6 = {.in6 = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)}};
	struct world x;

	(void)state;
	open_with(&x, PORT_TCP);
	tell(&x, x.port_id + 1, address(CONTAINER, PORT), address(INADDR_LOOPBACK, PUBLISHED));
	tell(&x, -x.port_id, address(CONTAINER, PORT), address(INADDR_LOOPBACK, PUBLISHED));
	tell(&x, x.port_id, none, none);
	tell(&x, x.port_id, v6, v6);
	expect_connected(&x, false);
	turn_to_container(&x);
	tell(&x, x.port_id, address(INADDR_LOOPBACK, PUBLISHED), none);
	expect_connected(&x, true);
	world_close(&x);
}

/* The port is removed right after. */
static void test_removal(void **state)
{
	struct world x;

	(void)state;
	open_with(&x, PORT_TCP);
	expect_connected(&x, false);
	turn_to_container(&x);
	remove_port(&x);
	expect_answer(&x, x.port_id, x.seq, 0);
	turn_to_container(&x);
	assert_int_equal(x.stats.tcp_flows, 0);
	assert_int_equal(x.w->supply.pools[POOL_TCP4].users, 0);
	world_close(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tcp),
		cmocka_unit_test(test_tcp_under_way),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_udp),
		cmocka_unit_test(test_udp_that_came_too_early),
		cmocka_unit_test(test_ignored),
		cmocka_unit_test(test_removal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
