/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_HASH_H
#define RINGKIT_BASE_HASH_H

/*
 * Includes uthash so that its macros do not end the process when there is no memory. After a
 * HASH_ADD, hash_has() says whether the element is in the table. An element that is not must not be
 * deleted from it.
 */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define hash_has(handle) ((handle)->tbl != NULL)

#endif
