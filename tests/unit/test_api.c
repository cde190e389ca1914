/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "api/api.h"
#include "base/limits.h"
#include "fake_port_driver.h"

/* The server and its client in one thread: the loop turns whenever the client has nothing to
 * read. */

static struct loop *loop;
static struct port_driver drv;
static struct ports *ports;
static struct api *api;
static char dir[64], path[100];
static int dir_fd;

/* The clock of the loop and of libmicrohttpd, which the tests can put on. */
static time_t later_s;

int clock_gettime(clockid_t clock_id, struct timespec *tp)
{
	int r = (int)syscall(SYS_clock_gettime, clock_id, tp);

	tp->tv_sec += later_s;
	return r;
}

static int open_server(bool with_ports)
{
	static struct net_result net;
	struct api_info info = {.state_dir = dir, .child_pid = 123, .net = &net};
	struct err e;

	net = (struct net_result){.driver = "slirp4netns", .ip = "10.0.2.100", .dns = {"10.0.2.3"}};
	drv = (struct port_driver){.immediate = true};
	strcpy(dir, "/tmp/ringkit-test-XXXXXX");
	if (!mkdtemp(dir) || loop_open(&loop) < 0 || ports_open(&fake_ops, &drv, &ports) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/api.sock", dir);
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	info.ports = with_ports ? ports : NULL;
	if (api_open(loop, dir_fd, &info, &api, &e) < 0) {
		print_error("%s\n", e.msg);
		return -1;
	}
	return 0;
}

static int setup(void **state)
{
	(void)state;
	return open_server(true);
}

static int setup_without_ports(void **state)
{
	(void)state;
	return open_server(false);
}

static int teardown(void **state)
{
	(void)state;
	api_close(api);
	ports_close(ports);
	loop_close(loop);
	close(dir_fd);
	return rmdir(dir); /* fails when the socket is still there */
}

static int dial(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	memcpy(addr.sun_path, path, strlen(path));
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void turn(unsigned n)
{
	while (n--)
		assert_int_equal(loop_run_once(loop, 1), 0);
}

static void put(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			n = 0;
		if (n < 0)
			return; /* the server has had enough */
		data += n;
		len -= (size_t)n;
		turn(1);
	}
}

static void put_text(int fd, const char *text)
{
	put(fd, text, strlen(text));
}

/* Reads until the answer's body is whole, the server closes, or nothing comes any more. */
static const char *get(int fd)
{
	static char buf[70000];
	size_t len = 0;

	buf[0] = '\0';
	for (int idle = 0; idle < 200;) {
		ssize_t n = recv(fd, buf + len, sizeof(buf) - len - 1, 0);
		char *end, *length;

		if (n == 0)
			break;
		if (n < 0) {
			turn(1);
			idle++;
			continue;
		}
		len += (size_t)n;
		buf[len] = '\0';
		end = strstr(buf, "\r\n\r\n");
		length = strcasestr(buf, "content-length: ");
		if (end && length && strlen(end + 4) >= strtoul(length + 16, NULL, 10))
			break;
	}
	return buf;
}

static const char *ask(int fd, const char *request)
{
	put(fd, request, strlen(request));
	return get(fd);
}

static const char *ask_once(const char *request)
{
	int fd = dial();
	const char *answer = ask(fd, request);

	close(fd);
	turn(2);
	return answer;
}

static const char *post_request(const char *url, const char *body)
{
	static char request[2000];

	snprintf(request, sizeof(request),
		 "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", url, strlen(body),
		 body);
	return request;
}

static const char *post(const char *body)
{
	return ask_once(post_request("/v1/ports", body));
}

#define SPEC "{\"proto\":\"tcp\",\"parentIP\":\"127.0.0.1\",\"parentPort\":8080,\"childPort\":80}"

static void assert_has(const char *answer, const char *want)
{
	if (answer && strstr(answer, want))
		return;
	print_error("expected %s in:\n%s\n", want, answer ? answer : "no answer");
	fail();
}

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

#define SPEC_OF(port)	  "{\"proto\":\"tcp\",\"parentPort\":" port ",\"childPort\":80}"
#define PORT_OF(id, port) "{\"id\":" id ",\"spec\":" SPEC_OF(port) "}"

static const char *post_batch(const char *body)
{
	return ask_once(post_request("/v1/ports/batch", body));
}

static void assert_list(const char *want)
{
	assert_has(ask_once("GET /v1/ports HTTP/1.1\r\nHost: x\r\n\r\n"), want);
}

static void test_batch(void **state)
{
	const char *a;

	(void)state;
	a = post_batch("[" SPEC_OF("1") "," SPEC_OF("2") "]");
	assert_has(a, "HTTP/1.1 201 Created\r\n");
	assert_has(a, "\r\n\r\n[" PORT_OF("1", "1") "," PORT_OF("2", "2") "]");
	/* The table refuses the second one, and no more are tried. */
	a = post_batch("[" SPEC_OF("3") "," SPEC_OF("1") "," SPEC_OF("4") "]");
	assert_has(a, "HTTP/1.1 400 Bad Request\r\n");
	assert_has(a, "{\"message\":\"conflict with ID 1\",\"ports\":[" PORT_OF("3", "3") "]}");
	/* The driver does. */
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

/* All are asked for before the first is answered; those after the one that fails are undone. */
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
	/* teardown closes the server */
}

/* Its client is there until the end. */
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
	/* Whoever lists sees single ports. */
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

/* A range that is refused goes again, and with it what came after it. */
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

/* The driver counts nothing: there is what is known of any. */
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
	assert_has(get(fd), "HTTP/1.1 4"); /* 414 or 431, the library's choice */
	close(fd);
	fd = dial();
	put_text(fd, "GET /v1/info HTTP/1.1\r\nX: ");
	put(fd, huge, 20000);
	assert_has(get(fd), "HTTP/1.1 4");
	close(fd);
	/* No request line at all: the library hangs up without a word. */
	assert_string_equal(ask_once("GARBAGE\r\n\r\n"), "");
	assert_has(ask_once("GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\n"), " 200 ");
}

