/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *log_tag = "parent";
static bool log_debug_on;

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
}

bool log_is_debug(void)
{
	return log_debug_on;
}

/* A message quotes what others wrote, the words of a command for one: it stays one line, and does
 * not speak to the terminal. */
static void make_printable(char *line, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = ' ';
}

void log_print(enum log_level level, const char *fmt, ...)
{
	int saved = errno;
	char line[2048];
	size_t len;
	va_list ap;
	int n;

	if (level == LOG_LEVEL_DEBUG && !log_debug_on)
		return;
	n = snprintf(line, sizeof(line), "[rootlesskit:%s] %s", log_tag, level_words[level]);
	len = (size_t)n;
	va_start(ap, fmt);
	n = vsnprintf(line + len, sizeof(line) - len - 1, fmt, ap);
	va_end(ap);
	len += (size_t)n;
	if (n < 0 || len > sizeof(line) - 2)
		len = sizeof(line) - 2;
	make_printable(line, len);
	line[len++] = '\n';
	/* A log line that cannot be written has nowhere to be reported. */
	if (write(STDERR_FILENO, line, len) < 0)
		errno = saved;
	errno = saved;
}
