/* SPDX-License-Identifier: Apache-2.0 */
/* Clients that are slow, stuck, many or gone. */
#include "cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api_world.h"
#include "base/limits.h"

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

/* There are more clients than connections. Each new client is served. A client that is served again
 * and again keeps its connection. */
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
		later_s++; /* the clients so far are not new any more */
	}
	assert_has(ask_once(request), "HTTP/1.1 200");
	assert_int_equal(recv(fds[0], &byte, 1, 0), 0);
	for (int i = 0; i < 3 * LIMIT_API_CONNECTIONS; i++)
		close(fds[i]);
	close(lively);
	later_s = 0;
}

/* In a rush no client is sent away before it has had time to send its request, up to a limit. */
static void test_newcomers_have_time_to_speak(void **state)
{
	static const char request[] = "GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\n";
	int fds[LIMIT_API_RUSH + 40], gone = 0;
	char byte;

	(void)state;
	stands_at_s = (time_t)(loop_now_ms() / 1000) + 1;
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
	stands_at_s = 0;
	turn(20);
}

/* A client that waits for the driver's answer does not count as stuck. */
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

/* Asks for a port, which the driver does not answer at once. */
static void ask_for_port(int fd)
{
	drv.immediate = false;
	put_text(fd, "POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: 71\r\n\r\n" SPEC);
	turn(5);
}

static void test_slow_driver(void **state)
{
	int waiting = dial();

	(void)state;
	ask_for_port(waiting);
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
	ask_for_port(waiting);
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
	ask_for_port(waiting);
	assert_int_equal(drv.n_waiting, 1);
	close(waiting);
	/* the test's teardown closes the server */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(test_slow_client_holds_nobody_up),
		WITH(test_stuck_clients_are_closed_for_others),
		WITH(test_newcomers_have_time_to_speak),
		WITH(test_waiting_clients_are_not_closed),
		WITH(test_keep_alive),
		WITH(test_slow_driver),
		WITH(test_client_leaves_while_driver_works),
		WITH(test_closing_while_driver_works),
	};

	return cmocka_run_group_tests(tests, have_descriptors, NULL);
}
