/* SPDX-License-Identifier: Apache-2.0 */
/* What the port drivers send to socat, pesto and slirp4netns, and how the answers are understood.
 */
#include "cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "drivers/port/pesto_command.h"
#include "drivers/port/slirp4netns_answer.h"
#include "drivers/port/socat_command.h"
#include "ports/address.h"

static void socat_of(const char *text, struct socat_command *cmd)
{
	struct port_route port = {.proto = PORT_TCP};
	struct port_spec spec;
	struct err e;

	assert_int_equal(portspec_parse(text, &spec, &e), 0);
	assert_int_equal(port_address_resolve(&spec, &port, &e), 0);
	socat_build_command(&port, 1500, cmd);
}

static void assert_socat(const char *spec, const char *listen, const char *to)
{
	struct socat_command cmd;
	char exec[400];

	socat_of(spec, &cmd);
	assert_string_equal(cmd.argv[0], "socat");
	assert_ptr_equal(cmd.argv[3], cmd.listen);
	assert_ptr_equal(cmd.argv[4], cmd.exec);
	assert_null(cmd.argv[5]);
	assert_string_equal(cmd.listen, listen);
	snprintf(exec, sizeof(exec),
		 "EXEC:\"nsenter --user=/proc/self/fd/4 --net=/proc/self/fd/3 "
		 "--preserve-credentials socat -b 65536 %s\",nofork",
		 to);
	assert_string_equal(cmd.exec, exec);
}

static void test_socat_commands(void **state)
{
	(void)state;
	assert_socat("127.0.0.1:8080:80/tcp",
		     "TCP4-LISTEN:8080,bind=127.0.0.1,reuseaddr,fork,max-children=1024,backlog="
		     "4096,nodelay",
		     "-t 600 STDIN,shut-down TCP4:127.0.0.1:80,nodelay");
	assert_socat("127.0.0.2:8053:10.0.2.100:53/udp",
		     "UDP4-LISTEN:8053,bind=127.0.0.2,reuseaddr,fork,max-children=1024",
		     "-T 2 STDIN UDP4:10.0.2.100:53");
	assert_socat("0.0.0.0:8080:80/tcp",
		     "TCP6-LISTEN:8080,bind=[::],ipv6only=0,reuseaddr,fork,max-children=1024,"
		     "backlog=4096,nodelay",
		     "-t 600 STDIN,shut-down TCP4:127.0.0.1:80,nodelay");
	assert_socat("[::1]:8080:80/tcp6",
		     "TCP6-LISTEN:8080,bind=[::1],ipv6only=1,reuseaddr,fork,max-children=1024,"
		     "backlog=4096,nodelay",
		     "-t 600 STDIN,shut-down TCP6:[::1]:80,nodelay");
	assert_socat("192.0.2.1:8080:80/tcp4",
		     "TCP4-LISTEN:8080,bind=192.0.2.1,reuseaddr,fork,max-children=1024,backlog="
		     "4096,nodelay",
		     "-t 600 STDIN,shut-down TCP4:127.0.0.1:80,nodelay");
}

static void test_mapped_addresses(void **state)
{
	char buf[INET_ADDRSTRLEN];

	(void)state;
	assert_socat("[::ffff:127.0.0.1]:8080:[::ffff:10.0.2.100]:80/tcp",
		     "TCP4-LISTEN:8080,bind=127.0.0.1,reuseaddr,fork,max-children=1024,backlog="
		     "4096,nodelay",
		     "-t 600 STDIN,shut-down TCP4:10.0.2.100:80,nodelay");
	assert_string_equal(port_address_unmapped("::ffff:10.0.2.100", buf), "10.0.2.100");
	assert_string_equal(port_address_unmapped("::FFFF:7f00:1", buf), "127.0.0.1");
	assert_string_equal(port_address_unmapped("10.0.2.100", buf), "10.0.2.100");
	assert_string_equal(port_address_unmapped("::1", buf), "::1");
	assert_string_equal(port_address_unmapped("no:address", buf), "no:address");
	assert_string_equal(port_address_unmapped("", buf), "");
}

/* The longest possible addresses fit. */
static void test_socat_longest(void **state)
{
	const char *ip = "fedc:ba98:7654:3210:fedc:ba98:7654:3210";
	struct socat_command cmd;
	char spec[200], listen[160];

	(void)state;
	snprintf(spec, sizeof(spec), "[%s]:65535:[%s]:65535/tcp", ip, ip);
	socat_of(spec, &cmd);
	snprintf(listen, sizeof(listen),
		 "TCP6-LISTEN:65535,bind=[%s],ipv6only=0,reuseaddr,fork,max-children=1024,backlog="
		 "4096,nodelay",
		 ip);
	assert_string_equal(cmd.listen, listen);
	assert_non_null(strstr(cmd.exec, "]:65535,nodelay\",nofork"));
}

