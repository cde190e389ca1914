/* SPDX-License-Identifier: Apache-2.0 */
#include "out_world.h"

#include "cmocka_all.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <string.h>

/* Datagrams on their way out against the simulated kernel: mappings, resolvers, errors. */

static void test_udp_one_mapping_for_all(void **state)
{
	struct out_world o;
	struct sim_datagram a, b, c;

	(void)state;
	out_world_open(&o);
	feed_router(&o);
	a = goes_up(&o, 4000, SERVER, 6000, "one");
	b = goes_up(&o, 4000, SERVER + 1, 6001, "two");
	c = goes_up(&o, 4001, SERVER, 6000, "three");
	expect_addr(&o, &a.to, SERVER, 6000);
	expect_addr(&o, &b.to, SERVER + 1, 6001);
	assert_int_equal(a.fd, b.fd);
	assert_int_not_equal(a.fd, c.fd);
	assert_int_equal(o.x.stats.out_udp_flows, 2);
	/* An answer arrives from the address that was asked, and from any port of it. */
	b = goes_down(&o, a.fd, SERVER + 1, 6001, "from two");
	expect_addr(&o, &b.from, SERVER + 1, 6001);
	expect_addr(&o, &b.to, INSIDE, 4000);
	b = goes_down(&o, a.fd, SERVER + 1, 7777, "other port");
	expect_addr(&o, &b.from, SERVER + 1, 7777);
	/* No others are let in. */
	send_down(&o, a.fd, SERVER + 2, 6001, "stranger");
	send_down(&o, c.fd, SERVER + 1, 6001, "not yours");
	expect_nothing_sent(&o);
	assert_int_equal(o.x.stats.out_udp_dropped, 2);
	out_world_close(&o);
}

/* What could not be sent is lost, and its bytes do not count as delivered. A mapping that cannot be
 * read for want of memory stays, with the port that the outside knows. */
static void test_udp_losses(void **state)
{
	struct out_world o;
	struct sim_datagram d;

	(void)state;
	out_world_open(&o);
	feed_router(&o);
	send_up(&o, 4000, SERVER, 6000, "question");
	d = sent(&o, "question");
	assert_int_equal(o.x.stats.out_udp_bytes_up, 8);
	sim_fail_send(o.x.sim, -EAGAIN);
	send_up(&o, 4000, SERVER, 6000, "lost");
	expect_nothing_sent(&o);
	assert_int_equal(o.x.stats.out_udp_datagrams_up, 1);
	assert_int_equal(o.x.stats.out_udp_bytes_up, 8);
	assert_int_equal(o.x.stats.out_udp_dropped, 1);
	sim_fail_send(o.x.sim, -EAGAIN);
	send_down(&o, d.fd, SERVER, 6000, "lost, too");
	expect_nothing_sent(&o);
	assert_int_equal(o.x.stats.out_udp_bytes_down, 0);
	assert_int_equal(o.x.stats.out_udp_dropped, 2);
	assert_true(sim_datagram_error(o.x.sim, d.fd, -ENOMEM));
	settle(&o.x);
	assert_int_equal(o.x.stats.out_udp_flows, 1);
	send_down(&o, d.fd, SERVER, 6000, "answer");
	sent(&o, "answer");
	assert_int_equal(o.x.stats.out_udp_bytes_down, 6);
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
	/* A mapping that is used does not expire. */
	for (int i = 0; i < 5; i++) {
		send_up(&o, 4000, SERVER, 6000, "used");
		pass(&o.x, 60 * SECOND_NS);
	}
	assert_int_equal(o.x.stats.out_udp_flows, 1);
	assert_int_equal(o.x.stats.out_udp_expired, 2);
	out_world_close(&o);
}

/* Each mapping has written to one address, and takes no answers for another. */
static void test_udp_answers_are_for_one_mapping(void **state)
{
	struct out_world o;
	struct sim_datagram d;
	int fds[8];

	(void)state;
	out_world_open(&o);
	feed_router(&o);
	for (uint16_t i = 0; i < 8; i++) {
		fds[i] = goes_up(&o, (uint16_t)(4000 + i), SERVER + i, 6000, "hello").fd;
	}
	for (unsigned i = 0; i < 8; i++)
		for (uint32_t k = 0; k < 8; k++) {
			send_down(&o, fds[i], SERVER + k, 6000, "answer");
			assert_int_equal(sim_datagram_out(o.x.sim, &d), i == k);
			feed_router(&o);
		}
	out_world_close(&o);
}

/* The oldest of all mappings goes, also for one to port 53. */
static void test_udp_oldest_of_all_goes(void **state)
{
	struct out_world o;

	(void)state;
	out_world_open(&o);
	send_up(&o, 4000, SERVER, 6000, "oldest");
	for (uint16_t i = 1; o.x.stats.out_udp_evicted == 0; i++)
		send_up(&o, (uint16_t)(4000 + i), SERVER, 53, "newer");
	/* Mappings to port 53 have expired by now, and the oldest one went before. */
	pass(&o.x, 30 * SECOND_NS);
	assert_int_equal(o.x.stats.out_udp_flows, 0);
	out_world_close(&o);
}

