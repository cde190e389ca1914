/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_LOG_OUTPUT_H
#define RINGKIT_BASE_LOG_OUTPUT_H

#include <stddef.h>

/*
 * Writes log lines to standard error, without ever waiting for its reader.
 */

/* Finds out what standard error is and how to write to it without waiting. Needs open(2) and /proc,
 * so call it before the process gives up its rights, and again when standard error was replaced. */
void log_output_open(void);

/* Writes all of the text or nothing. len: at most PIPE_BUF. 0, or -errno when nothing was written
 * (-EAGAIN: there was no room). Any thread may call it. */
int log_output_write(const char *text, size_t len);

#endif
