/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_ARRAY_H
#define RINGKIT_BASE_ARRAY_H

/* The number of elements of an array. It does not work for pointers. */
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#endif
