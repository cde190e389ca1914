/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <string.h>

#include "dataplane/worker/worker_internal.h"

/*
 * Datagrams of flows that wait for a socket of the broker's. Many new clients at once, as after a
 * restart, must not lose their first datagram, and must not take the receive buffers from the flows
 * that run. So a small datagram, as first ones mostly are, is copied out of its buffer; a large one
 * keeps it, within a limit.
 */

/* Tells a copy from a receive buffer where a buffer is named. */
#define COPY_BIT 0x8000u

static_assert(UDP_COPIES <= COPY_BIT, "a copy's number fits under the bit");

static uint8_t *copy_at(struct worker *w, unsigned copy)
{
	return w->udp_copies + (size_t)copy * UDP_COPY_BYTES;
}

/* A free copy's number, or -1. */
static int copy_get(struct worker *w)
{
	if (w->udp_copies_free_n > 0)
		return w->udp_copies_free[--w->udp_copies_free_n];
	return w->udp_copies_used < UDP_COPIES ? (int)w->udp_copies_used++ : -1;
}

void udp_buf_put(struct worker *w, uint16_t buf_id)
{
	if (buf_id & COPY_BIT)
		w->udp_copies_free[w->udp_copies_free_n++] = (uint16_t)(buf_id & ~COPY_BIT);
	else
		w->io->ops->buf_put(w->io, buf_id);
	assert(w->udp_copies_free_n <= w->udp_copies_used);
}

/* Whether the datagram could be moved out of its receive buffer, which is free then. */
static bool move_to_copy(struct worker *w, struct udp_payload *p)
{
	int copy = p->len <= UDP_COPY_BYTES ? copy_get(w) : -1;

	if (copy < 0)
		return false;
	memcpy(copy_at(w, (unsigned)copy), p->data, p->len);
	udp_buf_put(w, p->buf_id);
	p->data = copy_at(w, (unsigned)copy);
	p->buf_id = (uint16_t)(COPY_BIT | (unsigned)copy);
	return true;
}

static void forget(struct worker *w, struct udp_flow *f)
{
	for (unsigned i = 0; i < f->n_pending; i++)
		if (!(f->pending[i].buf_id & COPY_BIT))
			w->udp_held--;
	f->n_pending = 0;
}

void udp_pending_add(struct worker *w, struct udp_flow *f, const struct udp_payload *p)
{
	struct udp_payload *slot = &f->pending[f->n_pending];

	assert(f->state == UDP_FLOW_WAITING);
	if (f->n_pending < UDP_PENDING_MAX) {
		*slot = *p;
		if (move_to_copy(w, slot)) {
			f->n_pending++;
			return;
		}
		if (w->udp_held < w->config.udp_pending_max) {
			f->n_pending++;
			w->udp_held++;
			return;
		}
	}
	udp_count_dropped(w, f->listener, udp_datagrams(p));
	udp_buf_put(w, p->buf_id);
}

void udp_pending_send(struct worker *w, struct udp_flow *f)
{
	unsigned n = f->n_pending;

	forget(w, f);
	for (unsigned i = 0; i < n; i++)
		udp_send(w, f, false, &f->pending[i]);
}

void udp_pending_drop(struct worker *w, struct udp_flow *f)
{
	unsigned n = f->n_pending;

	forget(w, f);
	for (unsigned i = 0; i < n; i++) {
		udp_count_dropped(w, f->listener, udp_datagrams(&f->pending[i]));
		udp_buf_put(w, f->pending[i].buf_id);
	}
}
