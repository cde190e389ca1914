/* SPDX-License-Identifier: Apache-2.0 */
/* netif.c in a user and network namespace of the test's own. What it did is read back from
 * getifaddrs and /proc/net, and not through our own netlink code. */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "file.h"
#include "ns/netif.h"

static void need_tun(void)
{
	if (access("/dev/net/tun", R_OK | W_OK) < 0) {
		print_message("/dev/net/tun is not readable and writable\n");
		skip();
	}
}

static void need_ipv6(void)
{
	if (access("/proc/self/net/if_inet6", R_OK) < 0) {
		print_message("the kernel has no IPv6\n");
		skip();
	}
}

static void fresh_namespace(void)
{
	assert_int_equal(unshare(CLONE_NEWNET), 0);
}

static int setup(void **state)
{
	(void)state;
	fresh_namespace();
	return 0;
}

static unsigned flags_of(const char *ifname, int *mtu)
{
	auto_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {0};

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
	assert_int_equal(ioctl(fd, SIOCGIFMTU, &ifr), 0);
	if (mtu)
		*mtu = ifr.ifr_mtu;
	assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &ifr), 0);
	return (unsigned short)ifr.ifr_flags;
}

static int mask_length(const struct sockaddr *sa)
{
	const unsigned char *p;
	int len, bits = 0;

	if (sa->sa_family == AF_INET) {
		p = (const void *)&((const struct sockaddr_in *)(const void *)sa)->sin_addr;
		len = 4;
	} else {
		p = (const void *)&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
		len = 16;
	}
	for (int i = 0; i < len; i++)
		bits += __builtin_popcount(p[i]);
	return bits;
}

static bool has_address(const char *ifname, const char *ip, int prefix_len)
{
	struct ifaddrs *all, *a;
	bool found = false;

	assert_int_equal(getifaddrs(&all), 0);
	for (a = all; a; a = a->ifa_next) {
		char text[INET6_ADDRSTRLEN] = "";

		if (!a->ifa_addr || strcmp(a->ifa_name, ifname) != 0)
			continue;
		if (a->ifa_addr->sa_family == AF_INET)
			inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)a->ifa_addr)->sin_addr,
				  text, sizeof(text));
		else if (a->ifa_addr->sa_family == AF_INET6)
			inet_ntop(AF_INET6,
				  &((struct sockaddr_in6 *)(void *)a->ifa_addr)->sin6_addr, text,
				  sizeof(text));
		if (!strcmp(text, ip) && mask_length(a->ifa_netmask) == prefix_len)
			found = true;
	}
	freeifaddrs(all);
	return found;
}

/* Whether ifname has this gateway as its IPv4 default route. */
static bool has_default_route(const char *ifname, const char *gateway)
{
	auto_file FILE *f = fopen("/proc/self/net/route", "re");
	char line[256], name[32];
	unsigned dest, gw;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		struct in_addr want;

		/* NOLINTNEXTLINE(cert-err34-c): the kernel's own numbers */
		if (sscanf(line, "%31s %x %x", name, &dest, &gw) != 3 || dest != 0)
			continue;
		inet_pton(AF_INET, gateway, &want);
		if (!strcmp(name, ifname) && gw == want.s_addr)
			return true;
	}
	return false;
}

/* A line of ipv6_route has destination, its length, source, its length, next hop, ... device. */
static bool has_default_route6(const char *ifname, const char *gateway_hex)
{
	auto_file FILE *f = fopen("/proc/self/net/ipv6_route", "re");
	char line[512], dest[33], len[3], hop[33], dev[32];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%32s %2s %*s %*s %32s %*s %*s %*s %*s %31s", dest, len, hop,
			   dev) == 4 &&
		    !strcmp(len, "00") && !strcmp(dev, ifname) && !strcmp(hop, gateway_hex))
			return true;
	return false;
}

static void test_loopback_up(void **state)
{
	struct err e = {0};

	(void)state;
	assert_false(flags_of("lo", NULL) & IFF_UP);
	assert_int_equal(netif_loopback_up(&e), 0);
	assert_true(flags_of("lo", NULL) & IFF_UP);
	assert_true(has_address("lo", "127.0.0.1", 8));
	/* a second time is no error: a set-up that is repeated does it again */
	assert_int_equal(netif_loopback_up(&e), 0);
}