static void test_slow_client_holds_nobody_up(void **state)
{
	int slow = dial();

	(void)state;
	put_text(slow, "POST /v1/ports HT");
	for (int i = 0; i < 5; i++)
		assert_has(ask_once("GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\n"), " 200 ");
	assert_has(ask(slow, "TP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"), "EOF");
	close(slow);
}

/* More than can be open at a time: each newcomer is served, and one that is served again and again
 * keeps its connection. */
static void test_stuck_clients_are_closed_for_others(void **state)
{
	static const char request[] = "GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\n";
	int fds[3 * LIMIT_API_CONNECTIONS], lively = dial();
	char byte;

	(void)state;
	for (int i = 0; i < 3 * LIMIT_API_CONNECTIONS; i++) {
		fds[i] = dial();
		put_text(fds[i], i % 2 ? "GET /v1/in" : "");
		assert_has(ask(lively, request), "HTTP/1.1 200");
		later_s++; /* none of them is new any more */
	}
	assert_has(ask_once(request), "HTTP/1.1 200");
	assert_int_equal(recv(fds[0], &byte, 1, 0), 0);
	for (int i = 0; i < 3 * LIMIT_API_CONNECTIONS; i++)
		close(fds[i]);
	close(lively);
	later_s = 0;
}

/* A rush: nobody is sent away before he has spoken, up to a limit. */
static void test_newcomers_have_time_to_speak(void **state)
{
	static const char request[] = "GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\n";
	int fds[LIMIT_API_RUSH + 40], gone = 0;
	char byte;

	(void)state;
	for (int i = 0; i < LIMIT_API_RUSH - 10; i++)
		fds[i] = dial();
	turn(100);
	assert_has(ask(fds[0], request), "HTTP/1.1 200");
	assert_has(ask(fds[1], request), "HTTP/1.1 200");
	for (int i = LIMIT_API_RUSH - 10; i < LIMIT_API_RUSH + 40; i++)
		fds[i] = dial();
	turn(100);
	for (int i = 0; i < LIMIT_API_RUSH + 40; i++) {
		gone += recv(fds[i], &byte, 1, 0) == 0;
		close(fds[i]);
	}
	assert_in_range(gone, 40, 60);
	turn(20);
}