static void test_socat_errors(void **state)
{
	char buf[300], small[8];

	(void)state;
	assert_string_equal(
		socat_find_error("2026/11/24 15:16:26 socat[1] W first; 2026/11/24 15:16:26 "
				 "socat[13086] E bind(5, {AF=2 127.0.0.1:81}, 16): Permission "
				 "denied; 2026/11/24 15:16:26 socat[13086] N exit(1)",
				 buf, sizeof(buf)),
		"bind(5, {AF=2 127.0.0.1:81}, 16): Permission denied");
	assert_string_equal(socat_find_error("x socat[1] E the end", buf, sizeof(buf)), "the end");
	assert_string_equal(socat_find_error("sh: not found", buf, sizeof(buf)), "");
	assert_string_equal(socat_find_error("", buf, sizeof(buf)), "");
	assert_string_equal(socat_find_error("] E longer than that", small, sizeof(small)),
			    "longer ");
}

static int parse(enum slirp4netns_request request, const char *text,
		 struct slirp4netns_answer *answer, struct err *e)
{
	return slirp4netns_answer_parse(request, text, strlen(text), answer, e);
}

static void test_answers(void **state)
{
	struct slirp4netns_answer a;
	struct err e;

	(void)state;
	assert_int_equal(parse(SLIRP4NETNS_ADD, "{\"return\":{\"id\":7}}", &a, &e), 0);
	assert_true(a.id == 7 && !a.refused[0]);
	assert_int_equal(parse(SLIRP4NETNS_REMOVE, "{\"return\":{}}\n", &a, &e), 0);
	assert_string_equal(a.refused, "");
	assert_int_equal(parse(SLIRP4NETNS_LIST,
			       "{\"entries\":[{\"id\":3,\"proto\":\"tcp\"},{\"id\":5}]}", &a, &e),
			 0);
	assert_true(a.n_ids == 2 && a.ids[0] == 3 && a.ids[1] == 5);
	slirp4netns_answer_free(&a);
	assert_int_equal(parse(SLIRP4NETNS_LIST, "{\"return\":{\"entries\":[{\"id\":3}]}}", &a, &e),
			 0);
	assert_int_equal(a.n_ids, 1);
	slirp4netns_answer_free(&a);
	assert_int_equal(parse(SLIRP4NETNS_LIST, "{\"entries\":[]}", &a, &e), 0);
	assert_int_equal(a.n_ids, 0);
}

static void test_refusals(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{"{\"error\":{\"desc\":\"bad request: no\"}}", "bad request: no"},
		{"{\"error\":{\"desc\":\"a\\nb\\u001b[2J\"}}", "a?b?[2J"},
		{"{\"error\":{\"desc\":\"\"}}", "an error without a description"},
		{"{\"error\":{\"code\":3}}", "{\"code\":3}"},
		{"{\"error\":\"text\"}", "\"text\""},
		{"{\"error\":null,\"return\":{\"id\":1}}", "null"},
	};
	struct slirp4netns_answer a;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(parse(SLIRP4NETNS_ADD, rows[i].text, &a, &e), 0);
		assert_string_equal(a.refused, rows[i].want);
		slirp4netns_answer_free(&a);
	}
}

static void test_no_answers(void **state)
{
	static const struct {
		enum slirp4netns_request request;
		const char *text;
	} rows[] = {
		{SLIRP4NETNS_ADD, "garbage"},
		{SLIRP4NETNS_ADD, "null"},
		{SLIRP4NETNS_ADD, "[]"},
		{SLIRP4NETNS_ADD, "{}"},
		{SLIRP4NETNS_ADD, "{\"return\":{}}"},
		{SLIRP4NETNS_ADD, "{\"return\":{\"id\":0}}"},
		{SLIRP4NETNS_ADD, "{\"return\":{\"id\":-1}}"},
		{SLIRP4NETNS_ADD, "{\"return\":{\"id\":1.5}}"},
		{SLIRP4NETNS_ADD, "{\"return\":{\"id\":1}} x"},
		{SLIRP4NETNS_ADD, "{\"return\":{\"id\":1}"},
		{SLIRP4NETNS_REMOVE, "{}"},
		{SLIRP4NETNS_LIST, "{\"return\":{}}"},
		{SLIRP4NETNS_LIST, "{\"entries\":3}"},
		{SLIRP4NETNS_LIST, "{\"entries\":[{\"id\":1},{}]}"},
		{SLIRP4NETNS_LIST, "{\"entries\":[{\"id\":1},null]}"},
	};
	struct slirp4netns_answer a;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(parse(rows[i].request, rows[i].text, &a, &e), -EPROTO);
		assert_non_null(strstr(e.msg, rows[i].text));
		assert_null(a.ids);
	}
	assert_int_equal(parse(SLIRP4NETNS_ADD, "", &a, &e), -EPROTO);
	assert_non_null(strstr(e.msg, "without an answer"));
}

