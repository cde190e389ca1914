/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/pipepool.h"

#include <assert.h>
#include <string.h>

/* Splicing through a smaller pipe is slower than copying. */
#define PIPE_BYTES_MIN	65536
#define PIPE_BYTES_WANT 1048576

/* How long flows copy after a pipe could not be opened, before another is tried. */
#define RETRY_NS 1000000000ull

void pipepool_init(struct pipepool *p, struct io *io, struct stats *stats, unsigned max)
{
	memset(p, 0, sizeof(*p));
	p->io = io;
	p->stats = stats;
	p->max = max < PIPEPOOL_MAX ? max : PIPEPOOL_MAX;
	for (unsigned i = 0; i < PIPEPOOL_MAX; i++)
		p->pipes[i].fds[0] = p->pipes[i].fds[1] = -1;
}

static void close_pipe(struct pipepool *p, int pipe)
{
	struct pipepool_pipe *slot = &p->pipes[pipe];

	p->io->ops->close_fd(p->io, slot->fds[0]);
	p->io->ops->close_fd(p->io, slot->fds[1]);
	slot->fds[0] = slot->fds[1] = -1;
	p->n_open--;
	stats_sub(&p->stats->pipes_open, 1);
}

static int unused_slot(const struct pipepool *p, unsigned max)
{
	for (unsigned i = 0; i < max; i++)
		if (p->pipes[i].fds[0] < 0)
			return (int)i;
	return PIPEPOOL_NONE;
}

/* Opens a pipe and adds it to the free ones. */
static bool grow(struct pipepool *p, uint64_t now_ns)
{
	int slot = PIPEPOOL_NONE, fds[2];
	ssize_t size;

	if (p->n_open < p->max && now_ns >= p->retry_ns)
		slot = unused_slot(p, p->max);
	if (slot == PIPEPOOL_NONE)
		return false;
	size = p->io->ops->pipe_open(p->io, fds, PIPE_BYTES_WANT);
	if (size >= 0 && size < PIPE_BYTES_MIN) {
		p->io->ops->close_fd(p->io, fds[0]);
		p->io->ops->close_fd(p->io, fds[1]);
		size = -1;
	}
	if (size < 0) {
		p->retry_ns = now_ns + RETRY_NS;
		stats_add(&p->stats->pipes_refused, 1);
		return false;
	}
	p->pipes[slot] = (struct pipepool_pipe){.fds = {fds[0], fds[1]}, .size = (uint32_t)size};
	p->free[p->n_free++] = (int16_t)slot;
	p->n_open++;
	stats_add(&p->stats->pipes_open, 1);
	return true;
}

bool pipepool_ready(struct pipepool *p, uint64_t now_ns)
{
	return p->n_free > 0 || grow(p, now_ns);
}

int pipepool_get(struct pipepool *p, uint64_t now_ns)
{
	int pipe;

	if (!pipepool_ready(p, now_ns))
		return PIPEPOOL_NONE;
	pipe = p->free[--p->n_free];
	if (p->n_free < p->low)
		p->low = p->n_free;
	assert(p->pipes[pipe].fds[0] >= 0);
	return pipe;
}

int pipepool_adopt(struct pipepool *p, const int fds[2], uint32_t size)
{
	/* The earlier data plane had these pipes within the same limit: more than the maximum only
	 * for a while. */
	int slot = unused_slot(p, PIPEPOOL_MAX);

	if (slot == PIPEPOOL_NONE)
		return PIPEPOOL_NONE;
	p->pipes[slot] = (struct pipepool_pipe){.fds = {fds[0], fds[1]}, .size = size};
	p->n_open++;
	stats_add(&p->stats->pipes_open, 1);
	return slot;
}

void pipepool_put(struct pipepool *p, int pipe)
{
	assert(pipe >= 0 && p->n_free < p->n_open);
	p->free[p->n_free++] = (int16_t)pipe;
}

void pipepool_discard(struct pipepool *p, int pipe)
{
	assert(pipe >= 0 && p->pipes[pipe].fds[0] >= 0);
	close_pipe(p, pipe);
}

bool pipepool_trim(struct pipepool *p)
{
	unsigned idle = p->low;

	/* The pipes at the bottom of the stack were not needed. */
	for (unsigned i = 0; i < idle; i++)
		close_pipe(p, p->free[i]);
	p->n_free -= idle;
	memmove(p->free, p->free + idle, p->n_free * sizeof(p->free[0]));
	p->low = p->n_free;
	return p->n_free > 0;
}

void pipepool_close(struct pipepool *p)
{
	p->low = p->n_free;
	pipepool_trim(p);
}
