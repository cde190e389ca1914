/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <string.h>

#include "base/array.h"
#include "ports/spec.h"

static void test_good_specs(void **state)
{
	static const struct {
		const char *text;
		struct port_spec want;
		const char *canonical; /* NULL: the same as text */
	} cases[] = {
		{"127.0.0.1:8080:80/tcp",
		 {"tcp", "127.0.0.1", "", 8080, 80, .child_listen_ip = ""},
		 NULL},
		{"127.0.0.1:8080:10.0.2.100:80/tcp",
		 {"tcp", "127.0.0.1", "10.0.2.100", 8080, 80, .child_listen_ip = ""},
		 NULL},
		{"[::1]:8080:[::2]:80/udp",
		 {"udp", "::1", "::2", 8080, 80, .child_listen_ip = ""},
		 NULL},
		{"[::]:53:53/udp6", {"udp6", "::", "", 53, 53, .child_listen_ip = ""}, NULL},
		{"8080:80/tcp4", {"tcp4", "", "", 8080, 80, .child_listen_ip = ""}, NULL},
		{":8080:80/tcp", {"tcp", "", "", 8080, 80, .child_listen_ip = ""}, "8080:80/tcp"},
		{"8080:10.0.2.100:80/tcp",
		 {"tcp", "", "10.0.2.100", 8080, 80, .child_listen_ip = ""},
		 NULL},
		{"8080:[::2]:80/tcp", {"tcp", "", "::2", 8080, 80, .child_listen_ip = ""}, NULL},
		{"[127.0.0.1]:1:2/sctp",
		 {"sctp", "127.0.0.1", "", 1, 2, .child_listen_ip = ""},
		 "127.0.0.1:1:2/sctp"},
		{"127.0.0.1:0:80/tcp",
		 {"tcp", "127.0.0.1", "", 0, 80, .child_listen_ip = ""},
		 NULL}, /* the message is the server's */
		{"127.0.0.1:99999:80/tcp",
		 {"tcp", "127.0.0.1", "", 99999, 80, .child_listen_ip = ""},
		 NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct port_spec got;
		struct err e = {.code = 0};
		char text[300];

		print_message("%s\n", cases[i].text);
		assert_int_equal(portspec_parse(cases[i].text, &got, &e), 0);
		assert_string_equal(got.proto, cases[i].want.proto);
		assert_string_equal(got.parent_ip, cases[i].want.parent_ip);
		assert_string_equal(got.child_ip, cases[i].want.child_ip);
		assert_int_equal(got.parent_port, cases[i].want.parent_port);
		assert_int_equal(got.child_port, cases[i].want.child_port);
		assert_string_equal(portspec_format(&got, text, sizeof(text)),
				    cases[i].canonical ? cases[i].canonical : cases[i].text);
	}
}

static void test_bad_specs(void **state)
{
	static const struct {
		const char *text, *want; /* the beginning of the message */
	} cases[] = {
		{"bad", "missing proto in PortSpec string: \"bad\""},
		{"", "missing proto in PortSpec string: \"\""},
		{"127.0.0.1:19140:80", "missing proto in PortSpec string: \"127.0.0.1:19140:80\""},
		{"127.0.0.1:19140:80/foo",
		 "invalid PortSpec string: \"127.0.0.1:19140:80/foo\": unknown proto: \"foo\""},
		{"127.0.0.1:8080:80/",
		 "invalid PortSpec string: \"127.0.0.1:8080:80/\": unknown proto: \"\""},
		{"127.0.0.1:8080:80/TCP",
		 "invalid PortSpec string: \"127.0.0.1:8080:80/TCP\": unknown proto"},
		{"/tcp", "unexpected PortSpec string: \"/tcp\""},
		{"80/tcp", "unexpected PortSpec string: \"80/tcp\""},
		{"::1:8080:80/tcp", "unexpected PortSpec string: \"::1:8080:80/tcp\""},
		{"[::1:8080:80/tcp", "unexpected PortSpec string: \"[::1:8080:80/tcp\""},
		{"localhost:8080:80/tcp",
		 "unexpected ParentIP in PortSpec string: \"localhost:8080:80/tcp\""},
		{"127.0.0.1:8080:foo:80/tcp", "unexpected ChildIP in PortSpec string"},
		{"127.0.0.1:x:80/tcp",
		 "unexpected ParentPort in PortSpec string: \"127.0.0.1:x:80/tcp\": "
		 "strconv.Atoi: parsing \"x\": invalid syntax"},
		{"127.0.0.1:80:y/tcp", "unexpected ChildPort in PortSpec string"},
		{"127.0.0.1: 80:80/tcp", "unexpected ParentPort in PortSpec string"},
		{"127.0.0.1:\n80:80/tcp", "unexpected ParentPort in PortSpec string"},
		{"127.0.0.1:\v80:80/tcp", "unexpected ParentPort in PortSpec string"},
		{"127.0.0.1:80:\r80/tcp", "unexpected ChildPort in PortSpec string"},
		{"127.0.0.1:80:-/tcp", "unexpected ChildPort in PortSpec string"},
		{"127.0.0.1:80:0x50/tcp", "unexpected ChildPort in PortSpec string"},
		{"127.0.0.1:80:/tcp", "unexpected ChildPort in PortSpec string"},
		{"127.0.0.1:99999999999999999999:80/tcp",
		 "unexpected ParentPort in PortSpec string: "
		 "\"127.0.0.1:99999999999999999999:80/tcp\": strconv.Atoi: parsing "
		 "\"99999999999999999999\": value out of range"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct port_spec got;
		struct err e = {.code = 0};

		print_message("%s\n", cases[i].text);
		assert_int_equal(portspec_parse(cases[i].text, &got, &e), -EINVAL);
		e.msg[strlen(cases[i].want)] = '\0';
		assert_string_equal(e.msg, cases[i].want);
	}
}

static void test_long_specs(void **state)
{
	char text[5000];
	struct port_spec got;
	struct err e;

	(void)state;
	for (size_t len = 1; len < sizeof(text); len++) {
		memset(text, '1', len);
		memcpy(text + len - 1, "", 1);
		assert_int_equal(portspec_parse(text, &got, &e), -EINVAL);
		if (len > 5) {
			memcpy(text + len - 5, "/tcp", 5);
			assert_int_equal(portspec_parse(text, &got, &e), -EINVAL);
		}
	}
}

static void test_validation(void **state)
{
	static const struct {
		struct port_spec spec;
		const char *want;
	} cases[] = {
		{{"tcp", "127.0.0.1", "", 80, 80, .child_listen_ip = ""}, NULL},
		{{"sctp", "", "", 80, 80, .child_listen_ip = ""}, NULL},
		{{"udp6", "::", "::1", 65535, 1, .child_listen_ip = ""}, NULL},
		{{"tcp", "", "", 80, 80, .child_listen_ip = "127.0.0.2"}, NULL},
		{{"tcp", "", "", 80, 80, .child_listen_ip = "*"}, "invalid ChildListenIP: \"*\""},
		{{"TCP", "", "", 80, 80, .child_listen_ip = ""}, "unknown proto: \"TCP\""},
		{{"", "", "", 80, 80, .child_listen_ip = ""}, "unknown proto: \"\""},
		{{"tcp", "localhost", "", 80, 80, .child_listen_ip = ""},
		 "invalid ParentIP: \"localhost\""},
		{{"tcp", "", "nope", 80, 80, .child_listen_ip = ""}, "invalid ChildIP: \"nope\""},
		{{"tcp", "", "", 0, 80, .child_listen_ip = ""},
		 "invalid ParentPort: 0: it must be 1 to 65535"},
		{{"tcp", "", "", -1, 80, .child_listen_ip = ""},
		 "invalid ParentPort: -1: it must be 1 to 65535"},
		{{"tcp", "", "", 65536, 80, .child_listen_ip = ""},
		 "invalid ParentPort: 65536: it must be 1 to 65535"},
		{{"tcp", "", "", 1, 0, .child_listen_ip = ""},
		 "invalid ChildPort: 0: it must be 1 to 65535"},
		{{"tcp", "", "", 1, 1ll << 60, .child_listen_ip = ""},
		 "invalid ChildPort: 1152921504606846976: it must be 1 to 65535"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct err e = {.code = 0};
		int code = portspec_validate(&cases[i].spec, &e);

		assert_int_equal(code, cases[i].want ? -EINVAL : 0);
		if (cases[i].want)
			assert_string_equal(e.msg, cases[i].want);
	}
}

static void test_go_quoting(void **state)
{
	char buf[64];

	(void)state;
	assert_string_equal(quote_go("a\"b\\c", buf, sizeof(buf)), "\"a\\\"b\\\\c\"");
	assert_string_equal(quote_go("\a\n\t\x01\x7f", buf, sizeof(buf)),
			    "\"\\a\\n\\t\\x01\\x7f\"");
	assert_string_equal(quote_go("\xc3\xa9\xff", buf, sizeof(buf)), "\"\xc3\xa9\\xff\"");
	assert_string_equal(quote_go("\xc2\x85", buf, sizeof(buf)), "\"\\u0085\"");
	assert_string_equal(quote_go("abcdefgh", buf, 6), "\"abc\"");
}

static void test_conflicts(void **state)
{
	struct port_spec a = {"tcp", "127.0.0.1", "", 80, 80, .child_listen_ip = ""}, b = a;

	(void)state;
	b.child_port = 81;
	assert_true(portspec_conflicts(&a, &b));
	memcpy(b.proto, "tcp4", 5);
	assert_false(portspec_conflicts(&a, &b));
}

static void test_ranges(void **state)
{
	struct port_spec spec, other;
	char text[300];

	(void)state;
	assert_int_equal(portspec_parse("[::1]:20000-20999:[::2]:1-1000/udp", &spec, NULL), 0);
	assert_int_equal(spec.count, 1000);
	assert_int_equal(portspec_count(&spec), 1000);
	assert_int_equal(portspec_validate(&spec, NULL), 0);
	assert_string_equal(portspec_format(&spec, text, sizeof(text)),
			    "[::1]:20000-20999:[::2]:1-1000/udp");
	other = portspec_at(&spec, 999);
	assert_string_equal(portspec_format(&other, text, sizeof(text)),
			    "[::1]:20999:[::2]:1000/udp");
	assert_true(portspec_conflicts(&spec, &other));
	other.parent_port++;
	assert_false(portspec_conflicts(&spec, &other));
	assert_false(portspec_conflicts(&other, &spec));
	assert_int_equal(portspec_parse("127.0.0.1:5-5:6-6/tcp", &spec, NULL), 0);
	assert_int_equal(spec.count, 0);
	assert_int_equal(portspec_parse("1-65535:1-65535/tcp", &spec, NULL), 0);
	assert_int_equal(portspec_validate(&spec, NULL), 0);
	spec.child_port = 2;
	assert_int_equal(portspec_validate(&spec, NULL), -EINVAL);
	spec.count = -1;
	assert_int_equal(portspec_validate(&spec, NULL), -EINVAL);
	spec.count = 1ll << 62;
	assert_int_equal(portspec_validate(&spec, NULL), -EINVAL);
}

static void test_bad_ranges(void **state)
{
	static const char *const cases[][2] = {
		{"1-2:1/tcp", "must be ranges of the same length, but these are 2 and 1 ports"},
		{"1:1-2/tcp", "but these are 1 and 2 ports"},
		{"1-3:1-2/tcp", "but these are 3 and 2 ports"},
		{"2-1:2-1/tcp", "a range goes up, from 1 to 65535"},
		{"0-1:1-2/tcp", "a range goes up, from 1 to 65535"},
		{"65535-65536:1-2/tcp", "a range goes up, from 1 to 65535"},
		{"1-:1-2/tcp", "invalid syntax"},
		{"1-2-3:1-3/tcp", "invalid syntax"},
		{"1- 2:1-2/tcp", "invalid syntax"},
		{"1-\f2:1-2/tcp", "invalid syntax"},
		{"-20100:80-90/tcp", "unexpected ParentPort in PortSpec string: "
				     "\"-20100:80-90/tcp\": a range goes up, from 1 to 65535"},
		{"80-90:-20100/tcp", "unexpected ChildPort in PortSpec string: "
				     "\"80-90:-20100/tcp\": a range goes up, from 1 to 65535"},
		{"65536:80-90/tcp", "unexpected ParentPort"},
		{"80-90:0/tcp", "unexpected ChildPort"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct port_spec spec;
		struct err e = {.code = 0};

		assert_int_equal(portspec_parse(cases[i][0], &spec, &e), -EINVAL);
		if (!strstr(e.msg, cases[i][1]))
			print_error("%s: %s\n", cases[i][0], e.msg);
		assert_non_null(strstr(e.msg, cases[i][1]));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ranges),	   cmocka_unit_test(test_bad_ranges),
		cmocka_unit_test(test_good_specs), cmocka_unit_test(test_bad_specs),
		cmocka_unit_test(test_long_specs), cmocka_unit_test(test_validation),
		cmocka_unit_test(test_go_quoting), cmocka_unit_test(test_conflicts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
