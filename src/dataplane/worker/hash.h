/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_HASH_H
#define RINGKIT_DATAPLANE_WORKER_HASH_H

#include <stdint.h>

/* One step of a hash. It begins with a secret seed, since others choose what is hashed. */
static inline uint64_t hash_word(uint64_t h, uint64_t word)
{
	unsigned __int128 m = (unsigned __int128)(h ^ word) * 0x9e3779b97f4a7c15ull;

	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

#endif