static void test_configure(void **state)
{
	struct netif_config c = {.ifname = "tap0",
				 .mtu = 65520,
				 .ip = "10.0.2.100",
				 .prefix_len = 24,
				 .gateway = "10.0.2.2"};
	struct err e = {0};
	int mtu = 0;

	(void)state;
	need_tun();
	assert_int_equal(netif_tap_create("tap0", &e), 0);
	if (netif_configure(&c, &e) < 0)
		fail_msg("%s", e.msg);
	assert_true(flags_of("tap0", &mtu) & IFF_UP);
	assert_int_equal(mtu, 65520);
	assert_true(has_address("tap0", "10.0.2.100", 24));
	assert_true(has_default_route("tap0", "10.0.2.2"));
}

static void readdress(const struct netif_config *from, const struct netif_config *to)
{
	struct err e = {0};

	if (netif_readdress(from, to, &e) < 0)
		fail_msg("%s", e.msg);
}

static void test_readdress(void **state)
{
	struct netif_config a = {.ifname = "tap0",
				 .ip = "10.0.3.5",
				 .prefix_len = 24,
				 .gateway = "10.0.3.1"},
			    same_net = a, other_net = a, no_gateway, nonsense = a;
	struct err e = {0};

	(void)state;
	need_tun();
	same_net.ip = "10.0.3.6";
	other_net.ip = "10.0.4.6";
	other_net.prefix_len = 16;
	other_net.gateway = "10.0.0.1";
	no_gateway = other_net;
	no_gateway.gateway = "";
	nonsense.ip = "10.0.3.500";
	assert_int_equal(netif_tap_create("tap0", &e), 0);
	assert_int_equal(netif_configure(&a, &e), 0);
	readdress(&a, &same_net);
	assert_false(has_address("tap0", "10.0.3.5", 24));
	assert_true(has_address("tap0", "10.0.3.6", 24));
	assert_true(has_default_route("tap0", "10.0.3.1"));
	readdress(&same_net, &other_net);
	assert_false(has_address("tap0", "10.0.3.6", 24));
	assert_true(has_address("tap0", "10.0.4.6", 16));
	assert_true(has_default_route("tap0", "10.0.0.1"));
	assert_false(has_default_route("tap0", "10.0.3.1"));
	readdress(&other_net, &no_gateway);
	assert_true(has_address("tap0", "10.0.4.6", 16));
	assert_false(has_default_route("tap0", "10.0.0.1"));
	readdress(&other_net, &a);	  /* the route has gone already */
	readdress(&same_net, &other_net); /* so has the address: the one that is there stays */
	assert_true(has_address("tap0", "10.0.4.6", 16));
	assert_int_equal(netif_readdress(&other_net, &nonsense, &e), -EINVAL);
	nonsense.ifname = "tap1";
	assert_int_equal(netif_readdress(&other_net, &nonsense, &e), -ENODEV);
	assert_non_null(strstr(e.msg, "tap1"));
}

static void test_configure_ipv6(void **state)
{
	struct netif_config c = {
		.ifname = "tap0", .ip = "fd00::100", .prefix_len = 64, .gateway = "fd00::2"};
	struct err e = {0};

	(void)state;
	need_tun();
	need_ipv6();
	assert_int_equal(netif_tap_create("tap0", &e), 0);
	if (netif_configure(&c, &e) < 0)
		fail_msg("%s", e.msg);
	assert_true(has_address("tap0", "fd00::100", 64));
	assert_true(has_default_route6("tap0", "fd000000000000000000000000000002"));
}

static void test_ipv6_switched_off(void **state)
{
	struct netif_config c = {.ifname = "tap0", .ip = "fd00::100", .prefix_len = 64};
	struct err e = {0};

	(void)state;
	need_tun();
	need_ipv6();
	assert_int_equal(netif_tap_create("tap0", &e), 0);
	assert_int_equal(file_write("/proc/sys/net/ipv6/conf/tap0/disable_ipv6", "1", 0644), 0);
	if (netif_configure(&c, &e) < 0)
		fail_msg("%s", e.msg);
	assert_true(has_address("tap0", "fd00::100", 64));
}

