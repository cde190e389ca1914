/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <string.h>

#include "base/array.h"
#include "out_world.h"

/* The way out where IPv4 and IPv6 differ: addresses of this host, ICMP errors, a host without IPv6,
 * and clients of both families at once. */

static union sock_addr addr6(const char *text, uint16_t port)
{
	union sock_addr a = {.in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)}};

	assert_int_equal(inet_pton(AF_INET6, text, &a.in6.sin6_addr), 1);
	return a;
}

static void ping_addr(struct out_world *o, const union sock_addr *dest)
{
	static const uint8_t request[8] = {ICMP6_ECHO_REQUEST};

	put_ip_packet(o, dest, IPPROTO_ICMPV6, request, sizeof(request));
	expect_verdict(o, o->last_packet, NF_DROP, 0);
}

/* The forms of IPv6 addresses that lead to this host or its link: nobody gets there by TCP, UDP or
 * ping, and no socket is made for it. */
static void test_forms_of_this_host(void **state)
{
	static const char *const forms[] = {"::",
					    "::1",
					    "::ffff:127.0.0.1",
					    "::ffff:0.0.0.0",
					    "::ffff:10.9.8.7",
					    "::127.0.0.1",
					    "::10.9.8.7",
					    "fe80::1",
					    "ff02::1",
					    "ff0e::1"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		union sock_addr dest = addr6(forms[i], 6000);
		union sock_addr client = sim_addr(AF_INET6, INSIDE, 4000);
		struct sim_datagram d;
		struct icmp6_hdr icmp;
		struct out_world o;
		unsigned fds;

		print_message("%s\n", forms[i]);
		out_world_open(&o);
		o.x.family = AF_INET6;
		settle(&o.x);
		fds = sim_open_fds(o.x.sim);
		expect_verdict(&o, syn_to_addr(&o, 4000, &dest, 1), NF_ACCEPT, MARK_PROHIBITED);
		assert_true(sim_datagram_in(o.x.sim, o.udp[1], &client, &dest, "hello", 5, 0));
		settle(&o.x);
		assert_true(sim_datagram_out(o.x.sim, &d));
		assert_int_equal(d.fd, o.raw[1]);
		memcpy(&icmp, d.data + sizeof(struct ip6_hdr), sizeof(icmp));
		assert_int_equal(icmp.icmp6_type, ICMP6_DST_UNREACH);
		assert_int_equal(icmp.icmp6_code, ICMP6_DST_UNREACH_ADMIN);
		ping_addr(&o, &dest);
		expect_nothing_sent(&o);
		assert_int_equal(o.x.stats.out_tcp_prohibited, 1);
		assert_int_equal(o.x.stats.out_udp_prohibited, 1);
		assert_int_equal(sim_open_fds(o.x.sim), fds);
		out_world_close(&o);
	}
}

/* A datagram that was too large: in IPv4 "fragmentation needed", in IPv6 a message of its own. */
static void expect_too_big(struct out_world *o, uint32_t mtu)
{
	struct icmp6_hdr icmp6;
	struct icmphdr icmp4;
	struct sim_datagram d;

	assert_true(sim_datagram_out(o->x.sim, &d));
	expect_checksum(o, &d);
	if (o->x.family == AF_INET6) {
		memcpy(&icmp6, d.data + sizeof(struct ip6_hdr), sizeof(icmp6));
		assert_int_equal(icmp6.icmp6_type, ICMP6_PACKET_TOO_BIG);
		assert_int_equal(icmp6.icmp6_code, 0);
		assert_int_equal(ntohl(icmp6.icmp6_mtu), mtu);
	} else {
		memcpy(&icmp4, d.data + sizeof(struct iphdr), sizeof(icmp4));
		assert_int_equal(icmp4.type, ICMP_DEST_UNREACH);
		assert_int_equal(icmp4.code, ICMP_FRAG_NEEDED);
		assert_int_equal(ntohs(icmp4.un.frag.mtu), mtu);
	}
}

static void test_too_big(void **state)
{
	union sock_addr dest;
	struct out_world o;
	int fd;

	(void)state;
	out_world_open(&o);
	dest = out_addr(&o, SERVER, 6000);
	send_up(&o, 4000, SERVER, 6000, "hello");
	fd = sent(&o, "hello").fd;
	sim_queue_error(o.x.sim, fd, &dest, EMSGSIZE, 1400);
	assert_true(sim_datagram_error(o.x.sim, fd, -EMSGSIZE));
	settle(&o.x);
	expect_too_big(&o, 1400);
	/* Without a size there is nothing to tell. */
	sim_queue_error(o.x.sim, fd, &dest, EMSGSIZE, 0);
	assert_true(sim_datagram_error(o.x.sim, fd, -EMSGSIZE));
	expect_nothing_sent(&o);
	assert_int_equal(o.x.stats.out_udp_errors, 2);
	out_world_close(&o);
}

