/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_TABLE_H
#define RINGKIT_CTL_TABLE_H

#include <stddef.h>

/*
 * A table for the terminal. Cells are padded to the widest of their column and 4 more, the last
 * column too, like those of RootlessKit's rootlessctl.
 */
#define TABLE_CELL_BYTES 64 /* with the NUL; longer text is cut */

struct table {
	size_t columns, cells, room;
	char (*text)[TABLE_CELL_BYTES];
	int failed; /* out of memory: -ENOMEM from table_print */
};

void table_open(struct table *t, size_t columns);
/* Adds the next cell, row by row. */
void table_cell(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints the table on stdout and frees it. 0 or -ENOMEM. */
int table_print(struct table *t);

#endif