/* An IPv6 address must be usable at once, so there is no duplicate address detection. */
static void test_ipv6_not_tentative(void **state)
{
	struct netif_config c = {.ifname = "tap0", .ip = "fd00::100", .prefix_len = 64};
	struct sockaddr_in6 sa = {.sin6_family = AF_INET6};
	auto_fd int fd = -1;
	struct err e = {0};

	(void)state;
	need_tun();
	need_ipv6();
	assert_int_equal(netif_tap_create("tap0", &e), 0);
	assert_int_equal(netif_configure(&c, &e), 0);
	fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	inet_pton(AF_INET6, "fd00::100", &sa.sin6_addr);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
}

static void test_only_what_is_asked(void **state)
{
	struct netif_config c = {.ifname = "tap0", .ip = "", .gateway = NULL};
	struct err e = {0};
	int before, after;

	(void)state;
	need_tun();
	assert_int_equal(netif_tap_create("tap0", &e), 0);
	flags_of("tap0", &before);
	assert_int_equal(netif_configure(&c, &e), 0);
	assert_true(flags_of("tap0", &after) & IFF_UP);
	assert_int_equal(before, after);
	assert_false(has_default_route("tap0", "10.0.2.2"));
}

static void expect_error(const struct netif_config *c, const char *words)
{
	struct err e = {0};

	assert_true(netif_configure(c, &e) < 0);
	assert_says(e.msg, words);
}

static void test_errors_name_the_step(void **state)
{
	struct netif_config missing = {.ifname = "nosuch0"};
	struct netif_config good = {
		.ifname = "tap0", .ip = "10.0.2.100", .prefix_len = 24, .gateway = "10.0.2.2"};
	struct netif_config c = good;
	struct err e = {0};

	(void)state;
	expect_error(&missing, "cannot find interface nosuch0: No such device");
	need_tun();
	assert_int_equal(netif_tap_create("tap0", &e), 0);
	c.mtu = 20; /* ETH_MIN_MTU is 68 */
	expect_error(&c, "cannot set the MTU of tap0 to 20: Invalid argument");
	c = good;
	c.ip = "10.0.2";
	expect_error(&c, "address of tap0: 10.0.2 is no IP address");
	c = good;
	c.prefix_len = 33;
	expect_error(&c, "10.0.2.100/33: no such prefix length");
	c = good;
	c.gateway = "192.168.77.1";
	expect_error(
		&c,
		"cannot add the default route via 192.168.77.1 on tap0: Network is unreachable");
	expect_error(&good, "cannot add address 10.0.2.100/24 to tap0: File exists");
	c.ip = "";
	c.gateway = "x";
	expect_error(&c, "gateway of tap0: x is no IP address");
}

static void test_tap_names(void **state)
{
	struct err e = {0};

	(void)state;
	assert_int_equal(netif_tap_create("", &e), -EINVAL);
	assert_int_equal(netif_tap_create("sixteen-letters-", &e), -EINVAL);
	assert_non_null(strstr(e.msg, "1 to 15 characters"));
	need_tun();
	assert_int_equal(netif_tap_create("fifteen-letters", &e), 0);
	assert_true(if_nametoindex("fifteen-letters") > 0);
	/* TUNSETIFF takes the name of an existing persistent tap, and refuses that of another kind
	 * of interface. */
	assert_true(netif_tap_create("lo", &e) < 0);
	assert_non_null(strstr(e.msg, "cannot make tap device lo: TUNSETIFF"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_loopback_up, setup),
		cmocka_unit_test_setup(test_configure, setup),
		cmocka_unit_test_setup(test_readdress, setup),
		cmocka_unit_test_setup(test_configure_ipv6, setup),
		cmocka_unit_test_setup(test_ipv6_not_tentative, setup),
		cmocka_unit_test_setup(test_ipv6_switched_off, setup),
		cmocka_unit_test_setup(test_only_what_is_asked, setup),
		cmocka_unit_test_setup(test_errors_name_the_step, setup),
		cmocka_unit_test_setup(test_tap_names, setup),
	};

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) {
		printf("skipped: no user namespace may be made here: %s\n", strerror(errno));
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
