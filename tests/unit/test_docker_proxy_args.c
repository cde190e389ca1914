/* SPDX-License-Identifier: Apache-2.0 */
/* The command line that dockerd gives rootlesskit-docker-proxy, and the one that this gives the
 * real docker-proxy. */
#include "cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "ctl/docker_proxy_args.h"

#define WORDS_MAX 16

static int parse(const char *line, struct docker_proxy_args *out, struct err *e)
{
	static char copy[512];
	char *argv[WORDS_MAX + 1] = {"rootlesskit-docker-proxy"}, *rest = copy, *word;
	int argc = 1;

	snprintf(copy, sizeof(copy), "%s", line);
	while ((word = strsep(&rest, " "))) {
		assert_true(argc < WORDS_MAX);
		if (*word)
			argv[argc++] = word;
	}
	argv[argc] = NULL;
	*e = (struct err){.code = 0};
	return docker_proxy_args_parse(argc, argv, out, e);
}

#define TO "-container-ip 172.17.0.2 -container-port 80 "

static void test_dockerd(void **state)
{
	struct docker_proxy_args a;
	char proto[16];
	struct err e;

	(void)state;
	assert_int_equal(parse("-proto udp -host-ip 127.0.0.1 -host-port 53 " TO, &a, &e), 0);
	assert_string_equal(a.proto, "udp");
	assert_string_equal(a.host_ip, "127.0.0.1");
	assert_int_equal(a.host_port, 53);
	assert_string_equal(a.container_ip, "172.17.0.2");
	assert_int_equal(a.container_port, 80);
	assert_false(a.use_listen_fd);
	assert_string_equal(docker_proxy_args_proto(&a, proto), "udp4");
	assert_int_equal(parse("--host-ip=:: --host-port=1 --use-listen-fd " TO, &a, &e), 0);
	assert_string_equal(docker_proxy_args_proto(&a, proto), "tcp6");
	assert_true(a.use_listen_fd);
	assert_int_equal(parse("-host-port=0x50 " TO, &a, &e), 0); /* as Go's flags take it */
	assert_int_equal(a.host_port, 80);
	assert_int_equal(parse("-host-port=65535 -use-listen-fd=false " TO, &a, &e), 0);
	assert_string_equal(a.host_ip, "0.0.0.0");
	assert_false(a.use_listen_fd);
	assert_int_equal(parse("-help", &a, &e), 0);
	assert_true(a.help);
}

static void test_refused(void **state)
{
	static const struct {
		const char *line, *say;
	} rows[] = {
		{"", "-container-ip takes an IP address, not \"\""},
		{TO, "are needed"},
		{TO "-host-port", "-host-port needs a value"},
		{TO "-host-port=", "a port from 1 to 65535, not \"\""},
		{TO "-host-port=0", "a port from 1 to 65535"},
		{TO "-host-port=65536", "a port from 1 to 65535"},
		{TO "-host-port=99999999999999999999", "a port from 1 to 65535"},
		{TO "-host-port=8x", "not \"8x\""},
		{TO "-host-port=\t80", "a port from 1 to 65535"},
		{TO "-host-port=\n80", "a port from 1 to 65535"},
		{TO "-host-port=-80", "not \"-80\""},
		{TO "-host-port=-", "not \"-\""},
		{TO "-host-port=1 -host-ip=1.2.3", "-host-ip takes an IP address, not \"1.2.3\""},
		{TO "-host-port=1 -host-ip=[::1]", "-host-ip takes an IP address"},
		{TO "-host-port=1 -proto=tcp4", "-proto is tcp, udp or sctp"},
		{TO "-host-port=1 x", "unexpected word \"x\""},
		{TO "-host-port=1 -hostport=1", "unknown option -hostport=1"},
		{TO "-host-port=1 -", "unknown option -"},
		{TO "-host-port=1 --", "unknown option --"},
	};
	struct docker_proxy_args a;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(parse(rows[i].line, &a, &e), -EINVAL);
		if (!strstr(e.msg, rows[i].say))
			fail_msg("%s: %s", rows[i].line, e.msg);
	}
}

static void test_command_line(void **state)
{
	static const char *const want[] = {
		"docker-proxy", "-container-ip", "172.17.0.2", "-container-port",
		"80",		"-host-ip",	 "::1",	       "-host-port",
		"65535",	"-proto",	 "sctp",       "-use-listen-fd"};
	struct docker_proxy_args a;
	const char *argv[16];
	char numbers[2][12];
	struct err e;

	(void)state;
	assert_int_equal(parse("-proto sctp -host-port 65535 -use-listen-fd " TO, &a, &e), 0);
	docker_proxy_args_build(&a, "docker-proxy", "::1", argv, numbers);
	for (size_t i = 0; i < ARRAY_SIZE(want); i++)
		assert_string_equal(argv[i], want[i]);
	assert_null(argv[ARRAY_SIZE(want)]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dockerd),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_command_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
