/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TESTS_CMOCKA_ALL_H
#define RINGKIT_TESTS_CMOCKA_ALL_H

/* What cmocka.h wants to be included before it, in its order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* cmocka 2.0 has made a macro of what here are members of drivers, and renamed what 1.1 has. */
#undef stop
#ifdef assert_uint_in_range
#undef assert_in_range
#define assert_in_range(value, low, high) assert_uint_in_range(value, low, high)
#endif

/* The text must contain these words. On a failure both are shown. */
#define assert_says(text, words)                                                                   \
	do {                                                                                       \
		if (!strstr((text), (words)))                                                      \
			fail_msg("\"%s\" does not say \"%s\"", (text), (words));                   \
	} while (0)

#endif
