/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "ports/address.h"
#include "ports/spec.h"

static const char *print(const struct sockaddr_storage *ss, char *buf, size_t size)
{
	char ip[INET6_ADDRSTRLEN] = "";

	if (ss->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;

		inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof(ip));
		snprintf(buf, size, "[%s]:%d", ip, ntohs(in6->sin6_port));
	} else if (ss->ss_family == AF_INET) {
		const struct sockaddr_in *in4 = (const struct sockaddr_in *)ss;

		inet_ntop(AF_INET, &in4->sin_addr, ip, sizeof(ip));
		snprintf(buf, size, "%s:%d", ip, ntohs(in4->sin_port));
	} else {
		snprintf(buf, size, "-");
	}
	return buf;
}

static void leads(const char *text, const char *listen, const char *target, const char *target2)
{
	struct port_route port = {.proto = PORT_TCP};
	struct port_spec spec;
	char buf[80];
	struct err e;

	print_message("%s\n", text);
	assert_int_equal(portspec_parse(text, &spec, &e), 0);
	assert_int_equal(port_address_resolve(&spec, &port, &e), 0);
	assert_string_equal(print(&port.listen, buf, sizeof(buf)), listen);
	assert_string_equal(print(&port.target, buf, sizeof(buf)), target);
	assert_string_equal(print(&port.target2, buf, sizeof(buf)), target2);
}

/* Without a child IP a port leads to the same address inside if its parent IP is a loopback
 * address. Other addresses of the host mean nothing in the namespace. */
static void test_where_ports_lead(void **state)
{
	(void)state;
	leads("0.0.0.0:1:80/tcp", "[::]:1", "127.0.0.1:80", "-");
	leads("0.0.0.0:1:80/udp4", "0.0.0.0:1", "127.0.0.1:80", "-");
	leads("127.0.0.1:1:80/tcp", "127.0.0.1:1", "127.0.0.1:80", "-");
	leads("127.0.0.2:1:80/tcp", "127.0.0.2:1", "127.0.0.2:80", "-");
	leads("127.0.0.2:1:80/udp", "127.0.0.2:1", "127.0.0.2:80", "-");
	leads("[::ffff:127.0.0.2]:1:80/tcp", "127.0.0.2:1", "127.0.0.2:80", "-");
	leads("192.0.2.1:1:80/tcp", "192.0.2.1:1", "127.0.0.1:80", "-");
	leads("192.0.2.1:1:80/udp", "192.0.2.1:1", "127.0.0.1:80", "-");
	leads("[::ffff:192.0.2.1]:1:80/tcp", "192.0.2.1:1", "127.0.0.1:80", "-");
	leads("[::1]:1:80/tcp", "[::1]:1", "[::1]:80", "127.0.0.1:80");
	leads("[::1]:1:80/udp6", "[::1]:1", "[::1]:80", "127.0.0.1:80");
	leads("[::]:1:80/tcp", "[::]:1", "127.0.0.1:80", "[::1]:80");
	leads("[2001:db8::1]:1:80/tcp", "[2001:db8::1]:1", "127.0.0.1:80", "[::1]:80");
	leads("[2001:db8::1]:1:80/udp", "[2001:db8::1]:1", "127.0.0.1:80", "[::1]:80");
}

/* A child IP is used as it is given. */
static void test_child_ips(void **state)
{
	(void)state;
	leads("192.0.2.1:1:10.0.2.100:80/tcp", "192.0.2.1:1", "10.0.2.100:80", "-");
	leads("127.0.0.2:1:127.0.0.1:80/tcp", "127.0.0.2:1", "127.0.0.1:80", "-");
	leads("0.0.0.0:1:[::ffff:10.0.2.100]:80/tcp", "[::]:1", "10.0.2.100:80", "-");
	leads("[::1]:1:[fd00::2]:80/tcp", "[::1]:1", "[fd00::2]:80", "-");
}

/* Who runs out of descriptors hears how many there are, and what would help. */
static void test_no_descriptors(void **state)
{
	struct port_spec spec;
	struct err e = {.code = 0};
	char limit[32];

	(void)state;
	snprintf(limit, sizeof(limit), "(of %u, ", fd_limit());
	assert_int_equal(portspec_parse("127.0.0.1:8080:80/tcp", &spec, &e), 0);
	assert_int_equal(port_address_error(&spec, -EMFILE, 1024, &e), -EMFILE);
	assert_non_null(
		strstr(e.msg, "listen tcp 127.0.0.1:8080: socket: too many open files (of "));
	assert_non_null(strstr(e.msg, limit));
	assert_non_null(strstr(e.msg, "LimitNOFILE="));
	assert_int_equal(port_address_error(&spec, -EADDRINUSE, 1024, &e), -EADDRINUSE);
	assert_string_equal(e.msg, "listen tcp 127.0.0.1:8080: bind: address already in use");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_where_ports_lead),
		cmocka_unit_test(test_child_ips),
		cmocka_unit_test(test_no_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