/* A request that its driver has not answered is no stuck client. */
static void test_waiting_clients_are_not_closed(void **state)
{
	int waiting = dial(), fds[2 * LIMIT_API_CONNECTIONS];

	(void)state;
	drv.immediate = false;
	put_text(waiting, "POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: 72\r\n\r\n"
			  "{\"proto\":\"tcp\",\"parentIP\":\"127.0.0.1\",\"parentPort\":8080,"
			  "\"childPort\":80} ");
	turn(5);
	assert_int_equal(drv.n_waiting, 1);
	for (int i = 0; i < 2 * LIMIT_API_CONNECTIONS; i++) {
		fds[i] = dial();
		turn(2);
	}
	fake_answer(&drv);
	assert_has(get(waiting), "HTTP/1.1 201");
	for (int i = 0; i < 2 * LIMIT_API_CONNECTIONS; i++)
		close(fds[i]);
	close(waiting);
}

static void test_keep_alive(void **state)
{
	int fd = dial();

	(void)state;
	for (int i = 0; i < 20; i++)
		assert_has(ask(fd, "GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\n"), " 200 ");
	close(fd);
}

static void test_slow_driver(void **state)
{
	int waiting = dial();

	(void)state;
	drv.immediate = false;
	put_text(waiting, "POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: 71\r\n\r\n" SPEC);
	turn(5);
	assert_int_equal(drv.n_waiting, 1);
	assert_has(ask_once("GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\n"), " 200 ");
	fake_answer(&drv);
	assert_has(get(waiting), " 201 ");
	close(waiting);
}

static void test_client_leaves_while_driver_works(void **state)
{
	int waiting = dial();

	(void)state;
	drv.immediate = false;
	put_text(waiting, "POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: 71\r\n\r\n" SPEC);
	turn(5);
	close(waiting);
	turn(5);
	fake_answer(&drv);
	turn(5);
	assert_has(ask_once("GET /v1/ports HTTP/1.1\r\nHost: x\r\n\r\n"), "\"id\":1");
}

static void test_closing_while_driver_works(void **state)
{
	int waiting = dial();

	(void)state;
	drv.immediate = false;
	put_text(waiting, "POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: 71\r\n\r\n" SPEC);
	turn(5);
	assert_int_equal(drv.n_waiting, 1);
	close(waiting);
	/* teardown closes the server */
}

/* Leases */

#define LEASED(port)                                                                               \
	"{\"proto\":\"tcp\",\"parentPort\":" port ",\"childPort\":80,\"lease\":\"connection\"}"

static int post_leased(const char *body)
{
	int fd = dial();

	assert_has(ask(fd, post_request("/v1/ports", body)), " 201 ");
	return fd;
}

static void test_lease_ends_with_its_connection(void **state)
{
	int fd = post_leased(LEASED("1")), other = post_leased(LEASED("2"));

	(void)state;
	/* More on one connection, with a lease and without. */
	assert_has(ask(fd, post_request("/v1/ports", LEASED("3"))), PORT_OF("3", "3"));
	assert_has(ask(fd, post_request("/v1/ports", SPEC_OF("4"))), PORT_OF("4", "4"));
	close(fd);
	turn(5);
	assert_list("\r\n\r\n[" PORT_OF("2", "2") "," PORT_OF("4", "4") "]");
	assert_int_equal(drv.removed, 2);
	close(other);
}

static void test_lease_of_a_removed_port(void **state)
{
	int fd = post_leased(LEASED("1"));

	(void)state;
	assert_has(ask_once("DELETE /v1/ports/1 HTTP/1.1\r\nHost: x\r\n\r\n"), " 200 ");
	close(fd);
	turn(5);
	assert_int_equal(drv.removed, 1);
}

/* The client goes while the driver works on its port. */
static void test_lease_of_a_client_that_leaves(void **state)
{
	int fd = dial();

	(void)state;
	drv.immediate = false;
	put_text(fd, post_request("/v1/ports", LEASED("1")));
	turn(5);
	close(fd);
	turn(5);
	drv.immediate = true;
	fake_answer(&drv);
	turn(10);
	assert_list("null");
	assert_int_equal(drv.removed, 1);
}

static void test_lease_while_its_port_is_being_removed(void **state)
{
	int fd = post_leased(LEASED("1")), remover = dial();

	(void)state;
	drv.immediate = false;
	put_text(remover, "DELETE /v1/ports/1 HTTP/1.1\r\nHost: x\r\n\r\n");
	turn(5);
	close(fd);
	turn(5);
	fake_answer(&drv);
	assert_has(get(remover), " 200 ");
	assert_int_equal(drv.removed, 1);
	close(remover);
}

