/* SPDX-License-Identifier: Apache-2.0 */
/* route.c: how the kernel's answers are read, and which containers count as neighbours. A network
 * namespace of the test's own has a bridge, a gateway and an uplink. */
#include "cmocka_all.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/proc.h"
#include "ns/netlink.h"
#include "ns/route.h"

static const char layout[] = "set -e; "
			     "ip link set lo up; "
			     "ip link add br0 type bridge; ip link set br0 up; "
			     "ip addr add 172.17.0.1/16 dev br0; "
			     "ip link add up0 type veth peer name up1; "
			     "ip link set up0 up; ip link set up1 up; "
			     "ip addr add 10.0.2.100/24 dev up0; "
			     "ip route add default via 10.0.2.2; "
			     "ip route add 192.0.2.0/24 via 172.17.0.9; "
			     "ip route add 172.18.0.0/16 dev br0; "
			     "ip route add blackhole 203.0.113.0/24; "
			     "ip route add unreachable 198.51.100.0/24";

static const char layout6[] = "set -e; "
			      "ip -6 addr add fd00:17::1/64 dev br0 nodad; "
			      "ip -6 addr add fd00:2::100/64 dev up0 nodad; "
			      "ip -6 route add default via fd00:2::2; "
			      "ip -6 route add unreachable fd00:3::/64";

static bool has_ipv6(void)
{
	return access("/proc/self/net/if_inet6", R_OK) == 0;
}

/* Modules are loaded, which takes its time on a slow machine. */
#define PATIENCE_MS 100000

static int run(const char *script)
{
	const char *argv[] = {"sh", "-c", script, NULL};
	struct err e = {.msg = ""};
	int code = proc_run(argv, NULL, 0, PATIENCE_MS, &e);

	if (code)
		print_message("%s\n", e.msg);
	return code;
}

/* Waits until the address is local: a thread of the kernel makes it so, some time after it was
 * added. */
static bool becomes_local(const char *ip)
{
	struct route route;

	for (int ms = 0; ms < PATIENCE_MS; ms += 10) {
		if (route_look_up(ip, &route, NULL) == 0 && route.type == RTN_LOCAL)
			return true;
		usleep(10000);
	}
	print_message("%s has not become local\n", ip);
	return false;
}

static bool setup6(void)
{
	return run(layout6) == 0 && becomes_local("fd00:17::1") && becomes_local("fd00:2::100");
}

static int setup(void **state)
{
	(void)state;
	return run(layout) || (has_ipv6() && !setup6()) ? -1 : 0;
}

static void neighbour(const char *ip)
{
	struct err e = {.msg = ""};

	print_message("%s\n", ip);
	assert_int_equal(route_is_neighbour(ip, "10.0.2.100", &e), 0);
	assert_string_equal(e.msg, "");
}

static void no_neighbour(const char *ip, const char *why)
{
	struct err e = {.msg = ""};

	print_message("%s\n", ip);
	assert_true(route_is_neighbour(ip, "10.0.2.100", &e) < 0);
	e.msg[strlen(why)] = '\0';
	assert_string_equal(e.msg, why);
}

static void test_ipv4(void **state)
{
	(void)state;
	neighbour("172.17.0.2");
	neighbour("172.18.255.1"); /* on the link, where we have no address */
	no_neighbour("172.17.0.1", "172.17.0.1 is not the address of another machine");
	no_neighbour("172.17.255.255", "172.17.255.255 is not the address of another machine");
	no_neighbour("127.0.0.1", "127.0.0.1 is not the address of another machine");
	no_neighbour("224.0.0.1", "224.0.0.1 is not the address of another machine");
	no_neighbour("192.0.2.7", "192.0.2.7 is behind a gateway");
	no_neighbour("8.8.8.8", "8.8.8.8 is behind a gateway");
	no_neighbour("10.0.2.2", "10.0.2.2 is on the network outside of the namespace");
	no_neighbour("203.0.113.1", "no route to 203.0.113.1");
	no_neighbour("198.51.100.1", "no route to 198.51.100.1: No route to host");
	no_neighbour("172.17.0", "172.17.0 is no IP address");
}

