/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_ERR_H
#define RINGKIT_BASE_ERR_H

#include <stdbool.h>

/*
 * An error with a message that a user can act on. The caller owns the struct, usually on its stack;
 * nothing is allocated. Functions that take one return 0 or a negative errno, and fill the struct
 * in on failure.
 */
struct err {
	int code;	/* negative errno, 0 when nothing failed */
	bool whole;	/* msg says all: nothing is put before it any more */
	char msg[1024]; /* one line, no newline at the end */
};

/* Fills in *e (which may be NULL) and returns code, so that callers can `return err_set(...)`. code
 * is a negative errno, whose text is not appended. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Like err_set, with ": " and the text of the errno appended. */
int err_errno(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "context: " before the message in *e, unless that is whole. Returns e->code, or code when e
 * is NULL. */
int err_wrap(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
