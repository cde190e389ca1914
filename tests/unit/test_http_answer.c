/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctl/http_answer.h"

static void whole(const char *text, bool ended, int status, const char *body)
{
	struct http_answer answer;

	print_message("%s\n", text);
	assert_int_equal(http_answer_read(text, strlen(text), ended, &answer), 1);
	assert_int_equal(answer.status, status);
	assert_int_equal(answer.body_len, strlen(body));
	assert_memory_equal(answer.body, body, strlen(body));
}

static void is(const char *text, bool ended, int want)
{
	struct http_answer answer;

	print_message("%s\n", text);
	assert_int_equal(http_answer_read(text, strlen(text), ended, &answer), want);
}

static void test_whole(void **state)
{
	(void)state;
	whole("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", false, 200, "{}");
	whole("HTTP/1.1 201 Created\r\ncontent-length:3 \r\nDate: x\r\n\r\n{}\n", false, 201,
	      "{}\n");
	whole("HTTP/1.0 200\r\nContent-Length: 0\r\n\r\n", false, 200, "");
	whole("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nxyz", false, 200, "x");
	whole("HTTP/1.0 200 OK\r\nContent-Lengths: x\r\n\r\n[]", true, 200, "[]");
	whole("HTTP/1.0 400 Bad Request\r\n\r\n", true, 400, "");
}

static void test_parts(void **state)
{
	static const char text[] = "HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbody";
	struct http_answer answer;

	(void)state;
	for (size_t len = 0; len < sizeof(text) - 1; len++) {
		assert_int_equal(http_answer_read(text, len, false, &answer), 0);
		assert_int_equal(http_answer_read(text, len, true, &answer), -EPROTO);
	}
	is("HTTP/1.0 200 OK\r\n\r\n[", false, 0); /* its end is that of the connection */
}

static void test_nonsense(void **state)
{
	static const char *const heads[] = {
		"SSH-2.0-OpenSSH_9.2",
		"HTTP/2.0 200 OK",
		"HTTP/1.x 200 OK",
		"HTTP/1.0 20 OK",
		"HTTP/1.0 2000 OK",
		"HTTP/1.0 099 OK",
		"HTTP/1.0",
		"",
		"HTTP/1.0 200 OK\r\nContent-Length: -1",
		"HTTP/1.0 200 OK\r\nContent-Length: 1x",
		"HTTP/1.0 200 OK\r\nContent-Length:",
		"HTTP/1.0 200 OK\r\nContent-Length: 18446744073709551617",
		"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		char text[200];

		snprintf(text, sizeof(text), "%s\r\n\r\n{}", heads[i]);
		is(text, true, -EPROTO);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
