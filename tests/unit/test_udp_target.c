/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/array.h"
#include "udp_world.h"

/* UDP servers at two addresses, and at an address that does not exist. */

/* Two addresses */

/* Opens a world with a port that leads to two addresses of the server, ports 80 and 81. */
static void two_addresses(struct world *x)
{
	world_open(x, 1, 0);
	add_port(x, PORT_UDP, 81);
	settle(x);
}

/* The next datagram went to this port of the server. Returns its descriptor. */
static int expect_sent_to(struct world *x, const char *text, uint16_t port)
{
	struct sim_datagram d;

	assert_true(sim_datagram_out(x->sim, &d));
	assert_int_equal(d.len, strlen(text));
	assert_memory_equal(d.data, text, d.len);
	assert_int_equal(ntohs(d.to.in4.sin_port), port);
	return d.fd;
}

static void refuse(struct world *x, int fd)
{
	assert_true(sim_datagram_error(x->sim, fd, -ECONNREFUSED));
	settle(x);
}

/* The server is at the second address. No datagram is lost, and later clients begin there. */
static void test_second_address(void **state)
{
	struct world x;
	int fd;

	(void)state;
	two_addresses(&x);
	assert_true(udp_client_sends(&x, 1, "one", 0));
	assert_true(udp_client_sends(&x, 1, "two", 0));
	settle(&x);
	fd = expect_sent_to(&x, "one", 80);
	expect_sent_to(&x, "two", 80);
	refuse(&x, fd);
	fd = expect_sent_to(&x, "one", 81);
	expect_sent_to(&x, "two", 81);
	assert_int_equal(x.stats.udp_datagrams_in, 2);
	assert_int_equal(x.stats.udp_bytes_in, 6);
	assert_true(udp_server_sends(&x, fd, "answer"));
	settle(&x);
	udp_expect_sent(&x, "answer");
	assert_true(udp_client_sends(&x, 1, "three", 0));
	assert_true(udp_client_sends(&x, 2, "another", 0));
	settle(&x);
	assert_int_equal(expect_sent_to(&x, "three", 81), fd);
	fd = expect_sent_to(&x, "another", 81);
	/* The server has moved, and the client's datagram follows it. */
	refuse(&x, fd);
	expect_sent_to(&x, "another", 80);
	assert_true(udp_client_sends(&x, 3, "a third", 0));
	settle(&x);
	expect_sent_to(&x, "a third", 80);
	/* Copies are dropped after a while, and with their flow. */
	pass(&x, 2 * SECOND_NS);
	assert_null(x.w->udp.keeping);
	assert_int_equal(x.w->udp.store.free, UDP_BLOCKS);
	world_close(&x);
}

/* Nobody listens at either address. Each datagram has been sent to both, and to neither twice. */
static void test_nobody_at_two_addresses(void **state)
{
	static const uint16_t first[] = {80, 81};
	struct world x;
	int fd;

	(void)state;
	two_addresses(&x);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(udp_client_sends(&x, 1, "ask", 0));
		settle(&x);
		fd = expect_sent_to(&x, "ask", first[i % 2]);
		refuse(&x, fd);
		fd = expect_sent_to(&x, "ask", first[!(i % 2)]);
		refuse(&x, fd);
		udp_expect_nothing_sent(&x);
	}
	assert_int_equal(x.stats.udp_flows, 1);
	assert_int_equal(x.stats.udp_datagrams_in, 4);
	assert_int_equal(x.w->udp.ports, 1);
	/* A server that has answered does not answer any more. */
	assert_true(udp_client_sends(&x, 1, "ask", 0));
	settle(&x);
	fd = expect_sent_to(&x, "ask", 80);
	assert_true(udp_server_sends(&x, fd, "answer"));
	settle(&x);
	udp_expect_sent(&x, "answer");
	assert_true(udp_client_sends(&x, 1, "lost", 0));
	settle(&x);
	expect_sent_to(&x, "lost", 80);
	refuse(&x, fd);
	udp_expect_nothing_sent(&x);
	assert_true(udp_client_sends(&x, 1, "found", 0));
	settle(&x);
	expect_sent_to(&x, "found", 80);
	refuse(&x, fd);
	expect_sent_to(&x, "found", 81);
	world_close(&x);
}

/* There is no socket for the second address yet. When it comes, the datagrams that wait are sent,
 * also those that came meanwhile. */
