/* SPDX-License-Identifier: Apache-2.0 */
/* Ports that go when the connection ends on which they were asked for. */
#include "cmocka_all.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api_world.h"
#include "base/limits.h"

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
	/* More ports on the same connection, with a lease and without. */
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

/* The client goes while the driver is still at work on its port. */
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

/* Other connections end when nothing is sent for long, or when others want to connect. A connection
 * with a lease does not. */
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
	/* Without its port the connection is like others. */
	assert_has(ask(leased, "DELETE /v1/ports/1 HTTP/1.1\r\nHost: x\r\n\r\n"), " 200 ");
	later_s *= 2;
	turn(20);
	assert_int_equal(recv(leased, &byte, 1, 0), 0);
	close(leased);
	later_s = 0;
}

/* Leases may take half of the descriptors. The limit is high enough for the descriptors that this
 * process began with. */
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
	/* the test's teardown closes the server */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(test_lease_ends_with_its_connection),
		WITH(test_lease_of_a_removed_port),
		WITH(test_lease_of_a_client_that_leaves),
		WITH(test_lease_while_its_port_is_being_removed),
		WITH(test_lease_refused),
		WITH(test_lease_outlasts_silence),
		WITH(test_lease_limit),
		WITH(test_lease_at_the_end),
	};

	return cmocka_run_group_tests(tests, have_descriptors, NULL);
}