static void test_errors(void **state)
{
	static const struct {
		int err;
		uint8_t code4, code6;
	} rows[] = {
		{ECONNREFUSED, ICMP_PORT_UNREACH, ICMP6_DST_UNREACH_NOPORT},
		{EHOSTUNREACH, ICMP_HOST_UNREACH, ICMP6_DST_UNREACH_ADDR},
		{ENETUNREACH, ICMP_NET_UNREACH, ICMP6_DST_UNREACH_NOROUTE},
		{EACCES, ICMP_PKT_FILTERED, ICMP6_DST_UNREACH_ADMIN},
	};
	union sock_addr dest;
	struct out_world o;
	int fd;

	(void)state;
	out_world_open(&o);
	dest = out_addr(&o, SERVER, 6000);
	send_up(&o, 4000, SERVER, 6000, "hello");
	fd = sent(&o, "hello").fd;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		sim_queue_error(o.x.sim, fd, &dest, rows[i].err, 0);
		assert_true(sim_datagram_error(o.x.sim, fd, -rows[i].err));
		settle(&o.x);
		expect_icmp(&o, rows[i].code4, rows[i].code6, SERVER, 4000, 6000);
	}
	/* Another error has no message. */
	sim_queue_error(o.x.sim, fd, &dest, EPROTO, 0);
	assert_true(sim_datagram_error(o.x.sim, fd, -EPROTO));
	expect_nothing_sent(&o);
	out_world_close(&o);
}

/* The host has no IPv6, or no route for it: clients hear that the network cannot be reached, and
 * those of IPv4 are served. */
static void test_host_without_ipv6(void **state)
{
	static const int errors[] = {-EAFNOSUPPORT, -ENETUNREACH, -EADDRNOTAVAIL};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		struct out_world o;
		union sock_addr dest;

		out_world_open(&o);
		feed_router(&o);
		sim_no_ipv6(o.x.sim, errors[i]);
		o.x.family = AF_INET6;
		expect_verdict(&o, syn(&o, 4000, 80), NF_ACCEPT, MARK_NET);
		assert_int_equal(o.x.stats.out_tcp_unreachable, 1);
		send_up(&o, 4000, SERVER, 6000, "hello");
		expect_icmp(&o, ICMP_NET_UNREACH, ICMP6_DST_UNREACH_NOROUTE, SERVER, 4000, 6000);
		dest = out_addr(&o, SERVER, 0);
		ping_addr(&o, &dest);
		expect_nothing_sent(&o);
		o.x.family = AF_INET;
		send_up(&o, 4000, SERVER, 6000, "hello");
		sent(&o, "hello");
		out_world_close(&o);
	}
}

/* Clients of both families with one port: each has its own mapping and its own answers. */
static void test_families_are_apart(void **state)
{
	struct sim_datagram d[2];
	struct out_world o;

	(void)state;
	out_world_open(&o);
	feed_router(&o);
	for (int i = 0; i < 2; i++) {
		o.x.family = i ? AF_INET6 : AF_INET;
		send_up(&o, 4000, SERVER, 6000, "hello");
		d[i] = sent(&o, "hello");
		expect_addr(&o, &d[i].to, SERVER, 6000);
	}
	assert_int_not_equal(d[0].fd, d[1].fd);
	assert_int_equal(o.x.stats.out_udp_flows, 2);
	for (int i = 0; i < 2; i++) {
		struct sim_datagram answer;

		o.x.family = i ? AF_INET6 : AF_INET;
		send_down(&o, d[i].fd, SERVER, 6000, "answer");
		answer = sent(&o, "answer");
		expect_addr(&o, &answer.from, SERVER, 6000);
		expect_addr(&o, &answer.to, INSIDE, 4000);
	}
	out_world_close(&o);
}

/* A resolver of the other family than the client: the client sees the name server's address in its
 * own, in answers and in errors. */
