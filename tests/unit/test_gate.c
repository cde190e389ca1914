/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/array.h"
#include "dataplane/worker/egress.h"
#include "dataplane/worker/gate_packet.h"

/* Who may be reached on the way out (egress.c), and the packets that ask for it (gate_packet.c). */

static union sock_addr addr_of(const char *text, uint16_t port)
{
	union sock_addr a = {.in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)}};

	if (inet_pton(AF_INET6, text, &a.in6.sin6_addr) == 1)
		return a;
	memset(&a, 0, sizeof(a));
	a.in4.sin_family = AF_INET;
	a.in4.sin_port = htons(port);
	assert_int_equal(inet_pton(AF_INET, text, &a.in4.sin_addr), 1);
	return a;
}

static struct dp_outward usual(void)
{
	struct dp_outward c = {.n_resolvers = 2};

	c.gateway4 = addr_of("10.0.2.2", 0).in4.sin_addr;
	c.dns4 = addr_of("10.0.2.3", 0).in4.sin_addr;
	c.gateway6 = addr_of("fd00::2", 0).in6.sin6_addr;
	c.dns6 = addr_of("fd00::3", 0).in6.sin6_addr;
	c.resolvers[0] = addr_of("127.0.0.53", 53);
	c.resolvers[1] = addr_of("192.0.2.53", 53);
	return c;
}

static void expect(const struct dp_outward *c, const char *dest, uint16_t port, enum egress want)
{
	union sock_addr d = addr_of(dest, port), to;
	enum egress_kind kind;

	print_message("%s:%u\n", dest, port);
	assert_int_equal(egress_decide(c, &d, 0, &to, &kind), want);
}

static void expect_to(const struct dp_outward *c, const char *dest, uint16_t port,
		      unsigned resolver, const char *want, enum egress_kind want_kind)
{
	union sock_addr d = addr_of(dest, port), to, w = addr_of(want, port);
	enum egress_kind kind;

	print_message("%s:%u\n", dest, port);
	assert_int_equal(egress_decide(c, &d, resolver, &to, &kind), EGRESS_ALLOWED);
	assert_int_equal(kind, want_kind);
	assert_int_equal(to.sa.sa_family, w.sa.sa_family);
	assert_int_equal(to.in4.sin_port, w.in4.sin_port);
	if (w.sa.sa_family == AF_INET)
		assert_int_equal(to.in4.sin_addr.s_addr, w.in4.sin_addr.s_addr);
	else
		assert_memory_equal(&to.in6.sin6_addr, &w.in6.sin6_addr, 16);
}

static void test_this_host_is_out_of_bounds(void **state)
{
	static const char *const never[] = {
		"0.0.0.0",
		"0.1.2.3",
		"127.0.0.1",
		"127.255.255.255",
		"224.0.0.1",
		"239.1.1.1",
		"255.255.255.255",
		"240.0.0.1",
		"::",
		"::1",
		"::ffff:127.0.0.1",
		"::ffff:0.0.0.0",
		"::ffff:192.0.2.1",
		"::127.0.0.1",
		"::192.0.2.1",
		"::ffff:10.0.2.2",
		"ff02::1",
		"fe80::1",
		"febf::1",
		"ff0e::1",
	};
	struct dp_outward c = usual();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(never); i++)
		expect(&c, never[i], 80, EGRESS_PROHIBITED);
	expect_to(&c, "126.255.255.255", 80, 0, "126.255.255.255", EGRESS_WORLD);
	expect_to(&c, "128.0.0.1", 80, 0, "128.0.0.1", EGRESS_WORLD);
	expect_to(&c, "1.0.0.0", 80, 0, "1.0.0.0", EGRESS_WORLD);
	expect_to(&c, "223.255.255.255", 80, 0, "223.255.255.255", EGRESS_WORLD);
	expect_to(&c, "2001:db8::1", 80, 0, "2001:db8::1", EGRESS_WORLD);
	expect_to(&c, "fec0::1", 80, 0, "fec0::1", EGRESS_WORLD);
}

