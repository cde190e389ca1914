/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TESTS_CMOCKA_ALL_H
#define RINGKIT_TESTS_CMOCKA_ALL_H

/* What cmocka.h wants to be included before it, in its order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