static void test_ipv6(void **state)
{
	(void)state;
	if (!has_ipv6())
		skip();
	neighbour("fd00:17::2");
	no_neighbour("fd00:17::1", "fd00:17::1 is not the address of another machine");
	no_neighbour("::1", "::1 is not the address of another machine");
	no_neighbour("2001:db8::1", "2001:db8::1 is behind a gateway");
	/* The uplink is found by its IPv4 address, and the device is the same. */
	no_neighbour("fd00:2::3", "fd00:2::3 is on the network outside of the namespace");
	no_neighbour("fd00:3::1", "no route to fd00:3::1");
	no_neighbour("fe80::1", "fe80::1 is an address of one link");
}

/* Without an uplink, or with one that does not exist, only the route counts. */
static void test_uplinks(void **state)
{
	static const char *const none[] = {NULL, "", "10.9.9.9", "x"};
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(none); i++)
		assert_int_equal(route_is_neighbour("10.0.2.2", none[i], &e), 0);
}

static void test_what_the_kernel_says(void **state)
{
	struct route route;

	(void)state;
	assert_int_equal(route_look_up("172.17.0.2", &route, NULL), 0);
	assert_int_equal(route.type, RTN_UNICAST);
	assert_int_equal(route.ifindex, if_nametoindex("br0"));
	assert_false(route.gateway);
	assert_int_equal(route_look_up("8.8.8.8", &route, NULL), 0);
	assert_int_equal(route.ifindex, if_nametoindex("up0"));
	assert_true(route.gateway);
}

static void test_answers_that_are_none(void **state)
{
	char buf[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nlmsgerr *why;
	struct route route;

	(void)state;
	assert_int_equal(route_read(buf, 0, &route), -EPROTO);
	nlh->nlmsg_type = RTM_NEWROUTE; /* a route without content */
	assert_int_equal(route_read(buf, nlh->nlmsg_len, &route), -EPROTO);
	nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = NLMSG_ERROR;
	why = mnl_nlmsg_put_extra_header(nlh, sizeof(*why));
	why->error = -ENETUNREACH;
	assert_int_equal(route_read(buf, nlh->nlmsg_len, &route), -ENETUNREACH);
	why->error = 0; /* an acknowledgement is no answer to a look-up */
	assert_int_equal(route_read(buf, nlh->nlmsg_len, &route), -EPROTO);
}

/* An attribute of the wrong length is not the number of a device. */
static void test_short_attribute(void **state)
{
	char buf[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct rtmsg *rt;
	struct route route;

	(void)state;
	nlh->nlmsg_type = RTM_NEWROUTE;
	rt = mnl_nlmsg_put_extra_header(nlh, sizeof(*rt));
	rt->rtm_type = RTN_UNICAST;
	mnl_attr_put_u16(nlh, RTA_OIF, 1);
	assert_true(route_read(buf, nlh->nlmsg_len, &route) < 0);
	mnl_attr_put_u32(nlh, RTA_OIF, 1);
	assert_true(route_read(buf, nlh->nlmsg_len, &route) < 0);
}

/* The process is root in the namespace, so that ip(8) keeps its capabilities when it is executed.
 */
static void become_root(unsigned uid)
{
	FILE *f = fopen("/proc/self/uid_map", "we");

	if (f) {
		fprintf(f, "0 %u 1", uid);
		fclose(f);
	}
}

int main(void)
{
	unsigned uid = geteuid();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ipv4),
		cmocka_unit_test(test_ipv6),
		cmocka_unit_test(test_uplinks),
		cmocka_unit_test(test_what_the_kernel_says),
		cmocka_unit_test(test_answers_that_are_none),
		cmocka_unit_test(test_short_attribute),
	};

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) {
		printf("skipped: no user namespace may be made here: %s\n", strerror(errno));
		return 77;
	}
	become_root(uid);
	return cmocka_run_group_tests(tests, setup, NULL);
}
