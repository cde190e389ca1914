/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_TEXT_H
#define RINGKIT_BASE_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The length of the UTF-8 sequence at s, 0 when there is none; its code point in *rune. s ends with
 * a NUL. */
unsigned text_utf8_at(const char *s, uint32_t *rune);

/*
 * Text that others wrote (a server, a helper, the words of a command) stays on one line and does
 * not speak to the terminal: a control character of C0 or C1, DEL, one that separates lines or
 * changes the direction of writing, and a byte that is no UTF-8 become a blank. (A terminal that
 * expects Latin-1 takes such a byte for a control character.) Changes text in place; returns it.
 */
char *text_make_printable(char *text);

/* Writes text so. */
void text_put_printable(const char *text, FILE *file);

#endif
