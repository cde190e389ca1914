/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_LIBRARY_H
#define RINGKIT_BASE_LIBRARY_H

#include <stddef.h>

#include "base/err.h"

/*
 * A shared library that is loaded when it is needed (dlopen(3)), because most of our processes
 * never need it.
 */

/* A function of the library, and the offset of its pointer in the caller's table. */
struct library_symbol {
	const char *name;
	size_t offset;
};

/*
 * Loads the library, which is never unloaded, and fills in the table's pointers. what: "the HTTP
 * library", and package: Debian's name, both for the message. 0, or -ENOENT with *e when the
 * library or one of the functions is missing; then every pointer is NULL.
 */
int library_load(const char *soname, const char *what, const char *package,
		 const struct library_symbol *symbols, size_t n_symbols, void *table,
		 struct err *e);

#endif
