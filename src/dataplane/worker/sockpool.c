/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/sockpool.h"

#include <assert.h>
#include <string.h>

/* A pool that asks twice within this time is too small. */
#define BUSY_NS 100000000ull

/* Pause after the broker could not make all the sockets. */
#define RETRY_NS 50000000ull

void sockpool_init(struct sockpool *p, struct io *io, unsigned batch_max)
{
	assert(batch_max >= SOCKPOOL_REST && batch_max <= FDPASS_MAX);
	memset(p, 0, sizeof(*p));
	p->io = io;
	p->batch = SOCKPOOL_REST;
	p->batch_max = batch_max;
}

int sockpool_take(struct sockpool *p)
{
	if (p->n == 0)
		return -1;
	p->n--;
	if (p->n < p->low)
		p->low = p->n;
	return p->fds[p->n];
}

unsigned sockpool_wanted(const struct sockpool *p, uint64_t now_ns)
{
	unsigned hold = p->waiting > p->batch ? p->waiting : p->batch;
	unsigned enough = p->top_up ? hold : (hold + 1) / 2;

	if ((p->users == 0 && p->waiting == 0) || p->requested || now_ns < p->retry_ns ||
	    p->n >= enough)
		return 0;
	return hold - p->n < FDPASS_MAX ? hold - p->n : FDPASS_MAX;
}

void sockpool_requested(struct sockpool *p, uint64_t now_ns)
{
	if (p->requested_ns && now_ns - p->requested_ns < BUSY_NS && p->batch < p->batch_max) {
		p->batch *= 2;
		if (p->batch > p->batch_max)
			p->batch = p->batch_max;
	}
	p->requested = true;
	p->busy |= !p->top_up;
	p->top_up = false;
	p->requested_ns = now_ns;
}

void sockpool_fill(struct sockpool *p, const int *fds, unsigned n, int err, uint64_t now_ns)
{
	p->requested = false;
	for (unsigned i = 0; i < n; i++) {
		if (p->n < SOCKPOOL_MAX)
			p->fds[p->n++] = fds[i];
		else
			p->io->ops->close_fd(p->io, fds[i]);
	}
	if (err)
		p->retry_ns = now_ns + RETRY_NS;
}

uint64_t sockpool_retry_at(const struct sockpool *pools, unsigned n, uint64_t now_ns)
{
	uint64_t at = UINT64_MAX;

	for (unsigned i = 0; i < n; i++)
		if (pools[i].waiting && pools[i].retry_ns > now_ns && pools[i].retry_ns < at)
			at = pools[i].retry_ns;
	return at;
}

void sockpool_reset(struct sockpool *p)
{
	p->requested = false;
	p->retry_ns = 0;
}

static unsigned batch_at_rest(unsigned batch)
{
	return batch / 4 > SOCKPOOL_REST ? batch / 4 : SOCKPOOL_REST;
}

bool sockpool_trim(struct sockpool *p)
{
	unsigned keep, spare;
	bool was_busy = p->busy;

	if (!was_busy)
		p->batch = batch_at_rest(p->batch);
	p->busy = false;
	keep = p->users ? p->batch : 0;
	spare = p->n > keep ? p->n - keep : 0;
	if (spare > p->low)
		spare = p->low;
	assert(spare <= p->n);
	for (unsigned i = 0; i < spare; i++)
		p->io->ops->close_fd(p->io, p->fds[i]);
	p->n -= spare;
	memmove(p->fds, p->fds + spare, p->n * sizeof(p->fds[0]));
	p->low = p->n;
	p->top_up = !was_busy && p->n < keep;
	return was_busy || p->n > keep || p->batch > SOCKPOOL_REST || p->top_up;
}

void sockpool_close(struct sockpool *p)
{
	for (unsigned i = 0; i < p->n; i++)
		p->io->ops->close_fd(p->io, p->fds[i]);
	p->n = 0;
}
