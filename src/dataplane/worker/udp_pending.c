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

static void forget(struct worker *w, struct udp_flow *f)
{
	for (unsigned i = 0; i < f->n_pending; i++)
		if (!udp_buf_is_copy(&f->pending[i]))
			w->udp.held--;
	f->n_pending = 0;
}

void udp_pending_add(struct worker *w, struct udp_flow *f, const struct udp_payload *p)
{
	struct udp_payload *slot = &f->pending[f->n_pending];

	assert(f->state == UDP_FLOW_WAITING);
	if (f->n_pending < UDP_PENDING_MAX) {
		*slot = *p;
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
		udp_send_dropped(w, f->listener, udp_datagrams(&f->pending[i]));
		udp_buf_put(w, f->pending[i].buf_id);
	}
}
