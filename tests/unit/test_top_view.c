/* SPDX-License-Identifier: Apache-2.0 */
/* The screen of rootlessctl top, at every size. */
#include "cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "ctl/top_view.h"

static struct top_view view;
static char *text;

static int setup(void **state)
{
	(void)state;
	view = (struct top_view){.n = 0};
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	top_view_free(&view);
	free(text);
	text = NULL;
	return 0;
}

static json_t *port(int id, int flows, int opened, int in, int out)
{
	return json_pack("{s:i,s:{s:s,s:s,s:i},s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i}", "id", id, "spec",
			 "proto", "tcp", "parentIP", "127.0.0.1", "parentPort", 8000 + id, "flows",
			 flows, "opened", opened, "bytesIn", in, "bytesOut", out, "datagramsIn", id,
			 "datagramsOut", 0, "errors", 0, "dropped", 0);
}

/* The answer of GET /v1/stats with these ports, which it takes over. */
static json_t *stats_of(json_t *ports)
{
	return json_pack("{s:s,s:[{},{}],s:{s:{s:i,s:i,s:i},s:{s:i}},s:o}", "dataplane", "epoll",
			 "workers", "total", "tcp", "flows", 3, "bytesIn", 5000, "accepted", 7,
			 "udp", "flows", 1, "ports", ports);
}

static void take(json_t *ports, json_t *ports_before, double seconds)
{
	json_t *stats = stats_of(ports);
	json_t *before = ports_before ? stats_of(ports_before) : NULL;

	assert_int_equal(top_view_take(&view, stats, before, seconds, NULL), 0);
	json_decref(stats);
	json_decref(before);
}

static const char *screen(size_t cols, size_t lines)
{
	size_t len;
	FILE *file;

	free(text);
	file = open_memstream(&text, &len);
	top_view_put(&view, cols, lines, "\n", file);
	fclose(file);
	return text;
}

static void assert_ids(const char *want)
{
	char have[256] = "";

	for (size_t i = 0; i < view.n; i++)
		sprintf(have + strlen(have), "%d ", view.rows[i].id);
	assert_string_equal(have, want);
}

static void take_three(void)
{
	take(json_pack("[o,o,o]", port(1, 9, 10, 100, 0), port(2, 5, 30, 5000, 7000000),
		       port(4, 7, 20, 2000, 0)),
	     json_pack("[o,o,o]", port(1, 9, 4, 100, 0), port(2, 5, 26, 1000, 1000000),
		       port(3, 1, 1, 1, 1)),
	     2);
}

static void test_rates(void **state)
{
	(void)state;
	take_three();
	assert_ids("2 1 4 ");
	assert_true(view.rows[0].bytes_in > 1999 && view.rows[0].bytes_in < 2001);
	assert_non_null(strstr(screen(80, 24), "    2 tcp  127.0.0.1:8002             5       2"
					       "     2.0k     3.0M       0      0\n"));
	/* A port that is new has no rates. A counter that went back counts from 0. */
	take(json_pack("[o]", port(1, 0, 0, 50, 0)), json_pack("[o]", port(1, 0, 0, 9999, 0)), 1);
	assert_true(view.rows[0].bytes_in > 49 && view.rows[0].bytes_in < 51);
	assert_non_null(strstr(screen(80, 24), ", 1 port, "));
	take(json_pack("[o]", port(1, 3, 2, 1, 1)), NULL, 1);
	assert_true(view.rows[0].bytes_in < 0.1);
	assert_true(view.rows[0].flows > 2.9);
}

static void test_orders(void **state)
{
	static const char *const want[TOP_ORDERS] = {"2 1 4 ", "1 4 2 ", "1 2 4 ",
						     "1 2 4 ", "1 2 4 ", "1 2 4 "};

	(void)state;
	take_three();
	for (int i = 0; i < TOP_ORDERS; i++) {
		view.order = (enum top_order)i;
		top_view_sort(&view);
		assert_ids(want[i]);
	}
	view.order = TOP_ID;
	view.reversed = true;
	top_view_sort(&view);
	assert_ids("4 2 1 ");
}

