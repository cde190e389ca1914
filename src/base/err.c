/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void set(struct err *e, int code, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));

static void set(struct err *e, int code, const char *fmt, va_list ap)
{
	e->code = code;
	e->whole = false;
	vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
}

/* Appends ": " and text, as far as it fits. */
static void append(struct err *e, const char *text)
{
	size_t len = strlen(e->msg);

	snprintf(e->msg + len, sizeof(e->msg) - len, ": %s", text);
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return code;
	va_start(ap, fmt);
	set(e, code, fmt, ap);
	va_end(ap);
	return code;
}

int err_errno(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return code;
	va_start(ap, fmt);
	set(e, code, fmt, ap);
	va_end(ap);
	append(e, strerror(-code));
	return code;
}

int err_wrap(struct err *e, int code, const char *fmt, ...)
{
	char old[sizeof(e->msg)];
	va_list ap;

	if (!e)
		return code;
	if (e->whole)
		return e->code;
	memcpy(old, e->msg, sizeof(old));
	va_start(ap, fmt);
	set(e, e->code, fmt, ap);
	va_end(ap);
	append(e, old);
	return e->code;
}