static void test_udp_least_recently_used_goes(void **state)
{
	struct out_world o;
	struct sim_datagram first, again, d;

	(void)state;
	out_world_open(&o);
	first = goes_up(&o, 4000, SERVER, 6000, "first");
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

/* When descriptors or the host's ports are used up, a new mapping takes those of an old one. */
static void test_udp_shares_are_kept(void **state)
{
	struct worker_config config;
	struct out_world o;
	struct sim_datagram d;

	(void)state;
	config = out_world_begin(&o, 1, 0, true);
	config.out.fds_max = 20;
	config.out.maps_max = 64;
	out_world_start(&o, &config);
	for (uint16_t i = 0; i < 30; i++)
		goes_up(&o, (uint16_t)(4000 + i), SERVER, 6000, "hello");
	assert_true(o.x.w->out.fds <= 20);
	out_world_close(&o);
	out_world_open(&o);
	o.ports.max = 4;
	for (uint16_t i = 0; i < 30; i++)
		d = goes_up(&o, (uint16_t)(4000 + i), SERVER, 6000, "hello");
	assert_int_equal(o.ports.udp, 4);
	assert_int_equal(goes_up(&o, 4029, SERVER, 6000, "the last").fd, d.fd);
	out_world_close(&o);
}

/* A flood of new senders makes no more sockets than the rate allows. */
static void test_udp_evictions_have_a_rate(void **state)
{
	union sock_addr dest;
	struct out_world o;
	struct sim_datagram d;
	uint64_t begun_ns;

	(void)state;
	out_world_open(&o);
	dest = out_addr(&o, SERVER, 6000);
	begun_ns = sim_now(o.x.sim);
	for (uint16_t i = 0; i < 300; i++) {
		union sock_addr client = out_addr(&o, INSIDE, (uint16_t)(4000 + i));

		sim_datagram_in(o.x.sim, out_of_family(&o, o.udp), &client, &dest, "flood", 5, 0);
		turn(&o.x);
		while (sim_datagram_out(o.x.sim, &d))
			;
	}
	assert_in_range(o.x.stats.out_udp_evicted, 64,
			64 + 8 * ((sim_now(o.x.sim) - begun_ns) / MS_NS + 1));
	assert_true(o.x.stats.out_udp_dropped > 0);
	out_world_close(&o);
}

static void test_udp_errors_are_passed_on(void **state)
{
	struct out_world o;
	union sock_addr dest;
	struct sim_datagram d;

	(void)state;
	out_world_open(&o);
	dest = out_addr(&o, SERVER, 6000);
	d = goes_up(&o, 4000, SERVER, 6000, "hello");
	sim_queue_error(o.x.sim, d.fd, &dest, ECONNREFUSED, 0);
	assert_true(sim_datagram_error(o.x.sim, d.fd, -ECONNREFUSED));
	settle(&o.x);
	expect_icmp(&o, ICMP_PORT_UNREACH, ICMP6_DST_UNREACH_NOPORT, SERVER, 4000, 6000);
	/* The mapping goes on. */
	assert_int_equal(goes_up(&o, 4000, SERVER, 6000, "again").fd, d.fd);
	/* An address where nobody may go, and a port that is not served. */
	send_up(&o, 4000, INADDR_LOOPBACK, 6000, "x");
	expect_icmp(&o, ICMP_PKT_FILTERED, ICMP6_DST_UNREACH_ADMIN, INADDR_LOOPBACK, 4000, 6000);
	send_up(&o, 4000, DNS, 54, "x");
	expect_icmp(&o, ICMP_PORT_UNREACH, ICMP6_DST_UNREACH_NOPORT, DNS, 4000, 54);
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
	world = goes_up(&o, 4000, SERVER, 6000, "world");
	host = goes_up(&o, 4000, GATEWAY, 6000, "host");
	expect_addr(&o, &host.to, INADDR_LOOPBACK, 6000);
	assert_int_not_equal(world.fd, host.fd);
	host = goes_down(&o, host.fd, INADDR_LOOPBACK, 6000, "answer");
	expect_addr(&o, &host.from, GATEWAY, 6000);
	expect_addr(&o, &host.to, INSIDE, 4000);
	out_world_close(&o);
}

/* A question to the name server's address goes to this resolver. The descriptor that it leaves by.
 */
static int asks(struct out_world *o, uint16_t client_port, uint32_t resolver)
{
	struct sim_datagram d = goes_up(o, client_port, DNS, 53, "who");

	expect_addr(o, &d.to, resolver, 53);
	return d.fd;
}

/* The resolver's answer arrives from the name server's address. */
static void answers(struct out_world *o, int fd, uint32_t resolver)
{
	struct sim_datagram d = goes_down(o, fd, resolver, 53, "he");

	expect_addr(o, &d.from, DNS, 53);
}

static void test_next_resolver_by_udp(void **state)
{
	struct out_world o;

	(void)state;
	out_world_open(&o);
	feed_router(&o);
	answers(&o, asks(&o, 4000, RESOLVER), RESOLVER);
	/* A question that is repeated at once goes to the same resolver; later to the next one. */
	asks(&o, 4001, RESOLVER);
	asks(&o, 4001, RESOLVER);
	pass(&o.x, 2 * SECOND_NS);
	answers(&o, asks(&o, 4001, RESOLVER + 1), RESOLVER + 1);
	/* Other clients ask that resolver from now on. */
	asks(&o, 4002, RESOLVER + 1);
	assert_int_equal(o.x.stats.out_dns_queries, 5);
	out_world_close(&o);
}

/* A resolver inside uses a new port for each question. A mapping whose question was answered makes
 * room at once, before older ones. */
static void test_answered_questions_make_room(void **state)
{
	struct out_world o;
	int first;

	(void)state;
	out_world_open(&o);
	feed_router(&o);
	first = goes_up(&o, 3000, SERVER, 6000, "older").fd;
	for (uint16_t i = 0; i < 500; i++)
		answers(&o, asks(&o, (uint16_t)(4000 + i), RESOLVER), RESOLVER);
	assert_int_equal(o.x.stats.out_udp_dropped, 0);
	assert_true(o.x.stats.out_udp_evicted > 400);
	assert_int_equal(goes_up(&o, 3000, SERVER, 6000, "again").fd, first);
	out_world_close(&o);
}

static void test_new_resolvers(void **state)
{
	struct out_world o;
	struct dp_msg msg = {.type = DP_MSG_RESOLVERS};
	int fd;

	(void)state;
	out_world_open(&o);
	feed_router(&o);
	asks(&o, 4000, RESOLVER);
	msg.target = out_addr(&o, RESOLVER + 7, 53);
	tell_worker(&o.x, o.x.control, &msg, -1);
	settle(&o.x);
	fd = asks(&o, 4000, RESOLVER + 7);
	/* Answers of the resolver before are dropped. */
	send_down(&o, fd, RESOLVER, 53, "late");
	expect_nothing_sent(&o);
	out_world_close(&o);
}

/* The router's socket service ends, and another one comes. Without it there are no sockets that
 * answers could arrive from. */
static void test_router_is_another(void **state)
{
	struct out_world o;
	struct dp_msg msg = {.type = DP_MSG_NEW_ROUTER};
	struct sim_datagram d;

	(void)state;
	out_world_open(&o);
	sim_channel_end(o.x.sim, o.x.router);
	d = goes_up(&o, 4000, SERVER, 6000, "hello");
	send_down(&o, d.fd, SERVER, 6000, "lost");
	expect_nothing_sent(&o);
	o.x.router = sim_channel(o.x.sim);
	tell_worker(&o.x, o.x.control, &msg, o.x.router);
	feed_router(&o);
	d = goes_down(&o, d.fd, SERVER, 6000, "arrives");
	expect_addr(&o, &d.from, SERVER, 6000);
	out_world_close(&o);
}

/* The next channel comes before the end of the first is noticed. */
static void test_router_is_another_already(void **state)
{
	struct out_world o;
	struct dp_msg msg = {.type = DP_MSG_NEW_ROUTER};
	int first;

	(void)state;
	out_world_open(&o);
	first = o.x.router;
	o.x.router = sim_channel(o.x.sim);
	tell_worker(&o.x, o.x.control, &msg, o.x.router);
	settle(&o.x);
	sim_channel_end(o.x.sim, first);
	feed_router(&o);
	goes_down(&o, goes_up(&o, 4000, SERVER, 6000, "hello").fd, SERVER, 6000, "arrives");
	out_world_close(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_udp_one_mapping_for_all),
		cmocka_unit_test(test_udp_losses),
		cmocka_unit_test(test_udp_expires),
		cmocka_unit_test(test_udp_answers_are_for_one_mapping),
		cmocka_unit_test(test_udp_oldest_of_all_goes),
		cmocka_unit_test(test_udp_least_recently_used_goes),
		cmocka_unit_test(test_udp_shares_are_kept),
		cmocka_unit_test(test_udp_evictions_have_a_rate),
		cmocka_unit_test(test_udp_errors_are_passed_on),
		cmocka_unit_test(test_gateway_has_a_socket_of_its_own),
		cmocka_unit_test(test_next_resolver_by_udp),
		cmocka_unit_test(test_answered_questions_make_room),
		cmocka_unit_test(test_new_resolvers),
		cmocka_unit_test(test_router_is_another),
		cmocka_unit_test(test_router_is_another_already),
	};

	return WORLD_RUN_BOTH_FAMILIES(tests);
}