static void test_lease_refused(void **state)
{
	char request[1000];

	(void)state;
	assert_has(post("{\"proto\":\"tcp\",\"parentPort\":1,\"childPort\":80,\"lease\":\"day\"}"),
		   "unknown lease: the only one there is is \\\"connection\\\"");
	assert_has(post("{\"proto\":\"tcp\",\"parentPort\":1,\"childPort\":80,\"lease\":7}"),
		   "unknown lease");
	assert_has(post_batch("[" LEASED("1") "]"), "a port of a batch cannot have a lease");
	snprintf(request, sizeof(request),
		 "POST /v1/ports HTTP/1.1\r\nConnection: close\r\nHost: x\r\nContent-Length: "
		 "%zu\r\n\r\n%s",
		 strlen(LEASED("1")), LEASED("1"));
	assert_has(ask_once(request), "a lease needs a connection that stays open");
	assert_list("null");
	assert_has(post("{\"proto\":\"tcp\",\"parentPort\":1,\"childPort\":80,\"lease\":null}"),
		   " 201 ");
	assert_list("[{\"id\":1,");
}

/* Silence, and others who want to connect, end other connections. */
static void test_lease_outlasts_silence(void **state)
{
	int leased = post_leased(LEASED("1")), idle = dial(), fds[2 * LIMIT_API_CONNECTIONS];
	char byte;

	(void)state;
	assert_has(ask(idle, "GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\n"), " 200 ");
	later_s = 10 * LIMIT_API_IDLE_S;
	turn(20);
	assert_int_equal(recv(idle, &byte, 1, 0), 0);
	close(idle);
	for (int i = 0; i < 2 * LIMIT_API_CONNECTIONS; i++) {
		fds[i] = dial();
		turn(2);
	}
	assert_has(ask(leased, "GET /v1/ports HTTP/1.1\r\nHost: x\r\n\r\n"), "{\"id\":1,");
	for (int i = 0; i < 2 * LIMIT_API_CONNECTIONS; i++)
		close(fds[i]);
	/* Without its port it is like others. */
	assert_has(ask(leased, "DELETE /v1/ports/1 HTTP/1.1\r\nHost: x\r\n\r\n"), " 200 ");
	later_s *= 2;
	turn(20);
	assert_int_equal(recv(leased, &byte, 1, 0), 0);
	close(leased);
	later_s = 0;
}

/* Half of the descriptors. There are enough of them for those that this process was born with. */
static void test_lease_limit(void **state)
{
	struct rlimit before, few = {.rlim_cur = 100};
	char body[200];
	int fd = dial();

	(void)state;
	getrlimit(RLIMIT_NOFILE, &before);
	few.rlim_max = before.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	for (int i = 1; i <= 51; i++) {
		snprintf(body, sizeof(body),
			 "{\"proto\":\"tcp\",\"parentPort\":%d,\"childPort\":80,\"lease\":"
			 "\"connection\"}",
			 i);
		assert_has(ask(fd, post_request("/v1/ports", body)),
			   i <= 50 ? " 201 " : "50 ports belong to connections, and no more can");
	}
	setrlimit(RLIMIT_NOFILE, &before);
	close(fd);
	turn(5);
	assert_list("null");
}

static void test_lease_at_the_end(void **state)
{
	(void)state;
	post_leased(LEASED("1"));
	/* teardown closes the server */
}

static void test_socket_is_the_users_alone(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

/* Both ends of all connections are ours, and 1,024 descriptors, which most users have, are not
 * enough. */
static int have_descriptors(void **state)
{
	struct rlimit limit;

	(void)state;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	return setrlimit(RLIMIT_NOFILE, &limit);
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
		WITH(test_slow_client_holds_nobody_up),
		WITH(test_stuck_clients_are_closed_for_others),
		WITH(test_newcomers_have_time_to_speak),
		WITH(test_waiting_clients_are_not_closed),
		WITH(test_keep_alive),
		WITH(test_slow_driver),
		WITH(test_client_leaves_while_driver_works),
		WITH(test_closing_while_driver_works),
		WITH(test_lease_ends_with_its_connection),
		WITH(test_lease_of_a_removed_port),
		WITH(test_lease_of_a_client_that_leaves),
		WITH(test_lease_while_its_port_is_being_removed),
		WITH(test_lease_refused),
		WITH(test_lease_outlasts_silence),
		WITH(test_lease_limit),
		WITH(test_lease_at_the_end),
		WITH(test_socket_is_the_users_alone),
	};

	return cmocka_run_group_tests(tests, have_descriptors, NULL);
}
