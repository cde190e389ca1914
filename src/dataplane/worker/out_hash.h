/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_OUT_HASH_H
#define RINGKIT_DATAPLANE_WORKER_OUT_HASH_H

#include <stdint.h>
#include <string.h>

#include "base/sockaddr.h"
#include "dataplane/worker/hash.h"

/* Hashes of addresses. They are seeded, since the namespace chooses what is hashed. */

static inline uint64_t out_hash_in6(uint64_t h, const struct in6_addr *a)
{
	uint64_t words[2];

	memcpy(words, a, sizeof(words));
	return hash_word(hash_word(h, words[0]), words[1]);
}

/* Hashes address and port. */
static inline uint64_t out_hash_addr(uint64_t h, const union sock_addr *a)
{
	if (a->sa.sa_family == AF_INET6)
		h = out_hash_in6(h, &a->in6.sin6_addr);
	else
		h = hash_word(h, a->in4.sin_addr.s_addr);
	return hash_word(h, a->in4.sin_port); /* an IPv6 port is at the same place */
}

/* The address without port; IPv4 as a mapped address. */
static inline struct in6_addr out_host_of(const union sock_addr *a)
{
	struct in6_addr host = {.s6_addr32 = {0, 0, htonl(0xffff), 0}};

	if (a->sa.sa_family == AF_INET6)
		return a->in6.sin6_addr;
	host.s6_addr32[3] = a->in4.sin_addr.s_addr;
	return host;
}

#endif