/* At every size there are as many lines as asked for, and none is too wide. */
static void test_sizes(void **state)
{
	static const size_t sizes[][2] = {{80, 24}, {200, 60}, {79, 24}, {40, 10}, {10, 4},
					  {1, 1},   {80, 1},   {80, 2},	 {80, 3},  {3, 50}};
	json_t *ports = json_array();

	(void)state;
	for (int i = 1; i <= 100; i++)
		json_array_append_new(ports, port(i, i, i, i * 1000000, i));
	take(ports, json_array(), 1);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		const char *at = screen(sizes[i][0], sizes[i][1]);
		size_t lines = 1;

		for (; *at; at += strcspn(at, "\n")) {
			lines += *at == '\n';
			at += *at == '\n';
			assert_true(strcspn(at, "\n") <= sizes[i][0]);
		}
		assert_int_equal(lines, sizes[i][1]);
	}
}

/* With 80 columns the longest IPv4 address is shown whole, and so are all columns. */
static void test_80_columns(void **state)
{
	json_t *ports = json_pack("[{s:i,s:{s:s,s:s,s:i},s:I}]", "id", 65536, "spec", "proto",
				  "tcp4", "parentIP", "255.255.255.255", "parentPort", 65535,
				  "bytesIn", (json_int_t)1 << 60);

	(void)state;
	take(ports, json_pack("[{s:i}]", "id", 65536), 1);
	assert_non_null(
		strstr(screen(80, 24),
		       "\n   ID PROT PARENT                 FLOWS  OPEN/S     IN/S    OUT/S "
		       "DGRAM/S  ERR/S\n65536 tcp4 255.255.255.255:65535      0       0     1.2E"
		       "        0       0      0\n"));
}

/* A number is whole or not there: one without its last digits would be another. */
static void test_foot_of_thousands(void **state)
{
	json_t *ports = json_array();

	(void)state;
	for (int i = 1; i <= 10000; i++)
		json_array_append_new(ports, port(i, 0, 0, 0, 0));
	take(ports, NULL, 1);
	view.order = TOP_DATAGRAMS;
	view.reversed = true;
	view.paused = true;
	top_view_scroll(&view, 100000, 24);
	assert_non_null(strstr(screen(80, 24), "\n9981-10000 of 10000 by datagrams (reversed): "
					       "q quit, space go on, arrows "));
	take(json_array(), NULL, 1);
	top_view_scroll(&view, 0, 24);
	assert_non_null(strstr(screen(80, 24), "\n0-0 of 0 by "));
}

static void test_scrolling(void **state)
{
	json_t *ports = json_array();

	(void)state;
	for (int i = 1; i <= 50; i++)
		json_array_append_new(ports, port(i, 0, 0, 0, 0));
	take(ports, NULL, 1);
	assert_int_equal(top_view_page(24), 20);
	assert_int_equal(top_view_page(3), 0);
	top_view_scroll(&view, -5, 24);
	assert_int_equal(view.scroll, 0);
	top_view_scroll(&view, 7, 24);
	assert_int_equal(view.scroll, 7);
	assert_non_null(strstr(screen(80, 24), "\n8-27 of 50 by bytes: q quit"));
	top_view_scroll(&view, 100, 24);
	assert_int_equal(view.scroll, 30);
	top_view_scroll(&view, 0, 60); /* the window has grown */
	assert_int_equal(view.scroll, 0);
	top_view_scroll(&view, 10, 24);
	take(json_pack("[o]", port(1, 0, 0, 0, 0)), NULL, 1); /* ports have gone */
	top_view_scroll(&view, 0, 24);
	assert_int_equal(view.scroll, 0);
}

static void test_nonsense(void **state)
{
	json_t *stats = json_pack("{s:{},s:[i,{s:s,s:{s:s}}]}", "total", "ports", 1, "id", "x",
				  "spec", "parentIP", "\033[2J\xc2\x9b");
	json_t *none = json_object();
	struct err e;

	(void)state;
	assert_int_equal(top_view_take(&view, none, NULL, 1, &e), -EPROTO);
	assert_int_equal(top_view_take(&view, stats, none, 1, &e), 0);
	assert_null(strchr(screen(80, 24), '\033'));
	json_decref(stats);
	json_decref(none);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_rates),
		TEST(test_orders),
		TEST(test_sizes),
		TEST(test_80_columns),
		TEST(test_scrolling),
		TEST(test_nonsense),
		TEST(test_foot_of_thousands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