static void test_gateway_is_the_hosts_loopback(void **state)
{
	struct dp_outward c = usual();

	(void)state;
	expect_to(&c, "10.0.2.2", 5432, 0, "127.0.0.1", EGRESS_HOST);
	expect_to(&c, "fd00::2", 5432, 0, "::1", EGRESS_HOST);
	c.disable_host_loopback = 1;
	expect(&c, "10.0.2.2", 5432, EGRESS_REFUSED);
	expect(&c, "fd00::2", 5432, EGRESS_REFUSED);
	/* The resolver is asked all the same, by port 53 alone. */
	expect_to(&c, "10.0.2.3", 53, 0, "127.0.0.53", EGRESS_DNS);
	expect_to(&c, "fd00::3", 53, 0, "127.0.0.53", EGRESS_DNS);
	expect(&c, "10.0.2.3", 80, EGRESS_REFUSED);
	expect(&c, "fd00::3", 54, EGRESS_REFUSED);
}

static void test_resolvers_take_turns(void **state)
{
	struct dp_outward c = usual();

	(void)state;
	expect_to(&c, "10.0.2.3", 53, 0, "127.0.0.53", EGRESS_DNS);
	expect_to(&c, "10.0.2.3", 53, 1, "192.0.2.53", EGRESS_DNS);
	expect_to(&c, "10.0.2.3", 53, 2, "127.0.0.53", EGRESS_DNS);
	c.n_resolvers = 0;
	expect(&c, "10.0.2.3", 53, EGRESS_REFUSED);
}

static void add_rule(struct dp_outward *c, bool deny, const char *prefix, uint8_t len,
		     uint16_t first, uint16_t last)
{
	union sock_addr a = addr_of(prefix, 0);
	struct dp_outward_rule *r = &c->rules[c->n_rules++];

	*r = (struct dp_outward_rule){.family = (uint8_t)a.sa.sa_family,
				      .prefix_len = len,
				      .deny = deny,
				      .port_first = first,
				      .port_last = last};
	if (a.sa.sa_family == AF_INET)
		memcpy(r->addr, &a.in4.sin_addr, 4);
	else
		memcpy(r->addr, &a.in6.sin6_addr, 16);
}

static void test_gateway_and_name_server_in_one(void **state)
{
	struct dp_outward c = usual();

	(void)state;
	c.dns4 = c.gateway4;
	c.dns6 = c.gateway6;
	expect_to(&c, "10.0.2.2", 53, 0, "127.0.0.53", EGRESS_DNS);
	expect_to(&c, "10.0.2.2", 80, 0, "127.0.0.1", EGRESS_HOST);
	expect_to(&c, "fd00::2", 53, 0, "127.0.0.53", EGRESS_DNS);
	expect_to(&c, "fd00::2", 80, 0, "::1", EGRESS_HOST);
	c.disable_host_loopback = true;
	expect_to(&c, "10.0.2.2", 53, 0, "127.0.0.53", EGRESS_DNS);
	expect(&c, "10.0.2.2", 80, EGRESS_REFUSED);
}

