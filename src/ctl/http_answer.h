/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_HTTP_ANSWER_H
#define RINGKIT_CTL_HTTP_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

struct http_answer {
	int status;
	const char *body; /* within what was read */
	size_t body_len;
};

/*
 * Looks whether len bytes are a whole answer to a request of HTTP/1.0 (RFC 1945; RFC 9112, section
 * 6.3: its body ends after Content-Length bytes, or with the connection). ended: no more will come.
 * 1 and *out, 0 when more must come, -EPROTO when it is no such answer.
 */
int http_answer_read(const char *data, size_t len, bool ended, struct http_answer *out);

#endif
