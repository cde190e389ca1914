/* SPDX-License-Identifier: Apache-2.0 */
#include <utlist.h>

#include "dataplane/worker/worker_internal.h"

/* Connections on their way out that are not flows yet, at a hand-over (out_handover.c). */

void out_tcp_flow_taken_over(struct worker *w)
{
	w->out.tcp.flows++;
	w->out.fds += 2;
	__atomic_add_fetch(&w->config.out.ports->tcp, 1, __ATOMIC_RELAXED);
}

void out_tcp_rest(struct worker *w)
{
	for (struct out_pending *p = w->out.tcp.list; p; p = p->next)
		if (p->armed && p->state != OUT_CLOSING)
			w->io->ops->cancel(w->io, p->fd, out_tcp_handle(w, p));
}

bool out_tcp_in_flight(const struct worker *w)
{
	for (const struct out_pending *p = w->out.tcp.list; p; p = p->next)
		if (p->armed)
			return true;
	return false;
}

bool out_tcp_take_over(struct worker *w, struct listener *l, const union sock_addr *client, int fd)
{
	socklen_t len = sizeof(union sock_addr);
	union sock_addr dest = {.in6 = {0}};
	enum gate_verdict verdict;
	struct out_pending *p;

	if (w->io->ops->local_of(w->io, fd, &dest.sa, &len) < 0)
		return false;
	p = out_tcp_begin(w, client, &dest, &verdict);
	if (!p)
		return false;
	p->client_fd = fd;
	p->listener = l;
	out_tcp_set_state(p, OUT_CONNECTING);
	return true;
}

void out_tcp_go(struct worker *w)
{
	struct out_pending *p, *next;

	for (p = w->out.tcp.list; p; p = next) {
		next = p->next;
		if (p->armed || p->state != OUT_CONNECTING)
			continue;
		if (p->fd >= 0)
			out_tcp_arm(w, p);
		else
			out_tcp_begin_connect(w, p);
	}
}
