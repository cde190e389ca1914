/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_LOG_H
#define RINGKIT_BASE_LOG_H

#include <stdbool.h>

/*
 * Log lines on stderr. Each is written by one write(2), so that the lines of our processes never
 * mix:
 *   [rootlesskit:parent] error: ...
 * The tag is RootlessKit's: scripts grep for it.
 *
 * No process waits for its lines to be read. A line that standard error has no room for is lost,
 * and the next line that is written says how many were.
 */
enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* tag: "parent", "child ", "dataplane", "broker" and so on; the string must live for ever. A
 * process's first call finds out what standard error is, so it comes before the process gives up
 * its rights. */
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
