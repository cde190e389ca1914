/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_HTTP_H
#define RINGKIT_CTL_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "ctl/http_syntax.h"

/*
 * HTTP/1.1 over a connected socket: one request, one answer, a deadline. http_syntax.h reads the
 * answer. (libcurl, with all that Debian's is linked to, took 8 ms to load, longer than everything
 * else that a docker proxy does. The client of libevent 2.1 knows no unix sockets.)
 */

/* The state of reading an answer. */
struct http_reader {
	struct http_syntax syntax;
	char *body; /* len bytes and a NUL; NULL as long as it is empty */
	size_t len, size;
	unsigned status;
	bool begun; /* something was received */
	bool complete;
	bool keep_alive; /* another request may follow on this connection */
	bool strange;	 /* the status makes no sense here */
	int failed;	 /* -EFBIG, -ENOMEM, or what take returned */
	/* Takes the body of a successful answer as it comes, instead of body; NULL: body collects
	 * it. Returns 0, or -errno to stop. */
	int (*take)(void *arg, const char *data, size_t len);
	void *take_arg;
};

void http_reader_init(struct http_reader *reader);

/* Frees the body. */
void http_reader_free(struct http_reader *reader);

/* Takes the next bytes from the server; len 0: its end of the stream. After bytes beyond the end of
 * the answer the connection is not kept. 0; -EPROTO when this is no answer, -EFBIG when it is too
 * long, -ENOMEM. */
int http_reader_feed(struct http_reader *reader, const char *data, size_t len, struct err *e);

/* When to give up. */
struct http_limit {
	uint64_t deadline_ms; /* of loop_now_ms(); 0: never */
	int abort_fd; /* readable when somebody wants an end: then HTTP_ABORT_GRACE_MS are left. -1:
		       * nobody will */
};

/* Time for an answer under way to arrive, so that the request can be undone. */
#define HTTP_ABORT_GRACE_MS 1000

/* Waits for events of poll(2) on fd (-1: none), at most for step_ms (-1: as long as the limit
 * allows). Returns the events that came; 0 after step_ms; -ETIMEDOUT, -ECANCELED. */
int http_wait(int fd, short events, int step_ms, struct http_limit *limit);

/* Sends request, len bytes, over fd, which does not block, and reads the answer into reader, which
 * must be initialized. 0; -ETIMEDOUT, -ECANCELED, or as http_reader_feed; -ECONNRESET when the
 * server closed the connection without having read the request, which may then be sent again over
 * another. */
int http_exchange(int fd, const char *request, size_t len, struct http_limit *limit,
		  struct http_reader *reader, struct err *e);

#endif
