/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "dataplane/control/control_internal.h"

/*
 * The statistics file, from the parent's side. The parent uses pread(2) rather than a mapping:
 * reading slots that nobody has written to then costs no memory.
 */

/* Slots of one worker that are read at once. */
#define SLOTS_AT_ONCE 256

int dp_stats_open(const struct dataplane *dp, int *stats_fd)
{
	auto_fd int fd = memfd_create("ringkit-stats", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)(dp->workers * STATS_STRIDE)) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	close_fd(stats_fd);
	*stats_fd = steal_fd(&fd);
	return 0;
}

/* Slots */

void dp_slot_get(struct dataplane *dp, struct dp_port *port)
{
	unsigned word = 0;

	while (word < LIMIT_PORTS / 64 && dp->slots[word] == UINT64_MAX)
		word++;
	assert(word < LIMIT_PORTS / 64);
	port->slot = word * 64 + (unsigned)__builtin_ctzll(~dp->slots[word]);
	dp->slots[word] |= 1ull << (port->slot % 64);
	port->slot_used = port->slot < dp->slots_used;
	if (!port->slot_used)
		dp->slots_used = port->slot + 1;
}

void dp_slot_put(struct dataplane *dp, uint32_t slot)
{
	if (slot != DP_SLOT_NONE)
		dp->slots[slot / 64] &= ~(1ull << (slot % 64));
}

/* Reading */

static void add_words(uint64_t *sum, const uint64_t *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sum[i] += words[i];
}

int dataplane_stats_worker(const struct dataplane *dp, unsigned worker, struct stats *out)
{
	assert(worker < dp->workers);
	if (pread(dp->stats_fd, out, sizeof(*out), (off_t)(worker * STATS_STRIDE)) != sizeof(*out))
		return -EIO;
	return 0;
}

void dataplane_stats_sum(struct stats *sum, const struct stats *one)
{
	add_words((uint64_t *)sum, (const uint64_t *)one, STATS_WORDS);
}

/* Adds up what all workers have counted in n slots, from first on. */
static int sum_slots(const struct dataplane *dp, struct port_stats *sum, unsigned first, unsigned n)
{
	struct port_stats part[SLOTS_AT_ONCE];

	memset(sum, 0, n * sizeof(*sum));
	for (unsigned w = 0; w < dp->workers; w++) {
		size_t at = w * STATS_STRIDE + STATS_PORTS_AT + first * sizeof(*sum);

		if (pread(dp->stats_fd, part, n * sizeof(*part), (off_t)at) !=
		    (ssize_t)(n * sizeof(*part)))
			return -EIO;
		add_words((uint64_t *)sum, (const uint64_t *)part, n * PORT_STATS_WORDS);
	}
	return 0;
}

static struct dp_port **ports_by_slot(const struct dataplane *dp)
{
	struct dp_port **by_slot = calloc(dp->slots_used + 1, sizeof(struct dp_port *));

	for (struct dp_port *port = dp->ports; by_slot && port; port = port->hh.next)
		by_slot[port->slot] = port;
	return by_slot;
}

int dataplane_stats_ports(const struct dataplane *dp, dataplane_port_stats_fn *fn, void *arg)
{
	auto_free struct dp_port **by_slot = ports_by_slot(dp);
	struct port_stats sum[SLOTS_AT_ONCE];
	int code = by_slot ? 0 : -ENOMEM;

	for (unsigned first = 0; first < dp->slots_used && !code; first += SLOTS_AT_ONCE) {
		unsigned left = dp->slots_used - first;
		unsigned n = left < SLOTS_AT_ONCE ? left : SLOTS_AT_ONCE;

		code = sum_slots(dp, sum, first, n);
		for (unsigned i = 0; i < n && !code; i++)
			if (by_slot[first + i] && by_slot[first + i]->state == DP_PORT_LIVE)
				code = fn(arg, by_slot[first + i]->id, &sum[i]);
	}
	return code;
}

unsigned dataplane_starts(const struct dataplane *dp)
{
	return dp->starts;
}
