/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_HASH_H
#define RINGKIT_BASE_HASH_H

/*
 * uthash, whose macros end the process when there is no memory unless they are told not to. After a
 * HASH_ADD hash_has() says whether the element is in the table; one that is not must not be deleted
 * from it.
 */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define hash_has(handle) ((handle)->tbl != NULL)

#endif