static void test_longest_prefix_wins(void **state)
{
	struct dp_outward c = usual();

	(void)state;
	add_rule(&c, true, "0.0.0.0", 0, 0, 65535);
	add_rule(&c, false, "192.0.2.0", 24, 0, 65535);
	add_rule(&c, true, "192.0.2.128", 25, 0, 65535);
	add_rule(&c, false, "192.0.2.200", 32, 443, 443);
	add_rule(&c, true, "2001:db8:1::", 47, 0, 65535);
	expect(&c, "198.51.100.1", 80, EGRESS_PROHIBITED);
	expect(&c, "192.0.2.127", 80, EGRESS_ALLOWED);
	expect(&c, "192.0.2.128", 80, EGRESS_PROHIBITED);
	expect(&c, "192.0.2.200", 80, EGRESS_PROHIBITED);
	expect(&c, "192.0.2.200", 443, EGRESS_ALLOWED);
	expect(&c, "2001:db8::1", 80, EGRESS_PROHIBITED);
	expect(&c, "2001:db8:1:ffff::1", 80, EGRESS_PROHIBITED);
	expect(&c, "2001:db8:2::1", 80, EGRESS_ALLOWED);
	/* The order of the rules does not matter. */
	add_rule(&c, false, "2001:db8:1:8000::", 64, 0, 65535);
	add_rule(&c, true, "2001:db8::", 32, 0, 65535);
	expect(&c, "2001:db8:1:8000::1", 80, EGRESS_ALLOWED);
	expect(&c, "2001:db8:ffff::1", 80, EGRESS_PROHIBITED);
	/* The addresses of gateway and name server are subject to rules like others. */
	expect(&c, "10.0.2.2", 80, EGRESS_PROHIBITED);
	expect(&c, "10.0.2.3", 53, EGRESS_PROHIBITED);
	add_rule(&c, false, "10.0.2.3", 32, 53, 53);
	expect(&c, "10.0.2.3", 53, EGRESS_ALLOWED);
	/* A rule cannot allow an address that is out of bounds. */
	add_rule(&c, false, "127.0.0.1", 32, 0, 65535);
	expect(&c, "127.0.0.1", 80, EGRESS_PROHIBITED);
}

static void test_denial_wins_between_equals(void **state)
{
	(void)state;
	for (int deny_first = 0; deny_first < 2; deny_first++) {
		struct dp_outward c = usual();

		add_rule(&c, deny_first, "192.0.2.0", 24, 0, 65535);
		add_rule(&c, !deny_first, "192.0.2.0", 24, 0, 65535);
		expect(&c, "192.0.2.1", 80, EGRESS_PROHIBITED);
	}
}

/* Packets */

static const uint8_t syn4[] = {0x45, 0,	  0,   40, 0,	 1, 0x40, 0,	64, 6,	0, 0, 10, 0,
			       2,    100, 192, 0,  2,	 2, 0x9c, 0x40, 0,  80, 1, 2, 3,  4,
			       0,    0,	  0,   0,  0x50, 2, 0xff, 0xff, 0,  0,	0, 0};

static void test_opening_packet(void **state)
{
	struct gate_packet p;

	(void)state;
	assert_true(gate_packet_parse(syn4, sizeof(syn4), &p));
	assert_int_equal(p.kind, GATE_SYN);
	assert_int_equal(p.seq, 0x01020304);
	assert_int_equal(ntohs(p.source.in4.sin_port), 40000);
	assert_int_equal(ntohs(p.dest.in4.sin_port), 80);
	assert_int_equal(ntohl(p.source.in4.sin_addr.s_addr), 0x0a000264);
	assert_int_equal(ntohl(p.dest.in4.sin_addr.s_addr), 0xc0000202);
	for (size_t len = 0; len < sizeof(syn4); len++)
		assert_false(gate_packet_parse(syn4, len, &p));
}

static void test_other_packets(void **state)
{
	static const struct {
		const char *what;
		unsigned at;
		uint8_t value;
	} changes[] = {
		{"version 5", 0, 0x55},
		{"header too short", 0, 0x44},
		{"UDP", 9, 17},
		{"a fragment", 6, 0x20},
		{"a later fragment", 7, 1},
		{"SYN and ACK", 33, 0x12},
		{"no SYN", 33, 0x10},
		{"SYN and RST", 33, 6},
		{"longer than it is", 3, 41},
		{"header all there is", 0, 0x4f},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		uint8_t packet[sizeof(syn4)];
		struct gate_packet p;

		print_message("%s\n", changes[i].what);
		memcpy(packet, syn4, sizeof(packet));
		packet[changes[i].at] = changes[i].value;
		assert_false(gate_packet_parse(packet, sizeof(packet), &p));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_this_host_is_out_of_bounds),
		cmocka_unit_test(test_gateway_is_the_hosts_loopback),
		cmocka_unit_test(test_resolvers_take_turns),
		cmocka_unit_test(test_gateway_and_name_server_in_one),
		cmocka_unit_test(test_longest_prefix_wins),
		cmocka_unit_test(test_denial_wins_between_equals),
		cmocka_unit_test(test_opening_packet),
		cmocka_unit_test(test_other_packets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
