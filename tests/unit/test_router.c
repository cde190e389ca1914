/* SPDX-License-Identifier: Apache-2.0 */
/* ns/router.c, with a command's namespace (the box) and a router's beside it, in a user namespace
 * of the test's own. tests/integration/test_net_builtin.py shows that connections go where they
 * should. */
#include "cmocka_all.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "netns_box.h"
#include "ns/netif.h"
#include "ns/router.h"

static struct router_config config(unsigned workers, bool ipv6)
{
	return (struct router_config){
		.netns_fd = shared_box.netns_fd,
		.inside_fd = -1,
		.ifname = "tap0",
		.mtu = 65520,
		.workers = workers,
		.gateway4 = "10.0.2.2",
		.dns4 = "10.0.2.3",
		.inside4 = "10.0.2.100",
		.prefix_len4 = 24,
		.gateway6 = ipv6 ? "fd00::2" : NULL,
		.dns6 = ipv6 ? "fd00::3" : NULL,
		.inside6 = ipv6 ? "fd00::100" : NULL,
		.prefix_len6 = 64,
	};
}

static void run(int (*fn)(void *arg), void *arg)
{
	assert_int_equal(shared_box_run(fn, arg), 0);
}

static int fails(const char *what, const struct err *e)
{
	fprintf(stderr, "%s: %s\n", what, e->msg);
	return 1;
}

/* Whether the namespace of the box has an interface of this name: 0 or 1; 2: that cannot be told.
 */
static int box_has(const char *ifname)
{
	if (setns(shared_box.netns_fd, CLONE_NEWNET) < 0)
		return 2;
	return if_nametoindex(ifname) > 0;
}

#define CONGESTION "/proc/sys/net/ipv4/tcp_congestion_control"

/* Nothing that the router sends to the command is paced. Where the file is read-only, as in a
 * container, the default stays. */
static bool paces_nothing(void)
{
	char name[32] = "";

	if (access(CONGESTION, W_OK) < 0)
		return true;
	return fd_read_file(CONGESTION, name, sizeof(name)) > 0 && strcmp(name, "reno\n") == 0;
}

/* Makes a router, in a namespace that the process is in from now on. 0, or the code to end with. */
static int make_router(const struct router_config *c, enum router_queue *queue)
{
	struct err e = {.code = 0};

	if (unshare(CLONE_NEWNET) < 0)
		return 2;
	return router_set_up(c, queue, &e) ? fails("set-up", &e) : 0;
}

static int set_up(void *arg)
{
	const struct router_config *c = arg;
	enum router_queue queue;
	int code = make_router(c, &queue);

	if (code)
		return code;
	if (queue < c->best_queue)
		return 5;
	if (!if_nametoindex(ROUTER_IFNAME))
		return 3;
	if (!paces_nothing())
		return 6;
	return box_has(c->ifname) == 1 ? 0 : 4;
}

static void test_set_up(void **state)
{
	(void)state;
	for (unsigned workers = 1; workers <= 64; workers = workers * 8) {
		struct router_config c = config(workers, true);
		char name[IFNAMSIZ];

		snprintf(name, sizeof(name), "tap%u", workers);
		c.ifname = name;
		run(set_up, &c);
	}
}

/* As on a kernel without queues. */
static void test_without_queue(void **state)
{
	struct router_config c = config(3, true);

	(void)state;
	c.ifname = "noqueue0";
	c.best_queue = ROUTER_QUEUE_NONE;
	run(set_up, &c);
}

/* Whether the interface of the current namespace has a carrier and may send. */
static bool runs(const char *ifname)
{
	auto_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {0};

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
	return ioctl(fd, SIOCGIFFLAGS, &ifr) == 0 && (ifr.ifr_flags & IFF_RUNNING);
}

/* The kernel makes the router's end able to send some time after the command's is up. */
static int pair(void *arg)
{
	struct router_config c = config(2, false);
	struct netif_config inside = {.ifname = "pair0"};
	struct err e = {.code = 0};
	enum router_queue queue;
	auto_fd int router_fd = -1;
	int code;

	(void)arg;
	c.ifname = inside.ifname;
	code = make_router(&c, &queue);
	if (code)
		return code;
	router_fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (setns(shared_box.netns_fd, CLONE_NEWNET) < 0)
		return 3;
	if (netif_configure(&inside, &e) || netif_wait_pair(inside.ifname, &e))
		return fails("pair", &e);
	if (!runs(inside.ifname) || setns(router_fd, CLONE_NEWNET) < 0 || !runs(ROUTER_IFNAME))
		return 4;
	return 0;
}

static void test_pair(void **state)
{
	(void)state;
	run(pair, NULL);
}

/* One end was not brought up, or there is no such interface. */
static int no_pair(void *arg)
{
	struct router_config c = config(2, false);
	struct err e = {.code = 0};
	enum router_queue queue;
	int code;

	(void)arg;
	c.ifname = "down0";
	code = make_router(&c, &queue);
	if (code)
		return code;
	if (netif_wait_pair(ROUTER_IFNAME, &e) != -ETIMEDOUT || !strstr(e.msg, ROUTER_IFNAME))
		return fails("an end that is down", &e);
	if (netif_wait_pair("nosuch0", &e) != -ENODEV || !strstr(e.msg, "nosuch0"))
		return fails("no such interface", &e);
	return 0;
}

static void test_no_pair(void **state)
{
	(void)state;
	run(no_pair, NULL);
}

static int name_taken(void *arg)
{
	struct router_config c = config(2, false);
	struct err e = {.code = 0};
	enum router_queue queue;

	(void)arg;
	c.ifname = "lo";
	if (unshare(CLONE_NEWNET) < 0)
		return 2;
	if (router_set_up(&c, &queue, &e) == 0 || !strstr(e.msg, "interface lo"))
		return fails("a name that is taken", &e);
	return 0;
}

static void test_name_taken(void **state)
{
	(void)state;
	run(name_taken, NULL);
}

static int without_rights(void *arg)
{
	struct router_config c = config(2, false);
	struct err e = {.code = 0};
	enum router_queue queue;

	(void)arg;
	if (unshare(CLONE_NEWNET) < 0)
		return 2;
	capng_clear(CAPNG_SELECT_BOTH);
	if (capng_apply(CAPNG_SELECT_CAPS) < 0)
		return 2;
	return router_set_up(&c, &queue, &e) < 0 && e.msg[0] ? 0 : 3;
}

static void test_without_rights(void **state)
{
	(void)state;
	run(without_rights, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set_up),	   cmocka_unit_test(test_without_queue),
		cmocka_unit_test(test_pair),	   cmocka_unit_test(test_no_pair),
		cmocka_unit_test(test_name_taken), cmocka_unit_test(test_without_rights),
	};

	return cmocka_run_group_tests(tests, shared_box_open, shared_box_close);
}
