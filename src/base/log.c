/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <linux/limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/log_output.h"
#include "base/text.h"

#define LINE_MAX_BYTES 2048

/* Room for the line that tells of lost ones. It and the line after it go to a pipe by one
 * write(2). */
#define NOTICE_MAX_BYTES 128
static_assert(LINE_MAX_BYTES + NOTICE_MAX_BYTES <= PIPE_BUF, "not written at once");

static const char *log_tag = "parent";
static bool log_debug_on;
static bool log_is_open;
static atomic_uint lost; /* lines lost since the last one that was written */

static const char *const level_words[] = {
	[LOG_LEVEL_ERROR] = "error: ",
	[LOG_LEVEL_WARNING] = "warning: ",
	[LOG_LEVEL_INFO] = "",
	[LOG_LEVEL_DEBUG] = "debug: ",
};

void log_init(const char *tag, bool debug)
{
	log_tag = tag;
	log_debug_on = debug;
	if (!log_is_open)
		log_output_open();
	log_is_open = true;
}

bool log_is_debug(void)
{
	return log_debug_on;
}

/* Puts the whole line into buf, with its newline. Returns its length. */
static size_t format_line(enum log_level level, const char *fmt, va_list ap, char *buf, size_t size)
	__attribute__((format(printf, 2, 0)));

static size_t format_line(enum log_level level, const char *fmt, va_list ap, char *buf, size_t size)
{
	int n = snprintf(buf, size, "[rootlesskit:%s] %s", log_tag, level_words[level]);
	size_t len = (size_t)n;

	n = vsnprintf(buf + len, size - len - 1, fmt, ap);
	len += (size_t)n;
	if (n < 0 || len > size - 2)
		len = size - 2;
	buf[len] = '\0';
	len = strlen(text_make_printable(buf));
	buf[len++] = '\n';
	return len;
}

/* Writes a line, and before it, if lines were lost, how many. */
static void put_line(const char *line, size_t len)
{
	unsigned n = atomic_exchange(&lost, 0);
	char both[NOTICE_MAX_BYTES + LINE_MAX_BYTES];
	int notice = 0;

	if (n)
		notice = snprintf(both, NOTICE_MAX_BYTES,
				  "[rootlesskit:%s] warning: %u log lines were lost here: standard "
				  "error took no more\n",
				  log_tag, n);
	memcpy(both + notice, line, len);
	/* A line that cannot be written can only be reported before the next one. */
	if (log_output_write(both, (size_t)notice + len) < 0)
		atomic_fetch_add(&lost, n + 1);
}

void log_print(enum log_level level, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	int saved = errno;
	size_t len;
	va_list ap;

	if (level == LOG_LEVEL_DEBUG && !log_debug_on)
		return;
	va_start(ap, fmt);
	len = format_line(level, fmt, ap, line, sizeof(line));
	va_end(ap);
	put_line(line, len);
	errno = saved;
}
