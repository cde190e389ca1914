/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/tcp_sweep.h"

#include "base/limits.h"
#include "dataplane/worker/worker_internal.h"

/* Time in which each flow is looked at once. A look takes about a microsecond. */
#define ROUND_NS (30000 * WORKER_NS_PER_MS)

/* Flows that are looked at in one turn. */
#define SLICE 256

/* Pause between two slices. */
static uint64_t pause_ns(const struct worker *w)
{
	return ROUND_NS / ((w->tcp.used + SLICE - 1) / SLICE + 1);
}

/* Whether a side has been silent for too long, counted from the first look that found it silent. */
static bool has_vanished(struct worker *w, struct tcp_flow *f, unsigned side)
{
	uint64_t silent_ns = w->io->ops->unanswered_ms(w->io, f->fd[side]) * WORKER_NS_PER_MS;
	uint64_t *since_ns = &f->silent_ns[side];

	if (silent_ns == 0) {
		*since_ns = 0;
		return false;
	}
	/* Time before the first such look does not count: the flow may have been idle for days. */
	if (*since_ns == 0 || silent_ns < w->now_ns - *since_ns)
		*since_ns = w->now_ns;
	return w->now_ns - *since_ns >= LIMIT_TCP_UNANSWERED_MS * WORKER_NS_PER_MS;
}

static void look(struct worker *w, struct tcp_flow *f)
{
	if (f->state != TCP_FLOW_OPEN)
		return;
	for (unsigned side = 0; side < 2; side++) {
		if (!has_vanished(w, f, side))
			continue;
		stats_add(&w->stats->tcp_vanished, 1);
		tcp_flow_close(w, f, true,
			       side ? "the server has vanished" : "the client has vanished");
		return;
	}
}

void tcp_sweep_tick(struct worker *w)
{
	struct tcp_table *t = &w->tcp;

	if (t->used == 0)
		return;
	if (t->sweep_ns == 0)
		t->sweep_ns = w->now_ns + pause_ns(w);
	if (w->now_ns < t->sweep_ns)
		return;
	for (unsigned i = 0; i < SLICE && t->sweep_at < t->used; i++)
		look(w, &t->flows[t->sweep_at++]);
	if (t->sweep_at >= t->used)
		t->sweep_at = 0;
	t->sweep_ns = w->now_ns + pause_ns(w);
}

uint64_t tcp_sweep_deadline(const struct worker *w)
{
	/* Without a flow nobody need be woken. */
	return w->stats->tcp_flows || w->stats->out_tcp_flows ? w->tcp.sweep_ns : UINT64_MAX;
}
