/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/flow.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <utlist.h>

#include "base/log.h"
#include "dataplane/worker/worker_internal.h"

/* The states that may follow each state of a listener. */
static const uint8_t state_after[] = {
	[LISTENER_FREE] = 1 << LISTENER_OPEN,
	[LISTENER_OPEN] = 1 << LISTENER_PAUSED | 1 << LISTENER_CLOSING,
	[LISTENER_PAUSED] = 1 << LISTENER_OPEN | 1 << LISTENER_CLOSING,
	[LISTENER_CLOSING] = 1 << LISTENER_SETTLED,
	[LISTENER_SETTLED] = 1 << LISTENER_FREE,
};

void flow_set_listener_state(struct listener *l, enum listener_state state)
{
	assert(state_after[l->state] & 1 << state);
	l->state = state;
}

static void set_flows(struct worker *w, struct listener *l, unsigned n)
{
	l->n_flows = n;
	w->listeners.held[listener_index(w, l)] = n;
}

void flow_taken_over(struct worker *w, struct listener *l)
{
	set_flows(w, l, l->n_flows + 1);
	stats_add(&l->stats->flows, 1);
}

void flow_opened(struct worker *w, struct listener *l)
{
	flow_taken_over(w, l);
	stats_add(&l->stats->opened, 1);
}

void flow_settle(struct worker *w, struct listener *l)
{
	if (l->state != LISTENER_CLOSING || l->armed || l->n_flows > 0)
		return;
	flow_set_listener_state(l, LISTENER_SETTLED);
	DL_APPEND(w->listeners.settled, l);
}

void flow_closed(struct worker *w, struct listener *l)
{
	assert(l->n_flows > 0);
	set_flows(w, l, l->n_flows - 1);
	stats_sub(&l->stats->flows, 1);
	w->listeners.flow_closed = true;
	flow_settle(w, l);
}

void flow_log(const struct worker *w, const char *proto, uint32_t index, uint32_t gen,
	      const char *fmt, ...)
{
	char text[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_debug("worker %u: %s flow %u.%u: %s", w->config.number, proto, index, gen, text);
}
