/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_TEXT_H
#define RINGKIT_BASE_TEXT_H

#include <stdint.h>
#include <stdio.h>

/* The length of the UTF-8 sequence at s, or 0 when there is none, with its code point in *rune. s
 * ends with a NUL. */
unsigned text_utf8_at(const char *s, uint32_t *rune);

/* Parses a number as Go's strconv.Atoi does: decimal digits, perhaps with a sign, and nothing
 * around them, where strtoll takes blanks. 0, -EINVAL, or -ERANGE; *out changes only on success. */
int text_parse_number(const char *s, long long *out);

/*
 * Keeps text that others wrote (a server, a helper, the words of a command) on one line, and from
 * controlling the terminal. A blank takes the place of each control character of C0 or C1, of DEL,
 * of each character that separates lines or changes the direction of writing, and of each byte that
 * is no UTF-8, because a terminal that expects Latin-1 takes such a byte for a control character.
 * Changes text in place; returns it.
 */
char *text_make_printable(char *text);

/* Writes text to file with the same replacements. */
void text_put_printable(const char *text, FILE *file);

#endif