/* Returns the rule for a port, or why there is none. */
static const char *pesto_says(const char *text, bool ipv6)
{
	static struct pesto_command cmd;
	static struct err e;
	struct port_spec spec, out;

	assert_int_equal(portspec_parse(text, &spec, &e), 0);
	if (pesto_spec(&spec, ipv6, "10.0.2.100", &out, &e) < 0)
		return e.msg;
	pesto_build_command(&out, false, "/x/pesto", "/state/.pasta.sock", &cmd);
	assert_string_equal(cmd.argv[0], "/x/pesto");
	assert_string_equal(cmd.argv[1], "--add");
	assert_ptr_equal(cmd.argv[2], cmd.rule);
	assert_string_equal(cmd.argv[3], "/state/.pasta.sock");
	assert_null(cmd.argv[4]);
	return cmd.rule;
}

static void test_pesto_rules(void **state)
{
	static const struct {
		const char *spec, *ipv4,
			*ipv6; /* without and with --ipv6; NULL: the same as without */
	} rows[] = {
		{"127.0.0.1:8080:80/tcp", "--tcp-ports=127.0.0.1/8080:80", NULL},
		{"127.0.0.1:8080:10.0.2.100:80/tcp4", "--tcp-ports=127.0.0.1/8080:80", NULL},
		{"8053:53/udp", "--udp-ports=0.0.0.0/8053:53", NULL},
		{"0.0.0.0:8053:[::ffff:10.0.2.100]:53/udp4", "--udp-ports=0.0.0.0/8053:53", NULL},
		{"[::ffff:127.0.0.1]:8080:80/tcp", "--tcp-ports=127.0.0.1/8080:80", NULL},
		{"[::1]:8080:80/tcp", "unsupported protocol \"tcp\": an IPv6 port needs --ipv6",
		 "--tcp-ports=::1/8080:80"},
		{"8080:80/tcp6", "unsupported protocol \"tcp6\": an IPv6 port needs --ipv6",
		 "--tcp-ports=::/8080:80"},
		{"[::]:8053:53/udp6", "unsupported protocol \"udp6\": an IPv6 port needs --ipv6",
		 "--udp-ports=::/8053:53"},
		{"127.0.0.1:8080:80/tcp6",
		 "listen tcp6: address 127.0.0.1: no suitable address found", NULL},
		{"[::1]:8080:80/udp4", "listen udp4: address ::1: no suitable address found", NULL},
		{"127.0.0.1:8080:80/sctp", "unsupported protocol \"sctp\"", NULL},
		{"127.0.0.1:8080:127.0.0.1:80/tcp",
		 "child IP 127.0.0.1: pasta sends to the namespace's own address alone, "
		 "10.0.2.100; leave it out",
		 NULL},
		{"[::1]:8080:[fd00::1]:80/tcp",
		 "unsupported protocol \"tcp\": an IPv6 port needs --ipv6",
		 "child IP fd00::1: pasta sends to the namespace's own address alone; leave it "
		 "out"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_string_equal(pesto_says(rows[i].spec, false), rows[i].ipv4);
		assert_string_equal(pesto_says(rows[i].spec, true),
				    rows[i].ipv6 ? rows[i].ipv6 : rows[i].ipv4);
	}
}

static void test_pesto_removes(void **state)
{
	struct port_spec spec = {
		.proto = "tcp4", .parent_ip = "127.0.0.1", .parent_port = 1, .child_port = 2};
	struct pesto_command cmd;

	(void)state;
	pesto_build_command(&spec, true, "pesto", "s", &cmd);
	assert_string_equal(cmd.argv[1], "--delete");
	assert_string_equal(cmd.rule, "--tcp-ports=127.0.0.1/1:2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_socat_commands), cmocka_unit_test(test_mapped_addresses),
		cmocka_unit_test(test_socat_longest),  cmocka_unit_test(test_socat_errors),
		cmocka_unit_test(test_answers),	       cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_no_answers),     cmocka_unit_test(test_pesto_rules),
		cmocka_unit_test(test_pesto_removes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
