/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "fake_port_driver.h"
#include "ports/table.h"

static struct port_driver drv;
static struct ports *ports;
static int last_id, answers;
static size_t last_n;
static char last_error[1024];

static int setup(void **state)
{
	(void)state;
	drv = (struct port_driver){.immediate = true};
	answers = 0;
	return ports_open(&fake_ops, &drv, &ports);
}

static int teardown(void **state)
{
	(void)state;
	ports_close(ports);
	return 0;
}

static void on_added(void *arg, const struct port *const *added, size_t n, const struct err *e)
{
	(void)arg;
	answers++;
	last_n = n;
	last_id = n ? added[0]->id : 0;
	snprintf(last_error, sizeof(last_error), "%s", e ? e->msg : "");
}

static void on_removed(void *arg, const struct err *e)
{
	(void)arg;
	answers++;
	snprintf(last_error, sizeof(last_error), "%s", e ? e->msg : "");
}

static void add(const char *text)
{
	struct port_spec spec;

	assert_int_equal(portspec_parse(text, &spec, NULL), 0);
	ports_add(ports, &spec, 1, on_added, NULL);
}

static int count(void *arg, const struct port *port)
{
	char *list = arg;

	sprintf(list + strlen(list), "%d ", port->id);
	return 0;
}

static void assert_list(const char *want)
{
	char list[256] = "";

	ports_each(ports, count, list);
	assert_string_equal(list, want);
}

static void test_ids_count_up(void **state)
{
	(void)state;
	add("127.0.0.1:1:80/tcp");
	add("127.0.0.1:2:80/tcp");
	assert_int_equal(last_id, 2);
	ports_remove(ports, 2, 2, on_removed, NULL);
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
	assert_non_null(strstr(last_error, "address already in use")); /* and no conflict */
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
	ports_add(ports, &spec, 1, on_added, NULL);
	assert_string_equal(last_error, "the port driver fake does not listen in the namespace, so "
					"there can be no childListenIP: builtin does");
	assert_int_equal(drv.added, 0);
}

static void test_unknown_ids(void **state)
{
	(void)state;
	ports_remove(ports, 1, 1, on_removed, NULL);
	assert_string_equal(last_error, "unknown id: 1");
	add("127.0.0.1:1:80/tcp");
	ports_remove(ports, (1ll << 32) + 1, (1ll << 32) + 1, on_removed, NULL);
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
	add("127.0.0.1:1:80/tcp"); /* its twin is blocked already */
	assert_string_equal(last_error, "conflict with ID 1");
	ports_remove(ports, 1, 1, on_removed, NULL); /* it is not there yet */
	assert_string_equal(last_error, "unknown id: 1");
	fake_answer(&drv);
	assert_int_equal(last_id, 1);
	assert_list("1 ");
	ports_remove(ports, 1, 1, on_removed, NULL);
	assert_list("");
	ports_remove(ports, 1, 1, on_removed, NULL);
	assert_string_equal(last_error, "unknown id: 1");
	add("127.0.0.1:1:80/tcp"); /* it still holds the address */
	assert_string_equal(last_error, "conflict with ID 1");
	fake_answer(&drv);
	assert_string_equal(last_error, "");
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
	/* The first conflict is named, and the driver not asked. */
	drv.added = 0;
	add("127.0.0.1:8-20:1-13/tcp");
	assert_string_equal(last_error, "port 10: conflict with ID 2");
	assert_int_equal(drv.added, 0);
	ports_remove(ports, 3, 8, on_removed, NULL);
	assert_string_equal(last_error, "unknown id: 8");
	ports_remove(ports, 8, 3, on_removed, NULL);
	assert_string_equal(last_error, "no range of ids: 8-3");
	assert_list("1 2 3 4 5 6 7 ");
	ports_remove(ports, 3, 6, on_removed, NULL);
	assert_string_equal(last_error, "");
	assert_list("1 2 7 ");
	add("127.0.0.1:3:80/tcp");
	assert_int_equal(last_id, 8);
}

/* The driver refuses one in the middle: the others go again, and take no numbers. */
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

