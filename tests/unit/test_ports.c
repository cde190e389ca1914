/* SPDX-License-Identifier: Apache-2.0 */
/* The table of ports, one request for one port. Ranges and requests for several ports: test_order.
 */
#include "cmocka_all.h"

#include <string.h>

#include "ports_world.h"

static void test_ids_count_up(void **state)
{
	(void)state;
	add("127.0.0.1:1:80/tcp");
	add("127.0.0.1:2:80/tcp");
	assert_int_equal(last_id, 2);
	remove_ids(2, 2);
	assert_string_equal(last_error, "");
	add("127.0.0.1:2:80/tcp");
	assert_int_equal(last_id, 3);
	assert_list("1 3 ");
}

static void test_failed_add_leaves_nothing(void **state)
{
	(void)state;
	add("127.0.0.1:666:80/tcp");
	assert_int_equal(last_id, 0);
	assert_non_null(strstr(last_error, "address already in use"));
	add("127.0.0.1:666:80/tcp");
	assert_non_null(strstr(last_error,
			       "address already in use")); /* it is no conflict: nothing was left */
	add("127.0.0.1:1:80/tcp");
	assert_int_equal(last_id, 1);
	assert_list("1 ");
}

static void test_conflicts(void **state)
{
	(void)state;
	add("127.0.0.1:1:80/tcp");
	add("127.0.0.1:1:81/tcp");
	assert_string_equal(last_error, "conflict with ID 1");
	add("127.0.0.1:1:80/tcp4");
	assert_int_equal(last_id, 2);
	assert_int_equal(drv.added, 2);
}

static void test_invalid_never_reaches_the_driver(void **state)
{
	(void)state;
	add("127.0.0.1:0:80/tcp");
	assert_string_equal(last_error, "invalid ParentPort: 0: it must be 1 to 65535");
	assert_int_equal(drv.added, 0);
}

static void test_child_listen_ip_is_not_for_every_driver(void **state)
{
	struct port_spec spec = {.proto = "tcp",
				 .parent_port = 80,
				 .child_port = 80,
				 .child_listen_ip = "127.0.0.1"};

	(void)state;
	add_spec(&spec);
	assert_string_equal(last_error, "the port driver fake does not listen in the namespace, so "
					"there can be no childListenIP: builtin does");
	assert_int_equal(drv.added, 0);
}

static void test_unknown_ids(void **state)
{
	(void)state;
	remove_ids(1, 1);
	assert_string_equal(last_error, "unknown id: 1");
	add("127.0.0.1:1:80/tcp");
	remove_ids((1ll << 32) + 1, (1ll << 32) + 1);
	assert_string_equal(last_error, "unknown id: 4294967297");
	assert_list("1 ");
}

static void test_slow_driver(void **state)
{
	(void)state;
	drv.immediate = false;
	add("127.0.0.1:1:80/tcp");
	assert_int_equal(answers, 0);
	assert_list("");
	add("127.0.0.1:1:80/tcp"); /* the first one has taken the address already */
	assert_string_equal(last_error, "conflict with ID 1");
	remove_ids(1, 1); /* the port is not there yet */
	assert_string_equal(last_error, "unknown id: 1");
	fake_answer(&drv);
	assert_int_equal(last_id, 1);
	assert_list("1 ");
	remove_ids(1, 1);
	assert_list("");
	remove_ids(1, 1);
	assert_string_equal(last_error, "unknown id: 1");
	add("127.0.0.1:1:80/tcp"); /* the port still has the address */
	assert_string_equal(last_error, "conflict with ID 1");
	fake_answer(&drv);
	assert_string_equal(last_error, "");
}

static void test_closing_with_requests_pending(void **state)
{
	unsigned before;

	(void)state;
	add("127.0.0.1:1:80/tcp");
	drv.immediate = false;
	remove_ids(1, 1);
	add("127.0.0.1:2:80/tcp");
	before = answers;
	close_ports();
	assert_int_equal(answers, before + 2);
	assert_int_equal(last_id, 0);
	assert_string_equal(last_error, "rootlesskit is ending");
}

/* While an instance that was killed may still have its ports, an address that is in use is tried
 * again. */
static void test_predecessor(void **state)
{
	struct loop *loop;
	uint64_t start;

	(void)state;
	assert_int_equal(loop_open(&loop), 0);
	ports_await_predecessor(ports, loop, 200);
	start = loop_now_ms();
	add("127.0.0.1:666:80/tcp");
	assert_int_equal(answers, 0);
	drv.fail_only = 3;
	while (!answers)
		loop_run_once(loop, 1000);
	assert_int_equal(last_id, 1);
	assert_int_equal(drv.added, 4);

	drv.fail_only = 0;
	add("127.0.0.2:666:80/tcp");
	while (answers < 2)
		loop_run_once(loop, 1000);
	assert_true(loop_now_ms() - start >= 200);
	assert_non_null(strstr(last_error, "already in use"));
	add("127.0.0.3:666:80/tcp"); /* the time for that is over */
	assert_int_equal(answers, 3);

	ports_await_predecessor(ports, loop, 10000);
	add("127.0.0.4:666:80/tcp"); /* closing the table ends the tries */
	close_ports();
	assert_int_equal(answers, 4);
	assert_non_null(strstr(last_error, "ending"));
	loop_close(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ids_count_up, ports_setup, ports_teardown),
		cmocka_unit_test_setup_teardown(test_failed_add_leaves_nothing, ports_setup,
						ports_teardown),
		cmocka_unit_test_setup_teardown(test_conflicts, ports_setup, ports_teardown),
		cmocka_unit_test_setup_teardown(test_invalid_never_reaches_the_driver, ports_setup,
						ports_teardown),
		cmocka_unit_test_setup_teardown(test_child_listen_ip_is_not_for_every_driver,
						ports_setup, ports_teardown),
		cmocka_unit_test_setup_teardown(test_unknown_ids, ports_setup, ports_teardown),
		cmocka_unit_test_setup_teardown(test_slow_driver, ports_setup, ports_teardown),
		cmocka_unit_test_setup_teardown(test_predecessor, ports_setup, ports_teardown),
		cmocka_unit_test_setup_teardown(test_closing_with_requests_pending, ports_setup,
						ports_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
