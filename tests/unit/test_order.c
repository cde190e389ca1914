/* SPDX-License-Identifier: Apache-2.0 */
/* Requests for ranges and for several ports (ports/order.c), over a driver that the test plays. */
#include "cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "ports_world.h"

static void answer_all(void)
{
	while (drv.n_waiting)
		fake_answer(&drv);
}

static int count_ranges(void *arg, const struct port *port)
{
	char *list = arg;

	sprintf(list + strlen(list), "%d/%d ", port->id, port->range);
	return 0;
}

static void test_range(void **state)
{
	char list[256] = "";

	(void)state;
	add("127.0.0.1:1:80/tcp");
	add("127.0.0.1:10-15:80-85/tcp");
	assert_int_equal(last_id, 2);
	assert_string_equal(last_error, "");
	ports_each(ports, count_ranges, list);
	assert_string_equal(list, "1/0 2/2 3/2 4/2 5/2 6/2 7/2 ");
	add("127.0.0.1:12:80/tcp");
	assert_string_equal(last_error, "conflict with ID 4");
	/* The error names the first conflict, and the driver is not asked for any port. */
	drv.added = 0;
	add("127.0.0.1:8-20:1-13/tcp");
	assert_string_equal(last_error, "port 10: conflict with ID 2");
	assert_int_equal(drv.added, 0);
	remove_ids(3, 8);
	assert_string_equal(last_error, "unknown id: 8");
	remove_ids(8, 3);
	assert_string_equal(last_error, "no range of ids: 8-3");
	assert_list("1 2 3 4 5 6 7 ");
	remove_ids(3, 6);
	assert_string_equal(last_error, "");
	assert_list("1 2 7 ");
	add("127.0.0.1:3:80/tcp");
	assert_int_equal(last_id, 8);
}

/* The driver refuses a port in the middle of a range. The others are taken back, and their numbers
 * are used again. */
static void test_range_that_cannot_be_had(void **state)
{
	(void)state;
	add("127.0.0.1:660-670:660-670/tcp");
	assert_int_equal(last_id, 0);
	assert_string_equal(last_error, "listen tcp 127.0.0.1:666: bind: address already in use");
	assert_int_equal(drv.removed, 6);
	assert_list("");
	add("127.0.0.1:660:80/tcp");
	assert_int_equal(last_id, 1);
	add("127.0.0.1:666-667:1-2/tcp");
	assert_int_equal(last_id, 0);
	add("127.0.0.1:667-668:1-2/tcp");
	assert_int_equal(last_id, 2);
}

/* Of several specs, those before the first that fails are published. */
static void test_some_of_an_order(void **state)
{
	static const char *const conflict[] = {"127.0.0.1:1:1/tcp", "127.0.0.1:10-12:1-3/tcp",
					       "127.0.0.1:11:1/tcp", "127.0.0.1:2:1/tcp"};
	static const char *const refused[] = {"127.0.0.1:20:1/tcp", "127.0.0.1:664-667:1-4/tcp",
					      "127.0.0.1:21:1/tcp"};

	(void)state;
	add_all(conflict, 4);
	assert_int_equal(last_n, 2);
	assert_string_equal(last_error, "conflict with ID 3");
	assert_list("1 2 3 4 ");
	add_all(refused, 3);
	assert_int_equal(last_n, 1);
	assert_int_equal(last_id, 5);
	assert_string_equal(last_error, "listen tcp 127.0.0.1:666: bind: address already in use");
	assert_list("1 2 3 4 5 ");
	add("127.0.0.1:30:1/tcp"); /* the ports that were taken back have left their numbers */
	assert_int_equal(last_id, 6);
	add_all(conflict, 0);
	assert_int_equal(last_n, 0);
	assert_string_equal(last_error, "");
}

/* Several ports of a request fail. The error is that of the first in the request's order, whichever
 * the driver answers first. */
static void test_first_failure_is_told(void **state)
{
	static const char *const texts[] = {"127.0.0.1:1:1/tcp", "127.0.0.2:666:1/tcp",
					    "127.0.0.3:666:1/tcp", "127.0.0.1:2:1/tcp"};
	static void (*const ways[])(struct port_driver *) = {fake_answer, fake_answer_last};

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		drv.immediate = false;
		add_all(texts, 4);
		assert_int_equal(drv.n_waiting, 4);
		for (int k = 0; k < 4; k++)
			ways[i](&drv);
		/* The last port was live: it is taken back before the request is answered. */
		assert_int_equal(answers, 0);
		answer_all();
		assert_int_equal(answers, 1);
		assert_int_equal(last_n, 1);
		assert_string_equal(last_error,
				    "listen tcp 127.0.0.2:666: bind: address already in use");
		assert_list("1 ");
		close_ports();
		ports_setup(state);
	}
}

/* A port that cannot be taken back stays, and the list shows it. Its number is not used again. */
static void test_port_that_cannot_be_taken_back(void **state)
{
	(void)state;
	drv.fail_remove = 665;
	add("127.0.0.1:664-670:1-7/tcp");
	assert_int_equal(last_n, 0);
	assert_string_equal(last_error, "listen tcp 127.0.0.1:666: bind: address already in use");
	assert_list("2 ");
	add("127.0.0.1:665:1/tcp");
	assert_string_equal(last_error, "conflict with ID 2");
	add("127.0.0.1:30:1/tcp");
	assert_int_equal(last_id, 8);
	drv.fail_remove = 0;
	remove_ids(2, 2);
	assert_string_equal(last_error, "");
	assert_list("8 ");
}