static void test_resolver_of_the_other_family(void **state)
{
	struct sim_datagram d;
	struct out_world o;
	union sock_addr dest;
	int family, server;

	(void)state;
	out_world_open(&o);
	feed_router(&o);
	family = o.x.family == AF_INET ? AF_INET6 : AF_INET;
	o.x.family = family;
	send_up(&o, 4000, DNS, 53, "who");
	d = sent(&o, "who");
	dest = d.to;
	assert_int_not_equal(dest.sa.sa_family, family);
	assert_int_equal(sim_host_of(&dest), RESOLVER);
	assert_true(sim_datagram_in(o.x.sim, d.fd, &dest, &dest, "he", 2, 0));
	settle(&o.x);
	d = sent(&o, "he");
	expect_addr(&o, &d.from, DNS, 53);
	expect_addr(&o, &d.to, INSIDE, 4000);
	send_up(&o, 4001, DNS, 53, "who");
	d = sent(&o, "who");
	sim_queue_error(o.x.sim, d.fd, &dest, ECONNREFUSED, 0);
	assert_true(sim_datagram_error(o.x.sim, d.fd, -ECONNREFUSED));
	settle(&o.x);
	expect_icmp(&o, ICMP_PORT_UNREACH, ICMP6_DST_UNREACH_NOPORT, DNS, 4001, 53);
	/* The same by TCP. */
	expect_verdict(&o, syn_to(&o, 4000, DNS, 53, 1), NF_ACCEPT, MARK_ACCEPT);
	server = sim_server_accept(o.x.sim);
	assert_true(server >= 0);
	dest = sim_connected_to(o.x.sim, server);
	assert_int_not_equal(dest.sa.sa_family, family);
	pass(&o.x, 12 * SECOND_NS);
	out_world_close(&o);
}

/* The gateway stands for the host's loopback address of its family, unless that is switched off. */
static void test_gateway(void **state)
{
	(void)state;
	for (uint32_t disabled = 0; disabled < 2; disabled++) {
		union sock_addr to, loopback;
		struct out_world o;
		uint32_t packet;
		int server;

		out_world_open(&o);
		o.x.w->out.policy.disable_host_loopback = disabled;
		packet = syn_to(&o, 4000, GATEWAY, 80, 1);
		expect_verdict(&o, packet, NF_ACCEPT, disabled ? MARK_REFUSED : MARK_ACCEPT);
		server = sim_server_accept(o.x.sim);
		assert_int_equal(server < 0, disabled);
		if (!disabled) {
			to = sim_connected_to(o.x.sim, server);
			loopback = out_addr(&o, INADDR_LOOPBACK, 80);
			assert_true(sockaddr_same_host(&to, &loopback));
			assert_int_equal(to.sa.sa_family, o.x.family);
		}
		pass(&o.x, 12 * SECOND_NS);
		out_world_close(&o);
	}
}

/* --outbound-addr: sockets to the world have the address of their family, those to the host none.
 */
static void test_outbound_addr(void **state)
{
	struct out_world o;
	union sock_addr from;
	uint32_t mark;

	(void)state;
	out_world_open(&o);
	o.x.w->out.policy.outbound4 = sim_addr(AF_INET, SERVER + 9, 0);
	o.x.w->out.policy.outbound6 = sim_addr(AF_INET6, SERVER + 9, 0);
	expect_verdict(&o, syn(&o, 4000, 80), NF_ACCEPT, MARK_ACCEPT);
	from = sim_bound(o.x.sim, sim_server_accept(o.x.sim), &mark);
	expect_addr(&o, &from, SERVER + 9, 0);
	expect_verdict(&o, syn_to(&o, 4001, GATEWAY, 80, 1), NF_ACCEPT, MARK_ACCEPT);
	from = sim_bound(o.x.sim, sim_server_accept(o.x.sim), &mark);
	assert_int_equal(from.sa.sa_family, AF_UNSPEC);
	send_up(&o, 4000, SERVER, 6000, "hello");
	from = sent(&o, "hello").from;
	expect_addr(&o, &from, SERVER + 9, 0);
	send_up(&o, 4000, GATEWAY, 6000, "hello");
	assert_int_equal(sent(&o, "hello").from.sa.sa_family, AF_UNSPEC);
	pass(&o.x, 12 * SECOND_NS);
	out_world_close(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_too_big),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_resolver_of_the_other_family),
		cmocka_unit_test(test_gateway),
		cmocka_unit_test(test_outbound_addr),
	};
	const struct CMUnitTest both[] = {
		cmocka_unit_test(test_forms_of_this_host),
		cmocka_unit_test(test_host_without_ipv6),
		cmocka_unit_test(test_families_are_apart),
	};

	return WORLD_RUN_BOTH_FAMILIES(tests) + cmocka_run_group_tests(both, NULL, NULL);
}