static void test_second_address_waits_for_socket(void **state)
{
	struct sockpool *pool;
	struct world x;
	int fd;

	(void)state;
	two_addresses(&x);
	x.no_sockets = true;
	pool = &x.w->supply.pools[x.target_family == AF_INET6 ? POOL_UDP6 : POOL_UDP4];
	for (unsigned i = 0; pool->n > 0; i++)
		udp_flow_open(&x, 100 + i);
	x.no_sockets = false;
	settle(&x);
	fd = udp_flow_open(&x, 1);
	x.no_sockets = true;
	while (pool->n > 0)
		x.io->ops->close_fd(x.io, sockpool_take(pool));
	refuse(&x, fd);
	udp_expect_nothing_sent(&x);
	assert_true(udp_client_sends(&x, 1, "later", 0));
	pass(&x, 5 * SECOND_NS);
	x.no_sockets = false;
	settle(&x);
	expect_sent_to(&x, "hello", 81);
	expect_sent_to(&x, "later", 81);
	world_close(&x);
}

/* An address cannot be connected to, as ::1 where there is no IPv6. */
static void test_address_that_is_not_there(void **state)
{
	struct world x;

	(void)state;
	two_addresses(&x);
	sim_unreachable_port(x.sim, 80);
	assert_true(udp_client_sends(&x, 1, "ask", 0));
	settle(&x);
	expect_sent_to(&x, "ask", 81);
	sim_unreachable_port(x.sim, 81);
	assert_int_equal(x.stats.udp_flows, 1);
	world_close(&x);
}

/* Nobody is at a port's only address. Rules may turn the flow by now, but not its old socket. So it
 * takes another when the client sends again, once a second. */
static void test_one_address_is_looked_for_anew(void **state)
{
	struct world x;
	int fd, before;

	(void)state;
	world_open(&x, 1, 0);
	add_port(&x, PORT_UDP, 0);
	before = udp_flow_open(&x, 1);
	for (unsigned round = 0; round < 3; round++) {
		refuse(&x, before);
		assert_int_equal(x.stats.udp_refused, 1 + 3 * round);
		assert_true(udp_client_sends(&x, 1, "again", 0));
		settle(&x);
		fd = expect_sent_to(&x, "again", 80);
		assert_int_not_equal(fd, before);
		for (unsigned i = 0; i < 2; i++) { /* less than a second later */
			refuse(&x, fd);
			assert_true(udp_client_sends(&x, 1, "once more", 0));
			settle(&x);
			assert_int_equal(expect_sent_to(&x, "once more", 80), fd);
		}
		assert_int_equal(x.w->udp.ports, 1);
		pass(&x, SECOND_NS);
		before = fd;
	}
	assert_int_equal(x.stats.udp_flows, 1);
	/* A flow that is answered after all stays where it is. */
	refuse(&x, fd);
	assert_true(udp_server_sends(&x, fd, "answer"));
	settle(&x);
	udp_expect_sent(&x, "answer");
	assert_true(udp_client_sends(&x, 1, "stays", 0));
	settle(&x);
	assert_int_equal(expect_sent_to(&x, "stays", 80), fd);
	world_close(&x);
}

/* A port is removed while clients wait for a socket, and then the sockets come. */
static void test_removal_while_waiting_for_socket(void **state)
{
	struct world x;

	(void)state;
	world_open(&x, 1, 0);
	x.no_sockets = true;
	add_port(&x, PORT_UDP, 0);
	assert_true(udp_client_sends(&x, 1, "lost", 0));
	settle(&x);
	assert_int_equal(x.stats.udp_flows, 1);
	remove_port(&x);
	expect_answer(&x, x.port_id, x.seq, 0);
	assert_int_equal(x.stats.udp_flows, 0);
	assert_int_equal(x.stats.udp_dropped, 1);
	x.no_sockets = false;
	settle(&x);
	add_port(&x, PORT_UDP, 0);
	settle(&x);
	udp_flow_open(&x, 1);
	world_close(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_second_address),
		cmocka_unit_test(test_nobody_at_two_addresses),
		cmocka_unit_test(test_second_address_waits_for_socket),
		cmocka_unit_test(test_address_that_is_not_there),
		cmocka_unit_test(test_one_address_is_looked_for_anew),
		cmocka_unit_test(test_removal_while_waiting_for_socket),
	};

	return WORLD_RUN_BOTH_FAMILIES(tests);
}
