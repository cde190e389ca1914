/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "drivers/driver.h"

static void test_find(void **state)
{
	static const char *const nets[] = {"none",   "slirp4netns",  "pasta",
					   "vpnkit", "lxc-user-nic", "vdeplug_slirp"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(nets); i++) {
		const struct net_driver_ops *ops = net_driver_find(nets[i]);

		assert_non_null(ops);
		assert_string_equal(ops->name, nets[i]);
		assert_true(ops->start && ops->watch && ops->stop);
	}
	assert_null(net_driver_find("host"));
	assert_null(net_driver_find(""));
	assert_null(port_driver_find("none"));
	assert_null(port_driver_find("implicit"));
	assert_null(port_driver_find("nonsense"));
}

/* Every driver that is named can be found. */
static void test_named_means_there(void **state)
{
	char names[256], *rest = names, *name;
	struct err e;

	(void)state;
	net_driver_names(names, sizeof(names));
	assert_int_equal(strncmp(names, "host, builtin, none, slirp4netns, ", 34), 0);
	while ((name = strsep(&rest, ","))) {
		name += *name == ' ';
		assert_int_equal(net_driver_check(name, &e), 0);
		assert_true(net_driver_find(name) || !strcmp(name, "host"));
	}
	rest = names;
	port_driver_names(names, sizeof(names));
	assert_int_equal(strncmp(names, "none, builtin, slirp4netns, socat", 33), 0);
	while ((name = strsep(&rest, ","))) {
		name += *name == ' ';
		assert_int_equal(port_driver_check(name, &e), 0);
		assert_true(port_driver_find(name) || !strcmp(name, "none") ||
			    !strcmp(name, "implicit"));
	}
}

static void test_unknown(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(net_driver_check("bridge", &e), -EINVAL);
	assert_non_null(strstr(
		e.msg,
		"unknown network mode: bridge; available: host, builtin, none, slirp4netns"));
	assert_int_equal(port_driver_check("x", &e), -EINVAL);
	assert_non_null(strstr(e.msg, "unknown port driver: x; available: none, builtin"));
}

/* The network that the message recommends is one that is taken. */
static void test_advice(void **state)
{
	static const char *const ports[] = {"builtin",	"slirp4netns", "socat",
					    "implicit", "pesto",       "gvisor-tap-vsock"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ports); i++) {
		struct err e = {0};
		char net[32] = "";
		const char *at;

		assert_int_equal(driver_check_combination("host", ports[i], &e), -EINVAL);
		at = strstr(e.msg, "--net=");
		assert_non_null(at);
		snprintf(net, sizeof(net), "%.*s", (int)strcspn(at + 6, ","), at + 6);
		if (driver_check_combination(net, ports[i], &e) != 0)
			fail_msg("%s", e.msg);
	}
}

/* All pairs of drivers. A table has the words of the refusal; NULL: they go together. */
static void test_combinations(void **state)
{
	static const char *const nets[] = {"host", "none", "slirp4netns", "vpnkit", "pasta"};
	static const struct {
		const char *port;
		const char *say[5];
	} rows[] = {
		{"none", {NULL, NULL, NULL, NULL, NULL}},
		{"builtin",
		 {"port driver requires non-host network", NULL, NULL, NULL,
		  "--net=pasta goes with --port-driver=none, implicit or pesto, not with builtin"}},
		{"slirp4netns",
		 {"port driver requires non-host network",
		  "port driver requires slirp4netns network", NULL, "requires slirp4netns network",
		  "requires slirp4netns network"}},
		{"socat",
		 {"port driver requires non-host network",
		  "--net=none goes with --port-driver=none or builtin, not with socat", NULL, NULL,
		  "--net=pasta goes with"}},
		{"implicit",
		 {"port driver requires non-host network",
		  "goes with --net=builtin or pasta, not with --net=none",
		  "not with --net=slirp4netns", "not with --net=vpnkit", NULL}},
		{"pesto",
		 {"port driver requires non-host network",
		  "goes with --net=pasta, not with --net=none", "not with --net=slirp4netns",
		  "not with --net=vpnkit", NULL}},
		{"foo",
		 {"unknown port driver", "unknown port driver", "unknown port driver",
		  "unknown port driver", "unknown port driver"}},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		for (size_t j = 0; j < 5; j++) {
			struct err e = {0};
			int code = driver_check_combination(nets[j], rows[i].port, &e);

			assert_int_equal(code, rows[i].say[j] ? -EINVAL : 0);
			if (rows[i].say[j] && !strstr(e.msg, rows[i].say[j]))
				fail_msg("%s with %s: %s", rows[i].port, nets[j], e.msg);
		}
	}
}

static void test_none(void **state)
{
	const struct net_driver_ops *none = net_driver_find("none");
	struct net_params p = {0};
	struct net_target t = {.abort_fd = -1};
	struct net_driver *drv = (void *)1;
	struct net_result r;
	struct err e;

	(void)state;
	memset(&r, 0xff, sizeof(r));
	assert_int_equal(none->start(&p, &t, &drv, &r, &e), 0);
	assert_string_equal(r.driver, "none");
	assert_false(r.configure);
	assert_string_equal(r.ip, "");
	assert_string_equal(r.ifname, "");
	assert_string_equal(r.dns[0], "");
	assert_int_equal(none->watch(drv, NULL, NULL, NULL), 0);
	none->stop(drv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),	     cmocka_unit_test(test_named_means_there),
		cmocka_unit_test(test_unknown),	     cmocka_unit_test(test_advice),
		cmocka_unit_test(test_combinations), cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
