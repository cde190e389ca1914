/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/sockpool.h"

#include <assert.h>
#include <string.h>

/* Kept while nothing happens: the first connections after a pause find a socket. */
#define BATCH_MIN 8

/* Two requests within this time: the pool is too small. */
#define BUSY_NS 100000000ull

/* After the broker could not make all that it was asked for. */
#define RETRY_NS 50000000ull

void sockpool_init(struct sockpool *p, struct io *io)
{
	memset(p, 0, sizeof(*p));
	p->io = io;
	p->batch = BATCH_MIN;
}

int sockpool_take(struct sockpool *p)
{
	p->active = true;
	if (p->n == 0)
		return -1;
	p->n--;
	if (p->n < p->low)
		p->low = p->n;
	return p->fds[p->n];
}

unsigned sockpool_wanted(const struct sockpool *p, uint64_t now_ns)
{
	unsigned wanted = p->batch;

	if (!p->active || p->requested || now_ns < p->retry_ns || p->n >= (p->batch + 1) / 2)
		return 0;
	if (p->waiting > wanted)
		wanted = p->waiting;
	return wanted < FDPASS_MAX ? wanted : FDPASS_MAX;
}

void sockpool_requested(struct sockpool *p, uint64_t now_ns)
{
	if (p->requested_ns && now_ns - p->requested_ns < BUSY_NS && p->batch < FDPASS_MAX) {
		p->batch *= 2;
		if (p->batch > FDPASS_MAX)
			p->batch = FDPASS_MAX;
	}
	p->requested = true;
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

void sockpool_reset(struct sockpool *p)
{
	p->requested = false;
	p->retry_ns = 0;
}

bool sockpool_trim(struct sockpool *p)
{
	unsigned spare = p->low > BATCH_MIN ? p->low - BATCH_MIN : 0;

	assert(spare <= p->n);
	for (unsigned i = 0; i < spare; i++)
		p->io->ops->close_fd(p->io, p->fds[i]);
	p->n -= spare;
	memmove(p->fds, p->fds + spare, p->n * sizeof(p->fds[0]));
	p->low = p->n;
	if (spare && p->batch > BATCH_MIN)
		p->batch /= 2;
	return spare > 0;
}

void sockpool_close(struct sockpool *p)
{
	for (unsigned i = 0; i < p->n; i++)
		p->io->ops->close_fd(p->io, p->fds[i]);
	p->n = 0;
}
