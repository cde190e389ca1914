/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/udp_target.h"

#include "base/sockaddr.h"
#include "dataplane/worker/worker_internal.h"

/* How long a port remembers that its server is at the second address. */
#define REMEMBER_NS (60000 * WORKER_NS_PER_MS)

/* After such a pause, what a flow sends is kept again, as its first datagram was. */
#define QUIET_NS (100 * WORKER_NS_PER_MS)

/* A flow that nobody answers looks for its server anew once in this time. With several ways, each
 * datagram tries the next one. */
#define SEEK_NS (1000 * WORKER_NS_PER_MS)

const union sock_addr *udp_target(const struct udp_flow *f, socklen_t *len)
{
	const struct listener *l = f->listener;

	*len = f->second ? l->target2_len : l->target_len;
	if (f->routed)
		return &l->routed[f->second];
	return f->second ? &l->target2 : &l->target;
}

uint64_t udp_target_at_most(const struct worker *w, uint64_t second_ns)
{
	return worker_at_most(second_ns, w->now_ns + REMEMBER_NS);
}

int udp_target_family(const struct udp_flow *f)
{
	socklen_t len;

	return udp_target(f, &len)->sa.sa_family;
}

union sock_addr udp_target_client(const struct udp_flow *f)
{
	union sock_addr client = {.in6 = {.sin6_family = AF_INET6,
					  .sin6_port = f->key.client_port,
					  .sin6_addr = f->key.client}};

	sockaddr_unmap(&client);
	return client;
}

/* Whether the router's way suits the flow; *second: to which of the targets. */
static bool has_route(const struct udp_flow *f, bool *second)
{
	const struct listener *l = f->listener;
	union sock_addr client = udp_target_client(f);

	if (sockaddr_is_loopback(&client.sa) ||
	    (client.sa.sa_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&client.in6.sin6_addr)))
		return false;
	*second = l->routed[0].sa.sa_family != client.sa.sa_family;
	return l->routed[*second].sa.sa_family == client.sa.sa_family;
}

/* Chooses the target from which the last answer came, or else the first. */
static void choose_direct(const struct worker *w, struct udp_flow *f)
{
	f->routed = f->both = false;
	f->second = f->listener->target2_len > 0 && w->now_ns < f->listener->udp_second_ns;
}

void udp_target_choose(struct worker *w, struct udp_flow *f)
{
	const struct listener *l = f->listener;
	bool second, route = has_route(f, &second);

	f->ways = (uint8_t)(1 + (l->target2_len > 0) + route);
	f->undecided = f->ways > 1;
	choose_direct(w, f);
	if (route && w->now_ns >= l->tries[0].routed_off_ns) {
		f->routed = true;
		f->second = second;
	}
}

void udp_target_answered(struct worker *w, struct udp_flow *f)
{
	struct listener *l = f->listener;

	f->refused = false;
	/* Of a turned port, the second target is that of a program which hands datagrams on to the
	 * container. It answers as long as it is asked, so each client tries the container first.
	 */
	if (l->target2_len > 0 && !f->routed)
		l->udp_second_ns = f->second && !l->turned ? w->now_ns + REMEMBER_NS : 0;
	if (!f->undecided)
		return;
	f->undecided = false;
	udp_pending_forget(w, f);
}

void udp_target_asked(const struct worker *w, struct udp_flow *f)
{
	if (w->now_ns - f->last_ns >= QUIET_NS)
		f->undecided = f->ways > 1;
}

/* Chooses the flow's next way, in a circle. */
static void other(struct worker *w, struct udp_flow *f)
{
	bool second;

	if (f->routed) {
		f->listener->tries[0].routed_off_ns = w->now_ns + REMEMBER_NS;
		choose_direct(w, f);
		return;
	}
	if (f->second)
		f->listener->udp_second_ns = 0;
	if ((f->both || f->listener->target2_len == 0) && has_route(f, &second)) {
		f->listener->tries[0].routed_off_ns = 0;
		f->routed = true;
		f->second = second;
		return;
	}
	f->both = true;
	f->second = f->listener->target2_len > 0 && !f->second;
}

void udp_target_anew(const struct worker *w, struct udp_flow *f)
{
	f->seek_ns = w->now_ns + SEEK_NS;
}

bool udp_target_refused(struct worker *w, struct udp_flow *f)
{
	/* A server that has answered counts as found: the next datagram will tell whether it still
	 * is. */
	f->undecided = f->ways > 1;
	f->refused = f->ways == 1 && w->now_ns >= f->seek_ns;
	if (!f->undecided || f->n_pending == 0)
		return false;
	other(w, f);
	return true;
}

bool udp_target_unreachable(struct worker *w, struct udp_flow *f)
{
	if (f->routed) {
		choose_direct(w, f);
		return true;
	}
	if (f->listener->target2_len == 0 || !f->undecided || f->unreachable)
		return false;
	f->unreachable = true;
	other(w, f);
	return true;
}
