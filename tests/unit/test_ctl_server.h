/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TESTS_TEST_CTL_SERVER_H
#define RINGKIT_TESTS_TEST_CTL_SERVER_H

#include <stdbool.h>
#include <stddef.h>

/* A server on a Unix socket that gives prepared answers and remembers the requests; and a way to
 * run rootlessctl against it. When anything cannot be set up, the test program ends, so that
 * nothing fails without being seen. */

/* An answer whose body ends where the server hangs up. */
#define ANSWER(status, body) "HTTP/1.1 " status "\r\nContent-Type: application/json\r\n\r\n" body
#define OK_JSON(body)	     ANSWER("200 OK", body)

struct fake_answer {
	const char *bytes;
	size_t len;
	bool hold;  /* wait for fake_release first */
	bool close; /* hang up after this answer */
};

struct fake_request {
	char line[128]; /* "GET /v1/info HTTP/1.1" */
	char body[512];
	bool is_json; /* Content-Type */
};

/* Answers are given in order, over all connections. After the last one the server hangs up. With
 * repeat there must be one answer, which is given to every request. */
struct fake_server *fake_server_start(const struct fake_answer *answers, size_t n, bool repeat);
const char *fake_server_path(const struct fake_server *server);

/* Sends an answer that is held. */
void fake_server_release(struct fake_server *server);

/* Ends the server and waits for its thread. After that its requests may be read. */
void fake_server_stop(struct fake_server *server);
size_t fake_server_requests(const struct fake_server *server);
size_t fake_server_connections(const struct fake_server *server);

/* Returns the i-th request. Only the first 64 are kept. */
const struct fake_request *fake_server_request(const struct fake_server *server, size_t i);
void fake_server_free(struct fake_server *server);

struct ctl_result {
	int status; /* the exit code; -1: a signal ended it */
	char *out, *err;
};

/* Runs rootlessctl, whose path is in $RK_ROOTLESSCTL, with these arguments, NULL at the end. env:
 * its environment; NULL: empty, but for a proxy that does not exist. out_fd: its stdout; -1: stdout
 * is collected. */
struct ctl_result ctl_run(const char *const *args, char *const *env, int out_fd);
void ctl_result_free(struct ctl_result *result);

/* Runs "rootlessctl --socket PATH first second" against a server that gives these bytes and hangs
 * up. second may be NULL. */
struct ctl_result ctl_ask(const char *bytes, const char *first, const char *second);

/* Without a rootlessctl to run, exits with 77 and says why. */
void ctl_require(void);

#endif
