/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/handover_counters.h"

#include "dataplane/worker/worker_internal.h"

/* Gauges count what exists now. The taking worker counts that itself, as it takes flows over. */
static void zero_gauges(struct stats *s)
{
	s->tcp_flows = s->udp_flows = 0;
	s->pipes_open = s->listeners = 0;
	s->out_tcp_pending = s->out_tcp_flows = s->out_udp_flows = 0;
}

void handover_get_stats(const struct worker *w, struct handover_stats *out)
{
	*out = (struct handover_stats){.stats = *w->stats, .resolver = w->out.udp.resolver};
	zero_gauges(&out->stats);
}

static void add_words(uint64_t *to, const uint64_t *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		stats_add(&to[i], words[i]);
}

void handover_put_stats(struct worker *w, const struct handover_stats *in)
{
	struct stats copy = in->stats;

	zero_gauges(&copy);
	add_words((uint64_t *)w->stats, (const uint64_t *)&copy, STATS_WORDS);
	if (in->resolver < w->out.policy.n_resolvers)
		w->out.udp.resolver = in->resolver;
}

void handover_get_port(const struct listener *l, struct handover_port *p)
{
	*p = (struct handover_port){.port_id = l->port_id,
				    .transparent_worked = l->tries[0].worked,
				    .transparent_timeouts = l->tries[0].timeouts,
				    .transparent_offs = l->tries[0].offs,
				    .transparent_off_ns = l->tries[0].off_ns,
				    .routed_off_ns = l->tries[0].routed_off_ns,
				    .udp_second_ns = l->udp_second_ns};
	/* The port's socket in the namespace shares the port's counters: they go once. */
	if (l->port_id > 0)
		p->stats = *l->stats;
	p->stats.flows = 0;
}

void handover_put_port(struct worker *w, const struct handover_port *p)
{
	struct listener *l = p->port_id ? listener_find(w, p->port_id) : NULL;
	struct port_stats copy = p->stats;

	if (!l)
		return;
	client_address_take_over(w, l, p);
	l->udp_second_ns = udp_target_at_most(w, p->udp_second_ns);
	copy.flows = 0;
	add_words((uint64_t *)l->stats, (const uint64_t *)&copy, PORT_STATS_WORDS);
}
