/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TESTS_TEST_CTL_SERVER_H
#define RINGKIT_TESTS_TEST_CTL_SERVER_H

#include <stdbool.h>
#include <stddef.h>

/*
 * A server on a unix socket that answers with given bytes and remembers what it was asked, and a
 * way to run rootlessctl against it. Whatever cannot be set up ends the test program: nothing of
 * it may fail quietly.
 */

struct fake_answer {
	const char *bytes;
	size_t len;
	bool hold;  /* wait for fake_release first */
	bool close; /* and hang up after it */
};

struct fake_request {
	char line[128]; /* "GET /v1/info HTTP/1.1" */
	char body[512];
	bool is_json; /* Content-Type */
};

/* The answers go out in order, whatever the connection; a request too many gets a hang-up. When
 * there is only one answer and repeat is set, it answers everything. */
struct fake_server *fake_server_start(const struct fake_answer *answers, size_t n, bool repeat);
const char *fake_server_path(const struct fake_server *server);

/* Lets one held answer go. */
void fake_server_release(struct fake_server *server);

/* Waits until the server's thread is gone; from then on what it saw may be read. */
void fake_server_stop(struct fake_server *server);
size_t fake_server_requests(const struct fake_server *server);
size_t fake_server_connections(const struct fake_server *server);

/* The i-th request; only the first 64 are kept. */
const struct fake_request *fake_server_request(const struct fake_server *server, size_t i);
void fake_server_free(struct fake_server *server);

struct ctl_result {
	int status; /* the exit code, or -1 when it did not exit */
	char *out, *err;
};

/* Runs rootlessctl (path in $RK_ROOTLESSCTL) with these arguments, NULL at the end, in this
 * environment (NULL: empty but for a proxy that does not exist). out_fd: stdout, or -1 to
 * collect it. */
struct ctl_result ctl_run(const char *const *args, char *const *env, int out_fd);
void ctl_result_free(struct ctl_result *result);

/* exit(77) with the reason when there is no rootlessctl to run. */
void ctl_require(void);

#endif
