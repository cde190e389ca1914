/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_API_STRICT_H
#define RINGKIT_API_STRICT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Refuses requests that libmicrohttpd accepts, and RFC 9112 and Go's net/http, which RootlessKit
 * uses, do not: those that two readers could understand in two ways, or of which a part would be
 * ignored. Pure functions.
 */

/* Why a request is refused. status 0: it is not. */
struct strict_refusal {
	unsigned status;
	const char *why;
};

/* A request target as it was sent: libmicrohttpd decodes it in place later. */
struct strict_target {
	const char *start, *end; /* in the read buffer; NULL: unknown */
	bool has_blank;
	bool has_encoded_nul; /* in its path, which would end at the NUL */
};

struct strict_target strict_target_read(const char *target);

/* Checks the request line: method, target and version lie one after the other in the read buffer,
 * with NULs where libmicrohttpd has cut it. */
struct strict_refusal strict_line(const char *method, const struct strict_target *target,
				  const char *version);

/* The state of a check of a header. Starts as zeros. */
struct strict_header {
	const char *content_length;
	unsigned hosts;
	struct strict_refusal refusal; /* the first refusal */
};

/* Takes a field of the header. */
void strict_field(struct strict_header *h, const char *name, size_t name_len, const char *value,
		  size_t value_len);

/* Ends the check after the last field. */
struct strict_refusal strict_header_end(const struct strict_header *h, const char *version);

/* The path of a request target, also of one in absolute form (http://host/path), whose host does
 * not matter on a unix socket. */
const char *strict_path(const char *url);

#endif
