/* SPDX-License-Identifier: Apache-2.0 */
/* drivers/net/egress.c and builtin_resolvers.c: rules, addresses to connect from, resolv.conf. */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "drivers/net/builtin_internal.h"
#include "drivers/net/egress.h"

/* The rule as text, such as "10.0.0.0/8 1-1023". */
static const char *shown(const struct dp_outward_rule *r)
{
	static char text[128];
	char addr[INET6_ADDRSTRLEN];

	snprintf(text, sizeof(text), "%s/%u %u-%u",
		 inet_ntop(r->family, r->addr, addr, sizeof(addr)), r->prefix_len, r->port_first,
		 r->port_last);
	return text;
}

static void good(const char *text, const char *expected)
{
	struct dp_outward_rule r;
	struct err e = {.code = 0};

	if (egress_parse(text, true, &r, &e))
		fail_msg("%s: %s", text, e.msg);
	assert_string_equal(shown(&r), expected);
	assert_int_equal(r.deny, 1);
}

static void bad(const char *text, const char *words)
{
	struct dp_outward_rule r;
	struct err e = {.code = 0};

	if (egress_parse(text, false, &r, &e) == 0)
		fail_msg("%s was taken as %s", text, shown(&r));
	if (!strstr(e.msg, words) || !strstr(e.msg, "egress-allow"))
		fail_msg("%s: %s", text, e.msg);
}

static void test_rules(void **state)
{
	(void)state;
	good("10.0.0.0/8", "10.0.0.0/8 0-65535");
	good("0.0.0.0/0", "0.0.0.0/0 0-65535");
	good("192.0.2.1", "192.0.2.1/32 0-65535");
	good("192.0.2.1:443", "192.0.2.1/32 443-443");
	good("10.0.0.0/8:1-1023", "10.0.0.0/8 1-1023");
	good("10.0.0.0/8:65535", "10.0.0.0/8 65535-65535");
	good("172.16.0.0/12", "172.16.0.0/12 0-65535");
	good("::/0", "::/0 0-65535");
	good("2001:db8::1", "2001:db8::1/128 0-65535");
	good("2001:db8::/32", "2001:db8::/32 0-65535");
	good("2001:db8::/32:80", "2001:db8::/32 80-80");
	good("[2001:db8::/32]:1-1023", "2001:db8::/32 1-1023");
	good("[2001:db8::]/33:80", "2001:db8::/33 80-80");
	good("[::1]:80", "::1/128 80-80");
	good("[::1]", "::1/128 0-65535");
	good("[10.0.0.0/8]:5", "10.0.0.0/8 5-5");
}

/* Rules are shown as people write them. */
static void test_text(void **state)
{
	static const char *const rules[] = {"10.0.0.0/8", "192.0.2.1/32:443",
					    "[2001:db8::/32]:1-1023"};
	struct dp_outward policy = {.n_rules = 3};
	char buf[EGRESS_TEXT_BYTES];
	struct err e;

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(egress_parse(rules[i], i != 1, &policy.rules[i], &e), 0);
	assert_string_equal(egress_text(&policy, buf, sizeof(buf)),
			    "deny 10.0.0.0/8, allow 192.0.2.1/32:443, deny [2001:db8::/32]:1-1023");
	/* The longest rules, as many as there may be. */
	assert_int_equal(egress_parse("[2001:db8:1111:1111:1111:1111:1111:1111/128]:10000-65535",
				      true, &policy.rules[0], &e),
			 0);
	policy.n_rules = DP_OUTWARD_RULES;
	for (unsigned i = 1; i < DP_OUTWARD_RULES; i++)
		policy.rules[i] = policy.rules[0];
	egress_text(&policy, buf, sizeof(buf));
	assert_string_equal(buf + strlen(buf) - 12, ":10000-65535");
	policy.n_rules = 0;
	assert_string_equal(egress_text(&policy, buf, sizeof(buf)), "");
}

static void test_no_rules(void **state)
{
	static const char *const texts[] = {
		"",
		"x",
		"10.0.0.0/33",
		"10.0.0.0/",
		"10.0.0.0/-1",
		"10.0/8",
		"10.0.0.0/8:",
		"10.0.0.0/8:0",
		"10.0.0.0/8:9-1",
		"10.0.0.0/8:65536",
		"::/129",
		"[::/0:80]",
		"[2001:db8::/32:1-2]",
		"[fd00::/8:]:80",
		"[10.0.0.0/8:5]",
		"10.0.0.0/8:5:6",
		"10.0.0.0/+8",
		"10.0.0.0/8:+5",
		"10.0.0.0/8: 5",
		"10.0.0.0/8x",
		"[::1",
		"[::1]80",
		"[::/0]/0",
		"10.0.0.0/8:1-",
		":80",
		"/8",
		"10.0.0.0/8:+1",
		"10.0.0.0/ 8",
		"10.0.0.0/8 ",
		"[]:80",
		"[::1]:80:90",
		"10.0.0.0/8:1,2",
		"localhost:80",
		"10.0.0.0/8:-5",
		"1.2.3.4:",
		"[::1]x:80",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		bad(texts[i], "it must be a network");
	bad("10.0.0.1/8", "10.0.0.0/8 would be");
	bad("10.0.0.1/0", "0.0.0.0/0 would be");
	bad("[2001:db8::1]/64:80", "2001:db8::/64 would be");
}

static void test_outbound(void **state)
{
	union sock_addr a4 = {.sa.sa_family = AF_UNSPEC}, a6 = a4;
	struct err e = {.code = 0};

	(void)state;
	assert_int_equal(egress_outbound("127.0.0.1", &a4, &a6, &e), 0);
	assert_int_equal(a4.in4.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	assert_int_equal(a6.sa.sa_family, AF_UNSPEC);
	a4.sa.sa_family = AF_UNSPEC;
	assert_int_equal(egress_outbound("lo", &a4, &a6, &e), 0);
	assert_int_equal(a4.in4.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	assert_true(egress_outbound("192.0.2.77", &a4, &a6, &e) < 0);
	assert_non_null(strstr(e.msg, "an address of this host"));
	assert_true(egress_outbound("nothing0", &a4, &a6, &e) < 0);
	assert_non_null(strstr(e.msg, "nothing0"));
	assert_true(egress_outbound("", &a4, &a6, &e) < 0);
}

static void test_resolvers(void **state)
{
	union sock_addr a[DP_RESOLVERS];

	(void)state;
	assert_int_equal(builtin_resolvers("", a), 1);
	assert_int_equal(a[0].in4.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	assert_int_equal(a[0].in4.sin_port, htons(53));
	assert_int_equal(builtin_resolvers("# nameserver 1.1.1.1\nsearch a b\nnameserver\t9.9.9.9 "
					   "# x\nnameserver ::1\nnameserver x\nnameserver",
					   a),
			 2);
	assert_int_equal(a[0].in4.sin_addr.s_addr, htonl(0x09090909));
	assert_true(IN6_IS_ADDR_LOOPBACK(&a[1].in6.sin6_addr));
	assert_int_equal(builtin_resolvers("nameserver fe80::1%lo\n", a), 1);
	assert_int_equal(a[0].in6.sin6_scope_id, 1);
	assert_int_equal(builtin_resolvers("nameserver 1.1.1.1\nnameserver 1.1.1.2\n"
					   "nameserver 1.1.1.3\nnameserver 1.1.1.4\n",
					   a),
			 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),	  cmocka_unit_test(test_text),
		cmocka_unit_test(test_no_rules),  cmocka_unit_test(test_outbound),
		cmocka_unit_test(test_resolvers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
