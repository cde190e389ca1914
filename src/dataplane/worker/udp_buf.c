/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/udp_buf.h"

#include <assert.h>
#include <string.h>

#include "dataplane/worker/worker_internal.h"

/* A datagram lies in a receive buffer of the io until it is sent, or in a copy of ours. */

/* Tells a copy from a receive buffer where a buffer is named. */
#define COPY_BIT 0x8000u

static_assert(UDP_COPIES <= COPY_BIT, "a copy's number fits under the bit");

static uint8_t *copy_at(struct worker *w, unsigned copy)
{
	return w->udp.copies + (size_t)copy * UDP_COPY_BYTES;
}

/* A free copy's number, or -1. */
static int copy_get(struct worker *w)
{
	if (w->udp.copies_free_n > 0)
		return w->udp.copies_free[--w->udp.copies_free_n];
	return w->udp.copies_used < UDP_COPIES ? (int)w->udp.copies_used++ : -1;
}

void udp_buf_put(struct worker *w, uint16_t buf_id)
{
	if (buf_id & COPY_BIT)
		w->udp.copies_free[w->udp.copies_free_n++] = (uint16_t)(buf_id & ~COPY_BIT);
	else
		w->io->ops->buf_put(w->io, buf_id);
	assert(w->udp.copies_free_n <= w->udp.copies_used);
}

bool udp_buf_copy(struct worker *w, struct udp_payload *p)
{
	uint16_t from = p->buf_id;

	if (!udp_buf_duplicate(w, p))
		return false;
	udp_buf_put(w, from);
	return true;
}

bool udp_buf_duplicate(struct worker *w, struct udp_payload *p)
{
	int copy = p->len <= UDP_COPY_BYTES ? copy_get(w) : -1;

	if (copy < 0)
		return false;
	memcpy(copy_at(w, (unsigned)copy), p->data, p->len);
	p->data = copy_at(w, (unsigned)copy);
	p->buf_id = (uint16_t)(COPY_BIT | (unsigned)copy);
	return true;
}

bool udp_buf_is_copy(const struct udp_payload *p)
{
	return p->buf_id & COPY_BIT;
}
