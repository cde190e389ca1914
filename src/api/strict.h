/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_API_STRICT_H
#define RINGKIT_API_STRICT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * What libmicrohttpd lets pass and RFC 9112 and Go's net/http, which RootlessKit has, do not:
 * requests that two readers could understand in two ways, or of which a part would go unheard. Pure
 * functions.
 */

/* Why a request is refused. status 0: it is not. */
struct strict_refusal {
	unsigned status;
	const char *why;
};

/* A request target as it was sent: libmicrohttpd decodes it in place later. */
struct strict_target {
	const char *start, *end; /* in the buffer that was read; NULL: not known */
	bool has_blank;
	bool has_encoded_nul; /* in its path, which would end there */
};

struct strict_target strict_target_read(const char *target);

/* The request line: method, target and version lie one after the other in the buffer that was read,
 * with NULs where libmicrohttpd has cut it. */
struct strict_refusal strict_line(const char *method, const struct strict_target *target,
				  const char *version);

/* What was seen of the header so far; starts as zeros. */
struct strict_header {
	const char *content_length;
	unsigned hosts;
	struct strict_refusal refusal; /* the first */
};

/* A field of the header. */
void strict_field(struct strict_header *h, const char *name, size_t name_len, const char *value,
		  size_t value_len);

/* After the last field. */
struct strict_refusal strict_header_end(const struct strict_header *h, const char *version);

/* The path of a request target: that of the absolute form too (http://host/path), whose host does
 * not matter on a unix socket. */
const char *strict_path(const char *url);

#endif
