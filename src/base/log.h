/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_LOG_H
#define RINGKIT_BASE_LOG_H

#include <stdbool.h>

/*
 * Lines on stderr, each written by one write(2) so that lines of the four processes never mix:
 *   [rootlesskit:parent] error: ...
 * The tag is RootlessKit's: scripts grep for it.
 *
 * Nobody waits for them to be read. A line that standard error has no room for is lost, and the
 * next one that goes says how many were.
 */
enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* tag: "parent", "child ", "dataplane", "broker"; a string that lives for ever. The first call of a
 * process finds out what standard error is, so it comes before the process gives up its rights. */
void log_init(const char *tag, bool debug);
bool log_is_debug(void);

void log_print(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)	 log_print(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_print(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)	 log_print(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
	do {                                                                                       \
		if (log_is_debug())                                                                \
			log_print(LOG_LEVEL_DEBUG, __VA_ARGS__);                                   \
	} while (0)

#endif
