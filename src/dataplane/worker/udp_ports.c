/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/udp_ports.h"

#include "dataplane/worker/worker_internal.h"

/* The limit never falls below this: the kernel finds that few, unless others have taken all. */
#define LIMIT_MIN UDP_PORTS_MIN

/* Pause before the next try: the kernel takes some milliseconds to look through a full range. */
#define RETRY_NS (250 * WORKER_NS_PER_MS)

/* A lowered limit gets back an eighth of the maximum in this time. */
#define RAISE_NS (60000 * WORKER_NS_PER_MS)

void udp_ports_init(struct udp_ports *p, unsigned max, unsigned workers)
{
	*p = (struct udp_ports){.max = max, .limit = max, .workers = workers};
}

static unsigned read_atomic(const unsigned *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

/* Raises the limit when it is time. Only one of the workers does it. */
static void raise_limit(struct worker *w, struct udp_ports *p)
{
	uint64_t at = __atomic_load_n(&p->raise_ns, __ATOMIC_RELAXED);
	unsigned limit = read_atomic(&p->limit) + p->max / 8;

	if (read_atomic(&p->limit) == p->max || w->now_ns < at ||
	    !__atomic_compare_exchange_n(&p->raise_ns, &at, w->now_ns + RAISE_NS, false,
					 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return;
	__atomic_store_n(&p->limit, limit < p->max ? limit : p->max, __ATOMIC_RELAXED);
}

bool udp_ports_left(struct worker *w)
{
	struct udp_ports *p = w->config.udp_ports;
	unsigned limit;

	raise_limit(w, p);
	limit = read_atomic(&p->limit);
	return read_atomic(&p->taken) < limit || w->udp.ports < limit / p->workers;
}

void udp_ports_took(struct worker *w)
{
	w->udp.ports++;
	__atomic_add_fetch(&w->config.udp_ports->taken, 1, __ATOMIC_RELAXED);
}

void udp_ports_gave(struct worker *w)
{
	w->udp.ports--;
	__atomic_sub_fetch(&w->config.udp_ports->taken, 1, __ATOMIC_RELAXED);
}

void udp_ports_none(struct worker *w)
{
	struct udp_ports *p = w->config.udp_ports;
	unsigned half = read_atomic(&p->taken) / 2, limit = read_atomic(&p->limit);

	/* The range is full with our ports in it: half of them is at most half of the range. */
	half = half > LIMIT_MIN ? half : LIMIT_MIN;
	if (half < limit)
		__atomic_store_n(&p->limit, half, __ATOMIC_RELAXED);
	__atomic_store_n(&p->raise_ns, w->now_ns + RAISE_NS, __ATOMIC_RELAXED);
	/* When flows end for it (udp.c), a port will be free soon. */
	w->udp.ports_retry_ns = w->now_ns + (udp_ports_left(w) ? RETRY_NS : WORKER_NS_PER_MS);
	stats_add(&w->stats->udp_no_port, 1);
}

bool udp_ports_may_try(const struct worker *w)
{
	return w->now_ns >= w->udp.ports_retry_ns;
}
