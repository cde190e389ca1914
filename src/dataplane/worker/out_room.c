/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/out_room.h"

#include "base/log.h"
#include "base/sockaddr.h"
#include "dataplane/worker/worker_internal.h"

bool out_has_fds(const struct worker *w, unsigned n)
{
	unsigned held = w->out.fds;

	for (unsigned i = 0; i < POOLS; i++)
		held += sockpool_hold(&w->out.supply.pools[i]);
	return held + n <= w->config.out.fds_max;
}

void out_port_put(struct worker *w)
{
	__atomic_sub_fetch(&w->config.out.ports->tcp, 1, __ATOMIC_RELAXED);
}

void out_tcp_flow_closed(struct worker *w)
{
	w->out.tcp.flows--;
	w->out.fds -= 2;
	out_port_put(w);
}

bool out_port_get(struct worker *w)
{
	struct out_ports *ports = w->config.out.ports;

	if (__atomic_add_fetch(&ports->tcp, 1, __ATOMIC_RELAXED) <= ports->max)
		return true;
	out_port_put(w);
	return false;
}

bool out_tcp_has_room(const struct worker *w)
{
	const struct out_tcp *t = &w->out.tcp;

	return t->flows + t->count < w->config.out.tcp_flows_max && out_has_fds(w, 2);
}

void out_log_refused(const struct worker *w, const char *what, const union sock_addr *client,
		     const union sock_addr *dest)
{
	char from[SOCKADDR_TEXT_BYTES], to[SOCKADDR_TEXT_BYTES];

	if (log_is_debug())
		log_debug("worker %u: %s of %s to %s: refused", w->config.number, what,
			  sockaddr_format(&client->sa, from), sockaddr_format(&dest->sa, to));
}
