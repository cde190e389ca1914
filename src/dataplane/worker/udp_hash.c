/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/udp_hash.h"

#include <assert.h>
#include <string.h>

#include "base/array.h"
#include "dataplane/worker/hash.h"
#include "dataplane/worker/worker_internal.h"

/* The hash is seeded, since clients choose what is in a key. */
static struct udp_flow **bucket_of(struct worker *w, const struct udp_key *key)
{
	uint64_t words[sizeof(*key) / sizeof(uint64_t)], h = w->udp.hash_seed;

	static_assert(sizeof(*key) % sizeof(uint64_t) == 0, "the key has no padding");
	memcpy(words, key, sizeof(words));
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		h = hash_word(h, words[i]) ^ w->udp.hash_seed;
	return &w->udp.hash[h & w->udp.hash_mask];
}

struct udp_flow *udp_hash_find(struct worker *w, const struct udp_key *key)
{
	struct udp_flow *f = w->udp.batch.flow;

	/* Mostly it is the flow of the last datagram. */
	if (f && memcmp(&f->key, key, sizeof(*key)) == 0)
		return f;
	f = *bucket_of(w, key);
	while (f && memcmp(&f->key, key, sizeof(*key)) != 0)
		f = f->hash_next;
	return f;
}

void udp_hash_add(struct worker *w, struct udp_flow *f)
{
	struct udp_flow **bucket = bucket_of(w, &f->key);

	f->hash_next = *bucket;
	*bucket = f;
}

void udp_hash_remove(struct worker *w, struct udp_flow *f)
{
	struct udp_flow **p = bucket_of(w, &f->key);

	while (*p != f)
		p = &(*p)->hash_next;
	*p = f->hash_next;
}