static void add_all(const char *const *texts, size_t n)
{
	struct port_spec specs[8] = {{.count = 0}};

	for (size_t i = 0; i < n; i++)
		assert_int_equal(portspec_parse(texts[i], &specs[i], NULL), 0);
	ports_add(ports, specs, n, on_added, NULL);
}

/* Several specs: those before the first that cannot be had are there. */
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
	add("127.0.0.1:30:1/tcp"); /* what was taken back has taken no number */
	assert_int_equal(last_id, 6);
	add_all(conflict, 0);
	assert_int_equal(last_n, 0);
	assert_string_equal(last_error, "");
}

static void answer_all(void)
{
	while (drv.n_waiting)
		fake_answer(&drv);
}

/* No more is asked for at a time than the driver takes (4), and nothing shows before all is there.
 */
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
	ports_remove(ports, 1, 1, on_removed, NULL);
	assert_string_equal(last_error, "unknown id: 1");
	/* Another port comes in between: the numbers of the range are taken. */
	add("127.0.0.1:99:1/tcp");
	answer_all();
	assert_list("1 2 3 4 5 6 7 8 9 10 11 ");
	ports_remove(ports, 1, 10, on_removed, NULL);
	assert_int_equal(drv.n_waiting, 4);
	answer_all();
	assert_list("11 ");
	/* One fails while others are under way; a port that came meanwhile keeps its number. */
	add("127.0.0.1:664-670:1-7/tcp");
	add("127.0.0.1:98:1/tcp");
	answer_all();
	assert_list("11 19 ");
	add("127.0.0.1:97:1/tcp");
	answer_all();
	assert_int_equal(last_id, 20);
}

static void close_now(void)
{
	int before = answers;

	ports_close(ports);
	ports = NULL;
	assert_int_equal(answers, before + 1);
	assert_string_equal(last_error, "rootlesskit is ending");
}

/* While a range is added, taken back, removed: its request is answered once. */
static void test_closing_with_a_range_pending(void **state)
{
	(void)state;
	drv.immediate = false;
	add("127.0.0.1:1-10:1-10/tcp");
	fake_answer(&drv);
	close_now();

	setup(NULL);
	drv.immediate = false;
	add("127.0.0.1:665-670:1-6/tcp");
	for (int i = 0; i < 5; i++)
		fake_answer(&drv);
	assert_int_equal(drv.removed, 4);
	ports_close(ports);
	ports = NULL;
	assert_int_equal(answers, 1);

	setup(NULL);
	add("127.0.0.1:1-10:1-10/tcp");
	drv.immediate = false;
	ports_remove(ports, 1, 10, on_removed, NULL);
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

static void test_closing_with_requests_pending(void **state)
{
	int before;

	(void)state;
	add("127.0.0.1:1:80/tcp");
	drv.immediate = false;
	ports_remove(ports, 1, 1, on_removed, NULL);
	add("127.0.0.1:2:80/tcp");
	before = answers;
	ports_close(ports);
	ports = NULL;
	assert_int_equal(answers, before + 2);
	assert_int_equal(last_id, 0);
	assert_string_equal(last_error, "rootlesskit is ending");
}

/* An address that is in use is tried again for a while, when that is asked for. */
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
	add("127.0.0.3:666:80/tcp"); /* nobody is waited for any more */
	assert_int_equal(answers, 3);

	ports_await_predecessor(ports, loop, 10000);
	add("127.0.0.4:666:80/tcp"); /* teardown gives it up */
	ports_close(ports);
	ports = NULL;
	assert_int_equal(answers, 4);
	assert_non_null(strstr(last_error, "ending"));
	loop_close(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ids_count_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failed_add_leaves_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_conflicts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_invalid_never_reaches_the_driver, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_child_listen_ip_is_not_for_every_driver, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_unknown_ids, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slow_driver, setup, teardown),
		cmocka_unit_test_setup_teardown(test_range, setup, teardown),
		cmocka_unit_test_setup_teardown(test_range_that_cannot_be_had, setup, teardown),
		cmocka_unit_test_setup_teardown(test_some_of_an_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_range_of_a_slow_driver, setup, teardown),
		cmocka_unit_test_setup_teardown(test_closing_with_a_range_pending, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ranges_and_the_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_predecessor, setup, teardown),
		cmocka_unit_test_setup_teardown(test_closing_with_requests_pending, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
