/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/api.h"
#include "api_world.h"
#include "base/limits.h"

static void test_ports(void **state)
{
	const char *a;

	(void)state;
	a = ask_once("GET /v1/ports HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_has(a, "HTTP/1.1 200 OK\r\n");
	assert_has(a, "\r\n\r\nnull");
	a = post(SPEC);
	assert_has(a, "HTTP/1.1 201 Created\r\n");
	assert_has(a, "\r\n\r\n{\"id\":1,\"spec\":" SPEC "}");
	a = post(SPEC);
	assert_has(a, "HTTP/1.1 400 Bad Request\r\n");
	assert_has(a, "\r\n\r\n{\"message\":\"conflict with ID 1\"}\n");
	assert_has(ask_once("GET /v1/ports HTTP/1.1\r\nHost: x\r\n\r\n"),
		   "[{\"id\":1,\"spec\":" SPEC "}]");
	assert_has(ask_once("DELETE /v1/ports/abc HTTP/1.1\r\nHost: x\r\n\r\n"), "bad id abc");
	a = ask_once("DELETE /v1/ports/1 HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_has(a, "HTTP/1.1 200 OK\r\n");
	assert_has(a, "Content-Length: 0\r\n");
	assert_has(ask_once("DELETE /v1/ports/1 HTTP/1.1\r\nHost: x\r\n\r\n"), "unknown id: 1");
}

static void test_batch(void **state)
{
	const char *a;

	(void)state;
	a = post_batch("[" SPEC_OF("1") "," SPEC_OF("2") "]");
	assert_has(a, "HTTP/1.1 201 Created\r\n");
	assert_has(a, "\r\n\r\n[" PORT_OF("1", "1") "," PORT_OF("2", "2") "]");
	/* The table refuses the second port. The third is not tried. */
	a = post_batch("[" SPEC_OF("3") "," SPEC_OF("1") "," SPEC_OF("4") "]");
	assert_has(a, "HTTP/1.1 400 Bad Request\r\n");
	assert_has(a, "{\"message\":\"conflict with ID 1\",\"ports\":[" PORT_OF("3", "3") "]}");
	/* The driver refuses the first port. */
	a = post_batch("[" SPEC_OF("666") "," SPEC_OF("5") "]");
	assert_has(a, "address already in use\",\"ports\":[]}");
	assert_list("\r\n\r\n[" PORT_OF("1", "1") "," PORT_OF("2", "2") "," PORT_OF("3", "3") "]");
	assert_int_equal(drv.removed, 0);
}

static void test_batch_wrong(void **state)
{
	char many[] = "[1,1,1,1,1]";

	(void)state;
	assert_has(post_batch(""), "{\"message\":\"EOF\"}");
	assert_has(post_batch("[]"), "expected an array of 1 to 4 port specs");
	assert_has(post_batch("{}"), "expected an array of 1 to 4 port specs");
	assert_has(post_batch(many), "expected an array of 1 to 4 port specs");
	assert_has(post_batch("[" SPEC_OF("1") ",7]"),
		   "port spec 1: json: cannot unmarshal number");
	assert_has(ask_once("GET /v1/ports/batch HTTP/1.1\r\nHost: x\r\n\r\n"), " 405 ");
	assert_has(ask_once("DELETE /v1/ports/batch HTTP/1.1\r\nHost: x\r\n\r\n"), "bad id batch");
	assert_list("null");
}

/* The driver is asked for all ports before it answers the first. Those after the port that fails
 * are taken back. */
static void test_batch_slow_driver(void **state)
{
	int waiting = dial();

	(void)state;
	drv.immediate = false;
	put_text(waiting,
		 post_request("/v1/ports/batch", "[" SPEC_OF("1") "," SPEC_OF("666") "," SPEC_OF(
							 "2") "," SPEC_OF("3") "]"));
	turn(5);
	assert_int_equal(drv.n_waiting, 4);
	for (int i = 0; i < 4; i++)
		fake_answer(&drv);
	assert_int_equal(drv.n_waiting, 2);
	assert_int_equal(drv.removed, 2);
	fake_answer(&drv);
	assert_list("\r\n\r\n[" PORT_OF("1", "1"));
	fake_answer(&drv);
	assert_has(get(waiting), "address already in use\",\"ports\":[" PORT_OF("1", "1") "]}");
	assert_list("\r\n\r\n[" PORT_OF("1", "1") "]");
	close(waiting);
}

static int send_slow_batch(void)
{
	int waiting = dial();

	drv.immediate = false;
	put_text(waiting, post_request("/v1/ports/batch", "[" SPEC_OF("1") "," SPEC_OF("2") "]"));
	turn(5);
	assert_int_equal(drv.n_waiting, 2);
	return waiting;
}

static void test_batch_client_leaves(void **state)
{
	int waiting = send_slow_batch();

	(void)state;
	fake_answer(&drv);
	close(waiting);
	turn(5);
	fake_answer(&drv);
	turn(5);
	assert_list("[" PORT_OF("1", "1") "," PORT_OF("2", "2") "]");
}

static void test_batch_closing(void **state)
{
	(void)state;
	close(send_slow_batch());
	/* the test's teardown closes the server */
}

/* The client of the batch stays connected until the server has closed. */
static void test_batch_closing_under_it(void **state)
{
	int waiting = send_slow_batch();

	(void)state;
	fake_answer(&drv);
	api_close(api);
	api = NULL;
	close(waiting);
}

#define RANGE_OF(first, n)                                                                         \
	"{\"proto\":\"tcp\",\"parentPort\":" first ",\"childPort\":" first ",\"count\":" n "}"

static void test_ranges(void **state)
{
	const char *a;

	(void)state;
	a = post_batch("[" SPEC_OF("1") "," RANGE_OF("20", "9") "," SPEC_OF("2") "]");
	assert_has(a, "HTTP/1.1 201 Created\r\n");
	assert_has(a, "[" PORT_OF("1", "1") ",{\"id\":2,\"spec\":" RANGE_OF("20", "9") "}," PORT_OF(
			      "11", "2") "]");
	/* The list shows single ports. */
	assert_list("{\"id\":3,\"spec\":{\"proto\":\"tcp\",\"parentPort\":21,\"childPort\":21},"
		    "\"range\":2}");
	a = post_batch("[" SPEC_OF("3") "," RANGE_OF("28", "3") "]");
	assert_has(a, "{\"message\":\"port 28: conflict with ID 10\",\"ports\":[" PORT_OF(
			      "12", "3") "]}");
	a = post_batch("[" RANGE_OF("30", "5") "," SPEC_OF("666") "]");
	assert_has(a, "address already in use\",\"ports\":[{\"id\":13,");
	assert_has(post(RANGE_OF("40", "2")), "{\"id\":18,\"spec\":" RANGE_OF("40", "2") "}");
	assert_has(post_batch("[" RANGE_OF("65535", "2") "]"), "invalid count: 2");
	assert_has(ask_once("DELETE /v1/ports/13-20 HTTP/1.1\r\nHost: x\r\n\r\n"),
		   "unknown id: 20");
	assert_has(ask_once("DELETE /v1/ports/13- HTTP/1.1\r\nHost: x\r\n\r\n"), "bad id");
	assert_has(ask_once("DELETE /v1/ports/2-1 HTTP/1.1\r\nHost: x\r\n\r\n"), "no range of ids");
	assert_has(ask_once("DELETE /v1/ports/1-19 HTTP/1.1\r\nHost: x\r\n\r\n"), " 200 OK");
	assert_list("null");
	assert_has(post("{\"proto\":\"tcp\",\"parentPort\":1,\"childPort\":1,\"count\":2,"
			"\"lease\":\"connection\"}"),
		   "a range cannot have a lease");
}

/* A range that is refused is taken back, and so are the ports after it. */
static void test_range_taken_back(void **state)
{
	int waiting = dial();

	(void)state;
	drv.immediate = false;
	put_text(waiting,
		 post_request("/v1/ports/batch", "[" RANGE_OF("664", "5") "," SPEC_OF("1") "]"));
	while (!drv.n_waiting)
		turn(1);
	assert_int_equal(drv.n_waiting, 4);
	while (drv.n_waiting)
		fake_answer(&drv);
	assert_has(get(waiting), "address already in use\",\"ports\":[]}");
	assert_int_equal(drv.removed, 5);
	assert_list("null");
	close(waiting);
}

static void test_info(void **state)
{
	const char *a = ask_once("GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\n");

	(void)state;
	assert_has(a, "{\"apiVersion\":\"1.1.1\",\"version\":\"");
	assert_has(a, "\"childPID\":123,\"networkDriver\":{\"driver\":\"slirp4netns\",\"dns\":["
		      "\"10.0.2.3\"],"
		      "\"childIP\":\"10.0.2.100\"},\"portDriver\":{\"driver\":\"fake\",\"protos\":["
		      "\"tcp\",\"udp\"],\"batchMax\":4,\"ranges\":true},\"portLeases\":true}");
}

/* The driver counts nothing, so there are only the metrics that any driver has. */
static void test_metrics(void **state)
{
	const char *a;

	(void)state;
	post(SPEC);
	a = ask_once("GET /v1/metrics HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_has(a, "HTTP/1.1 200 OK\r\n");
	assert_has(a,
		   "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n");
	assert_has(a, "\r\n\r\n# TYPE ringkit_build_info gauge\n# HELP ringkit_build_info ");
	assert_has(a, ",port_driver=\"fake\",dataplane=\"\"} 1\n");
	assert_has(a, "\nringkit_ports 1\n");
	assert_has(a, "\nringkit_ports_not_shown 0\n# EOF\n");
}

static void test_paths_and_methods(void **state)
{
	const char *a;

	(void)state;
	a = ask_once("GET /nope HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_has(a, "HTTP/1.1 404 Not Found\r\n");
	assert_has(a, "\r\n\r\n404 page not found\n");
	assert_has(ask_once("GET /v1/ports/1/2 HTTP/1.1\r\nHost: x\r\n\r\n"), " 404 ");
	a = ask_once("PUT /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
	assert_has(a, "HTTP/1.1 405 Method Not Allowed\r\n");
	assert_has(a, "Content-Length: 0\r\n");
	assert_has(ask_once("GET /v1/ports/1 HTTP/1.1\r\nHost: x\r\n\r\n"), " 405 ");
	assert_has(ask_once("POST /v1/info HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
		   " 405 ");
}

static void test_no_port_driver(void **state)
{
	(void)state;
	assert_has(post("{bad"), "{\"message\":\"no PortDriver is available\"}\n");
	assert_has(ask_once("GET /v1/ports HTTP/1.1\r\nHost: x\r\n\r\n"),
		   "no PortDriver is available");
	assert_has(ask_once("DELETE /v1/ports/abc HTTP/1.1\r\nHost: x\r\n\r\n"),
		   "no PortDriver is available");
}

static void test_bodies(void **state)
{
	int fd;

	(void)state;
	assert_has(post(""), "{\"message\":\"EOF\"}");
	assert_has(post("{\"proto\":"), "{\"message\":\"unexpected EOF\"}");
	assert_has(
		ask_once("POST /v1/ports HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
			 "10\r\n{\"proto\":\"tcp\",\"\r\n20\r\nparentPort\":81,\"childPort\":80}  "
			 "\r\n0\r\n\r\n"),
		" 201 ");
	fd = dial();
	put_text(fd,
		 "POST /v1/ports HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: "
		 "46\r\n\r\n");
	turn(5);
	assert_has(ask(fd, "{\"proto\":\"tcp\",\"parentPort\":82,\"childPort\":80}"), " 201 ");
	close(fd);
}

static void test_too_long(void **state)
{
	static char huge[3 * LIMIT_API_BODY_BYTES];
	char head[200];
	int fd;

	(void)state;
	snprintf(head, sizeof(head),
		 "POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", sizeof(huge));
	assert_has(ask_once(head), " 413 ");
	fd = dial();
	put_text(fd, "POST /v1/ports HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
		     "chunked\r\n\r\n30000\r\n");
	put(fd, huge, sizeof(huge));
	assert_has(ask(fd, "\r\n0\r\n\r\n"), " 413 ");
	close(fd);
	fd = dial();
	memset(huge, 'x', sizeof(huge));
	put_text(fd, "GET /");
	put(fd, huge, 20000);
	assert_has(get(fd), "HTTP/1.1 4"); /* 414 or 431: the library chooses */
	close(fd);
	fd = dial();
	put_text(fd, "GET /v1/info HTTP/1.1\r\nX: ");
	put(fd, huge, 20000);
	assert_has(get(fd), "HTTP/1.1 4");
	close(fd);
	/* Without a request line the library hangs up and answers nothing. */
	assert_string_equal(ask_once("GARBAGE\r\n\r\n"), "");
	assert_has(ask_once("GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\n"), " 200 ");
}

static void test_socket_is_the_users_alone(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(test_ports),
		WITH(test_batch),
		WITH(test_batch_wrong),
		WITH(test_ranges),
		WITH(test_range_taken_back),
		WITH(test_batch_slow_driver),
		WITH(test_batch_client_leaves),
		WITH(test_batch_closing),
		WITH(test_batch_closing_under_it),
		WITH(test_info),
		WITH(test_metrics),
		WITH(test_paths_and_methods),
		cmocka_unit_test_setup_teardown(test_no_port_driver, setup_without_ports, teardown),
		WITH(test_bodies),
		WITH(test_too_long),
		WITH(test_socket_is_the_users_alone),
	};

	return cmocka_run_group_tests(tests, have_descriptors, NULL);
}
