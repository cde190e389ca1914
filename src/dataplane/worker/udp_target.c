/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/udp_target.h"

#include "dataplane/worker/worker_internal.h"

/* How long a port remembers that its server is at the second address. */
#define REMEMBER_NS (60000 * WORKER_NS_PER_MS)

const union dp_addr *udp_target(const struct udp_flow *f, socklen_t *len)
{
	const struct listener *l = f->listener;

	*len = f->second ? l->target2_len : l->target_len;
	return f->second ? &l->target2 : &l->target;
}

int udp_target_family(const struct udp_flow *f)
{
	socklen_t len;

	return udp_target(f, &len)->sa.sa_family;
}

void udp_target_choose(struct worker *w, struct udp_flow *f)
{
	const struct listener *l = f->listener;

	f->undecided = l->target2_len > 0;
	f->second = f->undecided && w->now_ns < l->udp_second_ns;
}

void udp_target_answered(struct worker *w, struct udp_flow *f)
{
	struct listener *l = f->listener;

	if (l->target2_len > 0)
		l->udp_second_ns = f->second ? w->now_ns + REMEMBER_NS : 0;
	if (!f->undecided)
		return;
	f->undecided = false;
	udp_pending_forget(w, f);
}

static void other(struct udp_flow *f)
{
	if (f->second)
		f->listener->udp_second_ns = 0;
	f->second = !f->second;
}

bool udp_target_refused(struct udp_flow *f)
{
	/* One that has answered so far: its next datagram will tell. */
	f->undecided = f->listener->target2_len > 0;
	if (f->n_pending == 0)
		return false;
	other(f);
	return true;
}

bool udp_target_unreachable(struct udp_flow *f)
{
	if (!f->undecided || f->unreachable)
		return false;
	f->unreachable = true;
	other(f);
	return true;
}
