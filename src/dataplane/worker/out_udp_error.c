/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/nameser.h>
#include <string.h>

#include "dataplane/worker/worker_internal.h"

/* Passes errors from outside on to the client, about the address that the client knows. */

/* Errors that are read from one socket at a time. */
#define ERRORS_MAX 64

void out_udp_next_resolver(struct worker *w, const struct out_map *m)
{
	if (w->out.udp.resolver == m->resolver && w->out.policy.n_resolvers)
		w->out.udp.resolver = (m->resolver + 1) % w->out.policy.n_resolvers;
}

void out_udp_seen_inside(const struct worker *w, const struct out_map *m, union sock_addr *addr)
{
	const struct dp_outward *policy = &w->out.policy;
	bool ipv6 = m->inside.sa.sa_family == AF_INET6;
	in_port_t port = addr->in4.sin_port;

	if (m->kind == EGRESS_WORLD)
		return;
	memset(addr, 0, sizeof(*addr));
	addr->sa.sa_family = m->inside.sa.sa_family;
	addr->in4.sin_port = m->kind == EGRESS_DNS ? htons(NAMESERVER_PORT) : port;
	if (ipv6)
		addr->in6.sin6_addr = m->kind == EGRESS_DNS ? policy->dns6 : policy->gateway6;
	else
		addr->in4.sin_addr = m->kind == EGRESS_DNS ? policy->dns4 : policy->gateway4;
}

void out_udp_errors(struct worker *w, struct out_map *m)
{
	struct io_error e;

	for (unsigned i = 0; i < ERRORS_MAX && w->io->ops->recv_error(w->io, m->fd, &e) == 0; i++) {
		stats_add(&w->stats->out_udp_errors, 1);
		if (m->kind == EGRESS_DNS)
			out_udp_next_resolver(w, m);
		out_udp_seen_inside(w, m, &e.dest);
		out_icmp_error(w, &m->inside, &e.dest, e.err, e.info, 0);
	}
}
