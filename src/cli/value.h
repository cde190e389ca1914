/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CLI_VALUE_H
#define RINGKIT_CLI_VALUE_H

#include <stdbool.h>

/*
 * Values of options as Go's flag package reads them, because that is what scripts were tried with.
 * Each returns 0, -EINVAL (not such a value) or -ERANGE (does not fit), and leaves *out alone then.
 */

/* 1, t, T, TRUE, true, True and their opposites: strconv.ParseBool. */
int value_parse_bool(const char *s, bool *out);

/* Decimal, 0x, 0o, 0b or a leading 0 for octal, with a sign, underscores between digits:
 * strconv.ParseInt with base 0. */
int value_parse_int(const char *s, int *out);

/* Seconds (90, 1.5) or a Go duration (90s, 1m30s, 500ms: time.ParseDuration), in milliseconds. A
 * part of a millisecond is rounded up, so that nothing becomes 0 but 0. */
int value_parse_duration_ms(const char *s, int *out);

#endif
