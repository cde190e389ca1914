/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/udp_copy.h"

#include <assert.h>
#include <string.h>

#include "dataplane/worker/worker_internal.h"

/*
 * Copies of datagrams, in blocks of a store that all flows of a worker share. A copy is a chain of
 * blocks; a flow's copies are a list in order of arrival. Blocks that were used before are used
 * again first, so that the store costs no more memory than was once needed at a time.
 *
 * Shares: a flow may take as many blocks as it leaves free. A single flow gets half of the store,
 * and two get a third each. However many flows there are, and however much they want, a newcomer
 * finds as much room as the greediest of them has taken.
 */

static_assert(UDP_BLOCKS < UDP_NO_COPY, "a block's number fits into 16 bits");
static_assert(WORKER_BULK_COPY_BYTES >= UDP_RUN_BYTES, "a copy can be put together");

void udp_copy_init(struct worker *w)
{
	w->udp.store.free_first = UDP_NO_COPY;
	w->udp.store.free = UDP_BLOCKS;
}

static uint8_t *block_at(const struct udp_store *s, uint16_t block)
{
	return s->data + (size_t)block * UDP_BLOCK_BYTES;
}

/* Takes a free block. There must be one. */
static uint16_t block_get(struct udp_store *s)
{
	uint16_t block = s->free_first;

	assert(s->free > 0);
	s->free--;
	if (block == UDP_NO_COPY)
		return (uint16_t)s->used++;
	s->free_first = s->blocks[block].next;
	return block;
}

static void block_put(struct udp_store *s, uint16_t block)
{
	s->blocks[block].next = s->free_first;
	s->free_first = block;
	s->free++;
}

/* Even an empty datagram takes a block. */
static unsigned blocks_for(size_t len)
{
	return len ? (unsigned)((len + UDP_BLOCK_BYTES - 1) / UDP_BLOCK_BYTES) : 1;
}

static bool has_room(const struct udp_store *s, const struct udp_flow *f, unsigned n)
{
	return n <= s->free && f->blocks + n <= s->free - n;
}

/* Writes the data to a chain of blocks. Returns the first. */
static uint16_t fill(struct udp_store *s, const uint8_t *data, size_t len)
{
	uint16_t first = UDP_NO_COPY, last = UDP_NO_COPY;
	size_t at = 0;

	do {
		uint16_t block = block_get(s);
		size_t n = len - at < UDP_BLOCK_BYTES ? len - at : UDP_BLOCK_BYTES;

		if (n > 0)
			memcpy(block_at(s, block), data + at, n);
		s->blocks[block].next = UDP_NO_COPY;
		if (last == UDP_NO_COPY)
			first = block;
		else
			s->blocks[last].next = block;
		last = block;
		at += n;
	} while (at < len);
	return first;
}

bool udp_copy_append(struct worker *w, struct udp_flow *f, const struct udp_payload *p,
		     unsigned sent)
{
	struct udp_store *s = &w->udp.store;
	unsigned n = blocks_for(p->len);
	uint16_t copy;

	if (!has_room(s, f, n))
		return false;
	copy = fill(s, p->data, p->len);
	s->blocks[copy].len = p->len;
	s->blocks[copy].segment = p->segment;
	s->blocks[copy].sent = (uint8_t)sent;
	s->blocks[copy].next_copy = UDP_NO_COPY;
	if (f->n_pending == 0)
		f->copy_first = copy;
	else
		s->blocks[f->copy_last].next_copy = copy;
	f->copy_last = copy;
	f->blocks += n;
	f->n_pending++;
	return true;
}

uint16_t udp_copy_read(struct worker *w, uint16_t copy, struct udp_payload *p)
{
	const struct udp_store *s = &w->udp.store;
	const struct udp_block *head = &s->blocks[copy];
	uint16_t block = copy;

	assert(copy < s->used);
	*p = (struct udp_payload){.data = block_at(s, copy),
				  .len = head->len,
				  .segment = head->segment,
				  .buf_id = UDP_NO_BUF};
	if (p->len <= UDP_BLOCK_BYTES)
		return head->next_copy;
	for (size_t at = 0; at < p->len; at += UDP_BLOCK_BYTES) {
		size_t left = p->len - at;

		memcpy(w->copy + at, block_at(s, block),
		       left < UDP_BLOCK_BYTES ? left : UDP_BLOCK_BYTES);
		block = s->blocks[block].next;
	}
	p->data = w->copy;
	return head->next_copy;
}

void udp_copy_pop(struct worker *w, struct udp_flow *f)
{
	struct udp_store *s = &w->udp.store;
	uint16_t block = f->copy_first, next;

	assert(f->n_pending > 0);
	f->copy_first = s->blocks[block].next_copy;
	for (; block != UDP_NO_COPY; block = next) {
		next = s->blocks[block].next;
		block_put(s, block);
		f->blocks--;
	}
	f->n_pending--;
	assert((f->blocks == 0) == (f->n_pending == 0));
}
