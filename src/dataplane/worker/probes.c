/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/probes.h"

#include "dataplane/worker/worker_internal.h"

void probes_open(struct worker *w)
{
	w->probes.fd[0] = w->probes.fd[1] = -1;
}

void probes_close(struct worker *w)
{
	for (unsigned i = 0; i < 2; i++)
		if (w->probes.fd[i] >= 0)
			w->io->ops->close_fd(w->io, w->probes.fd[i]);
}

void probes_want(struct worker *w, bool ipv6)
{
	struct sockpool *pool = &w->supply.pools[POOL_UDP4 + ipv6];

	if (w->probes.fd[ipv6] >= 0 || w->probes.wanted[ipv6])
		return;
	/* A pool that already has sockets, for a UDP port, need not ask for any, so no answer would
	 * call probes_ready: take one now. */
	w->probes.fd[ipv6] = sockpool_take(pool);
	if (w->probes.fd[ipv6] >= 0)
		return;
	w->probes.wanted[ipv6] = true;
	pool->waiting++;
}

void probes_ready(struct worker *w)
{
	for (unsigned ipv6 = 0; ipv6 < 2; ipv6++) {
		struct sockpool *pool = &w->supply.pools[POOL_UDP4 + ipv6];

		if (!w->probes.wanted[ipv6] || pool->n == 0)
			continue;
		w->probes.wanted[ipv6] = false;
		pool->waiting--;
		w->probes.fd[ipv6] = sockpool_take(pool);
	}
}
