/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_HTTP_H
#define RINGKIT_CTL_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "ctl/http_syntax.h"

/*
 * HTTP/1.1 over a socket that is connected: one request, one answer, a deadline. http_syntax.h
 * reads the answer. (libcurl, with all that Debian's is linked to, took 8 ms to load, longer than
 * everything else that a docker proxy does. The client of libevent 2.1 knows no unix sockets.)
 */

/* An answer that is being read. */
struct http_reader {
	struct http_syntax syntax;
	char *body; /* len bytes and a NUL; NULL as long as there is none */
	size_t len, size;
	unsigned status;
	bool begun; /* something has come */
	bool complete;
	bool keep_alive; /* another request may follow on this connection */
	bool strange;	 /* its status makes no sense here */
	int failed;	 /* -EFBIG, -ENOMEM, or what take returned */
	/* Takes the body of a success as it comes, in place of body; NULL: there is no such thing.
	 * Returns 0 or -errno, which ends it. */
	int (*take)(void *arg, const char *data, size_t len);
	void *take_arg;
};

void http_reader_init(struct http_reader *reader);

/* Frees the body. */
void http_reader_free(struct http_reader *reader);

/* The next bytes from the server; len 0: its end of the stream. Bytes after the end of the answer
 * make the connection one that is not kept. 0; -EPROTO when this is no answer, -EFBIG when it is
 * too long, -ENOMEM. */
int http_reader_feed(struct http_reader *reader, const char *data, size_t len, struct err *e);

/* When to give up. */
struct http_limit {
	uint64_t deadline_ms; /* of loop_now_ms(); 0: never */
	int abort_fd; /* readable when somebody wants an end: HTTP_ABORT_GRACE_MS are left then. -1:
			 nobody will */
};

/* For an answer that is under way to arrive, so that what was asked for can be taken back. */
#define HTTP_ABORT_GRACE_MS 1000

/* Waits for events of poll(2) on fd, -1 for none, at most for step_ms (-1: for as long as the
 * limit allows). Returns those that came; 0 after step_ms; -ETIMEDOUT, -ECANCELED. */
int http_wait(int fd, short events, int step_ms, struct http_limit *limit);

/* Sends request, len bytes, over fd, which does not block, and reads the answer into reader, which
 * is initialized. 0; -ETIMEDOUT, -ECANCELED, or as http_reader_feed; -ECONNRESET when the server
 * closed the connection without having read the request, which may be sent again over another. */
int http_exchange(int fd, const char *request, size_t len, struct http_limit *limit,
		  struct http_reader *reader, struct err *e);

#endif
