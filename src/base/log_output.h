/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_LOG_OUTPUT_H
#define RINGKIT_BASE_LOG_OUTPUT_H

#include <stddef.h>

/*
 * Where log lines go: standard error, without ever waiting for whoever reads it.
 */

/* Finds out what standard error is and how to write to it without waiting. Needs open(2) and /proc,
 * so it is called before a process gives up its rights; again when standard error was replaced. */
void log_output_open(void);

/* Writes all of it or nothing. len: at most PIPE_BUF. 0, or -errno when it did not go (-EAGAIN: for
 * want of room). Any thread may call it. */
int log_output_write(const char *text, size_t len);

#endif
