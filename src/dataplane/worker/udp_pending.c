/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <string.h>
#include <utlist.h>

#include "dataplane/worker/worker_internal.h"

/*
 * Datagrams of flows that wait for a socket of the broker's. Many new clients at once, as after a
 * restart, must not lose their first datagram, and must not take the receive buffers from the flows
 * that run. So a small datagram, as first ones mostly are, is copied out of its buffer; a large one
 * keeps it, within a limit.
 *
 * A flow that may have to be sent to another address (udp_target.h) keeps copies of its first ones
 * for a second: an ICMP error comes sooner or never.
 */

#define KEEP_NS (1000 * WORKER_NS_PER_MS)

static void unlist(struct worker *w, struct udp_flow *f)
{
	if (f->keep_ns)
		DL_DELETE2(w->udp.keeping, f, keep_prev, keep_next);
	f->keep_ns = 0;
}

static void forget(struct worker *w, struct udp_flow *f)
{
	for (unsigned i = 0; i < f->n_pending; i++)
		if (!udp_buf_is_copy(&f->pending[i]))
			w->udp.held--;
	unlist(w, f);
	f->n_pending = 0;
}

/* What is about to be sent, and has been sent by this many ways before. The last way of all ends
 * in nothing that a copy could be of use for. */
static void keep(struct worker *w, struct udp_flow *f, const struct udp_payload *p, unsigned sent)
{
	struct udp_payload copy = *p;

	if (!f->undecided || sent + 1 >= f->ways || f->n_pending == UDP_PENDING_MAX ||
	    !udp_buf_duplicate(w, &copy))
		return;
	f->n_sent[f->n_pending] = (uint8_t)(sent + 1);
	f->pending[f->n_pending++] = copy;
	if (f->keep_ns)
		return;
	f->keep_ns = w->now_ns + KEEP_NS;
	DL_APPEND2(w->udp.keeping, f, keep_prev, keep_next);
}

void udp_pending_keep(struct worker *w, struct udp_flow *f, const struct udp_payload *p)
{
	keep(w, f, p, 0);
}

void udp_pending_again(struct worker *w, struct udp_flow *f)
{
	unlist(w, f);
}

void udp_pending_forget(struct worker *w, struct udp_flow *f)
{
	unsigned n = f->n_pending;

	forget(w, f);
	for (unsigned i = 0; i < n; i++)
		udp_buf_put(w, f->pending[i].buf_id);
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

void udp_pending_add(struct worker *w, struct udp_flow *f, const struct udp_payload *p)
{
	struct udp_payload *slot = &f->pending[f->n_pending];

	assert(f->state == UDP_FLOW_WAITING);
	if (f->n_pending < UDP_PENDING_MAX) {
		*slot = *p;
		f->n_sent[f->n_pending] = 0;
		if (udp_buf_copy(w, slot)) {
			f->n_pending++;
			return;
		}
		if (w->udp.held < w->config.udp_pending_max) {
			f->n_pending++;
			w->udp.held++;
			return;
		}
	}
	udp_send_dropped(w, f->listener, udp_datagrams(p));
	udp_buf_put(w, p->buf_id);
}

void udp_pending_send(struct worker *w, struct udp_flow *f)
{
	struct udp_payload pending[UDP_PENDING_MAX];
	uint8_t n_sent[UDP_PENDING_MAX];
	unsigned n = f->n_pending;

	memcpy(pending, f->pending, sizeof(pending));
	memcpy(n_sent, f->n_sent, sizeof(n_sent));
	forget(w, f);
	for (unsigned i = 0; i < n; i++) {
		keep(w, f, &pending[i], n_sent[i]);
		if (n_sent[i])
			udp_send_again(w, f, &pending[i]);
		else
			udp_send(w, f, false, &pending[i]);
	}
}

void udp_pending_drop(struct worker *w, struct udp_flow *f)
{
	unsigned n = f->n_pending;

	forget(w, f);
	for (unsigned i = 0; i < n; i++) {
		if (f->n_sent[i] == 0)
			udp_send_dropped(w, f->listener, udp_datagrams(&f->pending[i]));
		udp_buf_put(w, f->pending[i].buf_id);
	}
}
