/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <utlist.h>

#include "dataplane/worker/worker_internal.h"

/*
 * Datagrams of flows that wait for a socket of the broker's. A new client's first burst must not be
 * lost, nor must the first datagrams of many new clients at once, as after a restart. They must not
 * keep receive buffers from flows that run, either. So they are copied (udp_copy.h).
 *
 * A flow whose server may be at another address (udp_target.h) keeps copies of its first datagrams
 * for a second: an ICMP error comes sooner or never. Those datagrams were sent, so their copies
 * give way to the first datagram of another flow, which would be lost.
 */

#define KEEP_NS (1000 * WORKER_NS_PER_MS)

/* Blocks for kept copies of one flow: much may be sent in a second without an answer. */
#define KEEP_BLOCKS (UDP_BLOCKS / 16)

static void keep(struct worker *w, struct udp_flow *f)
{
	if (f->keep_ns)
		return;
	f->keep_ns = w->now_ns + KEEP_NS;
	DL_APPEND2(w->udp.keeping, f, keep_prev, keep_next);
}

static void unlist(struct worker *w, struct udp_flow *f)
{
	if (f->keep_ns)
		DL_DELETE2(w->udp.keeping, f, keep_prev, keep_next);
	f->keep_ns = 0;
}

/* Copies are of no use when the flow has no other way left. */
void udp_pending_keep(struct worker *w, struct udp_flow *f, const struct udp_payload *p)
{
	if (f->undecided && f->ways > 1 && f->blocks < KEEP_BLOCKS && udp_copy_append(w, f, p, 1))
		keep(w, f);
}

void udp_pending_take_over(struct worker *w, struct udp_flow *f, const struct udp_payload *p,
			   unsigned sent)
{
	if (!udp_copy_append(w, f, p, sent)) {
		if (!sent)
			udp_send_dropped(w, f->listener, udp_datagrams(p));
		return;
	}
	if (f->state == UDP_FLOW_OPEN)
		keep(w, f);
}

void udp_pending_again(struct worker *w, struct udp_flow *f)
{
	unlist(w, f);
}

void udp_pending_forget(struct worker *w, struct udp_flow *f)
{
	unlist(w, f);
	while (f->n_pending > 0)
		udp_copy_pop(w, f);
}

void udp_pending_tick(struct worker *w)
{
	while (w->udp.keeping && w->udp.keeping->keep_ns <= w->now_ns)
		udp_pending_forget(w, w->udp.keeping);
}

uint64_t udp_pending_deadline(const struct worker *w)
{
	return w->udp.keeping ? w->udp.keeping->keep_ns : UINT64_MAX;
}

/* Copies a datagram out of its receive buffer. */
static bool take(struct worker *w, struct udp_flow *f, const struct udp_payload *p)
{
	bool taken = udp_copy_append(w, f, p, 0);

	while (!taken && f->n_pending == 0 && w->udp.keeping) {
		udp_pending_forget(w, w->udp.keeping);
		taken = udp_copy_append(w, f, p, 0);
	}
	return taken;
}

void udp_pending_add(struct worker *w, struct udp_flow *f, const struct udp_payload *p)
{
	assert(f->state == UDP_FLOW_WAITING);
	if (!take(w, f, p))
		udp_send_dropped(w, f->listener, udp_datagrams(p));
	w->io->ops->buf_put(w->io, p->buf_id);
}

/* Earlier datagrams were sent by more ways, so the copies that need not be kept come first. */
void udp_pending_send(struct worker *w, struct udp_flow *f)
{
	uint16_t copy = f->copy_first, next;
	unsigned over = 0;

	for (unsigned i = 0; i < f->n_pending; i++, copy = next) {
		struct udp_payload p;
		unsigned sent = w->udp.store.blocks[copy].sent++;

		next = udp_copy_read(w, copy, &p);
		if (sent)
			udp_send_again(w, f, &p);
		else
			udp_send(w, f, false, &p);
		udp_flush(w); /* the next copy is read into the same place */
		over += !f->undecided || sent + 1 >= f->ways;
	}
	while (over-- > 0)
		udp_copy_pop(w, f);
	if (f->n_pending > 0)
		keep(w, f);
}

void udp_pending_drop(struct worker *w, struct udp_flow *f)
{
	uint16_t copy = f->copy_first, next;

	for (unsigned i = 0; i < f->n_pending; i++, copy = next) {
		struct udp_payload p;

		next = udp_copy_read(w, copy, &p);
		if (w->udp.store.blocks[copy].sent == 0)
			udp_send_dropped(w, f->listener, udp_datagrams(&p));
	}
	udp_pending_forget(w, f);
}
