/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/handover_counters.h"

#include <string.h>

#include "dataplane/worker/worker_internal.h"

/* Gauges count what exists now. The taking worker counts those again as it takes flows over. */

static uint64_t *const *gauges(struct stats *s, uint64_t *out[7])
{
	out[0] = &s->tcp_flows;
	out[1] = &s->udp_flows;
	out[2] = &s->pipes_open;
	out[3] = &s->listeners;
	out[4] = &s->out_tcp_pending;
	out[5] = &s->out_tcp_flows;
	out[6] = &s->out_udp_flows;
	return out;
}

void handover_get_stats(const struct worker *w, struct handover_stats *out)
{
	struct stats copy = *w->stats;
	uint64_t *of_now[7];

	gauges(&copy, of_now);
	for (unsigned i = 0; i < 7; i++)
		*of_now[i] = 0;
	memcpy(out->words, &copy, sizeof(copy));
}

static void add_words(uint64_t *to, const uint64_t *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		stats_add(&to[i], words[i]);
}

void handover_put_stats(struct worker *w, const struct handover_stats *in)
{
	struct stats copy;
	uint64_t *of_now[7];

	memcpy(&copy, in->words, sizeof(copy));
	gauges(&copy, of_now);
	for (unsigned i = 0; i < 7; i++)
		*of_now[i] = 0;
	add_words((uint64_t *)w->stats, (const uint64_t *)&copy, STATS_WORDS);
}

void handover_get_port(const struct listener *l, struct handover_port *p)
{
	struct port_stats copy = *l->stats;

	*p = (struct handover_port){.port_id = l->port_id,
				    .transparent_worked = l->transparent_worked,
				    .transparent_timeouts = l->transparent_timeouts,
				    .transparent_offs = l->transparent_offs,
				    .transparent_off_ns = l->transparent_off_ns,
				    .routed_off_ns = l->routed_off_ns,
				    .udp_second_ns = l->udp_second_ns};
	copy.flows = 0;
	/* The port's socket in the namespace shares the port's counters: they go once. */
	if (l->port_id > 0)
		memcpy(p->words, &copy, sizeof(copy));
}

void handover_put_port(struct worker *w, const struct handover_port *p)
{
	struct listener *l = p->port_id ? listener_find(w, p->port_id) : NULL;
	struct port_stats copy;

	if (!l)
		return;
	l->transparent_worked = p->transparent_worked != 0;
	l->transparent_timeouts = p->transparent_timeouts;
	l->transparent_offs = p->transparent_offs;
	l->transparent_off_ns = p->transparent_off_ns;
	l->routed_off_ns = p->routed_off_ns;
	l->udp_second_ns = p->udp_second_ns;
	memcpy(&copy, p->words, sizeof(copy));
	copy.flows = 0;
	add_words((uint64_t *)l->stats, (const uint64_t *)&copy, PORT_STATS_WORDS);
}
