/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/tcp_timer.h"

#include <assert.h>

#include "dataplane/worker/worker_internal.h"

static struct tcp_flow *flow_at(const struct worker *w, unsigned pos)
{
	return &w->tcp.flows[w->tcp.timers[pos]];
}

static void put(struct worker *w, unsigned pos, struct tcp_flow *f)
{
	w->tcp.timers[pos] = (uint32_t)(f - w->tcp.flows);
	f->timer_pos = pos + 1;
}

static void sift_up(struct worker *w, unsigned pos, struct tcp_flow *f)
{
	while (pos > 0) {
		unsigned parent = (pos - 1) / 2;

		if (flow_at(w, parent)->timer_ns <= f->timer_ns)
			break;
		put(w, pos, flow_at(w, parent));
		pos = parent;
	}
	put(w, pos, f);
}

static void sift_down(struct worker *w, unsigned pos, struct tcp_flow *f)
{
	for (;;) {
		unsigned child = 2 * pos + 1;

		if (child + 1 < w->tcp.n_timers &&
		    flow_at(w, child + 1)->timer_ns < flow_at(w, child)->timer_ns)
			child++;
		if (child >= w->tcp.n_timers || flow_at(w, child)->timer_ns >= f->timer_ns)
			break;
		put(w, pos, flow_at(w, child));
		pos = child;
	}
	put(w, pos, f);
}

void tcp_timer_set(struct worker *w, struct tcp_flow *f, uint64_t at_ns)
{
	tcp_timer_clear(w, f);
	assert(w->tcp.n_timers < w->config.tcp_flows_max + w->config.out.tcp_flows_max);
	f->timer_ns = at_ns;
	sift_up(w, w->tcp.n_timers++, f);
}

void tcp_timer_clear(struct worker *w, struct tcp_flow *f)
{
	unsigned pos = f->timer_pos - 1;
	struct tcp_flow *last;

	if (f->timer_pos == 0)
		return;
	assert(flow_at(w, pos) == f);
	f->timer_pos = 0;
	last = flow_at(w, --w->tcp.n_timers);
	if (last == f)
		return;
	/* The heap's last flow takes the place, and then moves up or down. */
	if (pos > 0 && flow_at(w, (pos - 1) / 2)->timer_ns > last->timer_ns)
		sift_up(w, pos, last);
	else
		sift_down(w, pos, last);
}

uint64_t tcp_timer_next(const struct worker *w)
{
	return w->tcp.n_timers ? flow_at(w, 0)->timer_ns : UINT64_MAX;
}

struct tcp_flow *tcp_timer_expired(struct worker *w)
{
	struct tcp_flow *f;

	if (w->now_ns < tcp_timer_next(w))
		return NULL;
	f = flow_at(w, 0);
	tcp_timer_clear(w, f);
	return f;
}
