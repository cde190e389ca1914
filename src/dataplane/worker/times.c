/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/times.h"

#include "base/array.h"
#include "dataplane/worker/worker_internal.h"

/*
 * Both times cost next to nothing. The time to connect is the difference of two turns' clocks,
 * which the worker has read anyway, so it is exact to a turn. The time in the backlog is known to
 * the kernel, to a tick of its clock (1 to 10 ms). It is asked for one connection in sixteen.
 */

#define BOUND(i, ns, name) ns,
static const uint64_t connect_bounds[] = {STATS_CONNECT_BOUNDS(BOUND)};
static const uint64_t backlog_bounds[] = {STATS_BACKLOG_BOUNDS(BOUND)};

/* Counts value in a histogram. bucket has one element more than bounds. */
static void count(uint64_t *bucket, const uint64_t *bounds, unsigned n, uint64_t value)
{
	unsigned i = 0;

	while (i < n && value > bounds[i])
		i++;
	stats_add(&bucket[i], 1);
}

void times_accepted(struct worker *w, int fd)
{
	int64_t ms;

	if (w->tcp.accepts++ % TIMES_BACKLOG_EVERY != 0)
		return;
	ms = w->io->ops->backlog_ms(w->io, fd);
	if (ms < 0)
		return;
	count(w->stats->backlog_time, backlog_bounds, ARRAY_SIZE(backlog_bounds),
	      (uint64_t)ms * WORKER_NS_PER_MS);
	stats_add(&w->stats->backlog_time_ns, (uint64_t)ms * WORKER_NS_PER_MS);
}

void times_connected(struct worker *w, uint64_t took_ns)
{
	count(w->stats->connect_time, connect_bounds, ARRAY_SIZE(connect_bounds), took_ns);
	stats_add(&w->stats->connect_time_ns, took_ns);
}