/* The driver cannot remove a port in the middle of a range. The others are removed all the same. */
static void test_port_that_cannot_be_removed(void **state)
{
	(void)state;
	add("127.0.0.1:10-15:1-6/tcp");
	drv.fail_remove = 12;
	remove_ids(1, 6);
	assert_string_equal(last_error, "port 12 stays");
	assert_list("3 ");
	drv.fail_remove = 0;
	remove_ids(3, 3);
	assert_string_equal(last_error, "");
	assert_list("");
}

/* A driver that does not say how many ports it takes at a time is asked for one after the other. */
static void test_one_at_a_time(void **state)
{
	struct port_driver_ops ops = fake_ops;

	(void)state;
	ops.batch_max = 0;
	close_ports();
	assert_int_equal(ports_open(&ops, &drv, &ports), 0);
	drv.immediate = false;
	add("127.0.0.1:1-3:1-3/tcp");
	for (int i = 0; i < 3; i++) {
		assert_int_equal(drv.n_waiting, 1);
		assert_int_equal(answers, 0);
		fake_answer(&drv);
	}
	assert_int_equal(answers, 1);
	assert_list("1 2 3 ");
	close_ports(); /* before ops goes */
}

/* The driver is asked for as many ports at a time as it takes (4). The list shows none of a range
 * before all are there. */
static void test_range_of_a_slow_driver(void **state)
{
	(void)state;
	drv.immediate = false;
	add("127.0.0.1:1-10:1-10/tcp");
	assert_int_equal(drv.n_waiting, 4);
	for (int i = 0; i < 9; i++) {
		fake_answer(&drv);
		assert_list("");
	}
	remove_ids(1, 1);
	assert_string_equal(last_error, "unknown id: 1");
	/* A port that is added meanwhile gets a number after those of the range. */
	add("127.0.0.1:99:1/tcp");
	answer_all();
	assert_list("1 2 3 4 5 6 7 8 9 10 11 ");
	remove_ids(1, 10);
	assert_int_equal(drv.n_waiting, 4);
	answer_all();
	assert_list("11 ");
	/* A port fails while others are under way. One that was added meanwhile keeps its number,
	 * so those of the range are not used again. */
	add("127.0.0.1:664-670:1-7/tcp");
	add("127.0.0.1:98:1/tcp");
	answer_all();
	assert_list("11 19 ");
	add("127.0.0.1:97:1/tcp");
	answer_all();
	assert_int_equal(last_id, 20);
}

/* Closes the table: the one request that waits is answered. */
static void close_now(void)
{
	unsigned before = answers;

	close_ports();
	assert_int_equal(answers, before + 1);
	assert_string_equal(last_error, "rootlesskit is ending");
}

/* The table is closed while a range is added, taken back or removed. The request is answered once.
 */
static void test_closing_with_a_range_pending(void **state)
{
	(void)state;
	drv.immediate = false;
	add("127.0.0.1:1-10:1-10/tcp");
	fake_answer(&drv);
	close_now();

	ports_setup(NULL);
	drv.immediate = false;
	add("127.0.0.1:665-670:1-6/tcp");
	for (int i = 0; i < 5; i++)
		fake_answer(&drv);
	assert_int_equal(drv.removed, 4);
	close_ports();
	assert_int_equal(answers, 1);

	ports_setup(NULL);
	add("127.0.0.1:1-10:1-10/tcp");
	drv.immediate = false;
	remove_ids(1, 10);
	fake_answer(&drv);
	close_now();
}

static void test_ranges_and_the_limit(void **state)
{
	(void)state;
	add("127.0.0.1:1-65:1-65/udp");
	for (int i = 1; i < 66; i++) {
		char text[64];

		snprintf(text, sizeof(text), "127.0.1.%d:1000-1999:1000-1999/tcp", i);
		add(text);
		assert_string_equal(last_error, "");
	}
	add("127.0.0.2:1000-1471:1000-1471/udp");
	assert_string_equal(last_error, "65065 ports are published, and no more than 65536 can "
					"be: a range of 472 does not fit");
	add("127.0.0.2:1000-1470:1000-1470/udp");
	assert_string_equal(last_error, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_range, ports_setup, ports_teardown),
		cmocka_unit_test_setup_teardown(test_range_that_cannot_be_had, ports_setup,
						ports_teardown),
		cmocka_unit_test_setup_teardown(test_some_of_an_order, ports_setup, ports_teardown),
		cmocka_unit_test_setup_teardown(test_first_failure_is_told, ports_setup,
						ports_teardown),
		cmocka_unit_test_setup_teardown(test_port_that_cannot_be_taken_back, ports_setup,
						ports_teardown),
		cmocka_unit_test_setup_teardown(test_port_that_cannot_be_removed, ports_setup,
						ports_teardown),
		cmocka_unit_test_setup_teardown(test_range_of_a_slow_driver, ports_setup,
						ports_teardown),
		cmocka_unit_test_setup_teardown(test_one_at_a_time, ports_setup, ports_teardown),
		cmocka_unit_test_setup_teardown(test_closing_with_a_range_pending, ports_setup,
						ports_teardown),
		cmocka_unit_test_setup_teardown(test_ranges_and_the_limit, ports_setup,
						ports_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
