/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/table.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"

#define PADDING	    4
#define COLUMNS_MAX 16

void table_open(struct table *t, size_t columns)
{
	assert(columns > 0 && columns <= COLUMNS_MAX);
	*t = (struct table){.columns = columns};
}

static int make_room(struct table *t)
{
	size_t room = t->room ? 2 * t->room : 64;
	void *text;

	if (t->cells < t->room)
		return 0;
	text = realloc(t->text, room * sizeof(*t->text));
	if (!text)
		return -ENOMEM;
	t->text = text;
	t->room = room;
	return 0;
}

void table_cell(struct table *t, const char *fmt, ...)
{
	va_list ap;

	if (make_room(t) < 0) {
		t->failed = -ENOMEM;
		return;
	}
	va_start(ap, fmt);
	vsnprintf(t->text[t->cells], sizeof(*t->text), fmt, ap);
	va_end(ap);
	text_make_printable(t->text[t->cells++]);
}

/* The width of a text in characters, not bytes. */
static size_t width_of(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += (*s & 0xc0) != 0x80;
	return n;
}

int table_print(struct table *t)
{
	size_t widths[COLUMNS_MAX] = {0};

	for (size_t i = 0; i < t->cells; i++)
		if (width_of(t->text[i]) > widths[i % t->columns])
			widths[i % t->columns] = width_of(t->text[i]);
	for (size_t i = 0; i < t->cells && !t->failed; i++) {
		size_t pad = widths[i % t->columns] + PADDING - width_of(t->text[i]);

		printf("%s%*s", t->text[i], (int)pad, "");
		if (i % t->columns == t->columns - 1)
			putchar('\n');
	}
	free(t->text);
	t->text = NULL;
	return t->failed;
}
