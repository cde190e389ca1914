/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CLI_VALUE_H
#define RINGKIT_CLI_VALUE_H

#include <stdbool.h>

/*
 * Parses values of options as Go's flag package does, because that is what scripts were tried with.
 * Each function returns 0, -EINVAL (malformed) or -ERANGE (does not fit), and changes *out only on
 * success.
 */

/* Takes 1, t, T, TRUE, true, True and their opposites: strconv.ParseBool. */
int value_parse_bool(const char *s, bool *out);

/* Takes decimal, 0x, 0o, 0b or a leading 0 for octal, with a sign, and underscores between digits:
 * strconv.ParseInt with base 0. */
int value_parse_int(const char *s, int *out);

/* Takes seconds (90, 1.5) or a Go duration (90s, 1m30s, 500ms: time.ParseDuration). The result is
 * in milliseconds, rounded up, so that only 0 becomes 0. */
int value_parse_duration_ms(const char *s, int *out);

#endif
