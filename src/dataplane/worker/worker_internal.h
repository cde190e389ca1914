/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_WORKER_INTERNAL_H
#define RINGKIT_DATAPLANE_WORKER_WORKER_INTERNAL_H

#include "dataplane/io/handle.h"
#include "dataplane/worker/answers.h"
#include "dataplane/worker/budget.h"
#include "dataplane/worker/client_address.h"
#include "dataplane/worker/flow.h"
#include "dataplane/worker/handover.h"
#include "dataplane/worker/listener.h"
#include "dataplane/worker/out.h"
#include "dataplane/worker/out_icmp.h"
#include "dataplane/worker/pipepool.h"
#include "dataplane/worker/probes.h"
#include "dataplane/worker/requests.h"
#include "dataplane/worker/rhythm.h"
#include "dataplane/worker/supply.h"
#include "dataplane/worker/tcp.h"
#include "dataplane/worker/tcp_connect.h"
#include "dataplane/worker/tcp_flow.h"
#include "dataplane/worker/tcp_pump.h"
#include "dataplane/worker/tcp_sweep.h"
#include "dataplane/worker/tcp_timer.h"
#include "dataplane/worker/times.h"
#include "dataplane/worker/udp.h"
#include "dataplane/worker/udp_copy.h"
#include "dataplane/worker/udp_hash.h"
#include "dataplane/worker/udp_key.h"
#include "dataplane/worker/udp_pending.h"
#include "dataplane/worker/udp_ports.h"
#include "dataplane/worker/udp_send.h"
#include "dataplane/worker/udp_target.h"
#include "dataplane/worker/worker.h"

/* Completions taken in one turn. */
#define WORKER_EVENTS 256

/* Size of a read. A flow that fills it counts as a bulk transfer. Copying this much costs about as
 * much as two splices. */
#define WORKER_COPY_BYTES 16384

/* A flow that could not get a pipe copies this much at a time. */
#define WORKER_BULK_COPY_BYTES 262144

/* Bytes one direction of a flow may move before the others have their turn. */
#define WORKER_FLOW_BUDGET (1u << 20)

struct worker {
	struct worker_config config;
	struct io *io;
	struct stats *stats;
	uint64_t now_ns; /* the clock, read once in a turn */
	struct rhythm rhythm;

	struct requests requests;
	struct answers answers;
	struct handover handover;
	struct listeners listeners;
	struct tcp_table tcp;
	struct client_pauses pauses;
	struct udp_table udp;
	struct pipepool pipes;
	struct supply supply; /* of the command's namespace */
	struct probes probes;
	struct out out;
	uint64_t trim_ns;

	uint8_t *copy; /* WORKER_BULK_COPY_BYTES */
	void *mapping;
	size_t mapping_bytes;
	struct io_event events[WORKER_EVENTS];
};

#define WORKER_NS_PER_MS 1000000ull

/* What another process hands over is not taken for more than it may be. */
static inline uint64_t worker_at_most(uint64_t n, uint64_t max)
{
	return n < max ? n : max;
}

/* Whether a completion belongs to the present life of its slot. One that does not is counted.
 * taken: the slot is in use. */
static inline bool worker_is_current(struct worker *w, const struct io_event *ev, bool taken,
				     uint32_t gen)
{
	bool current = taken && handle_is_current(ev->handle, gen);

	if (!current)
		stats_add(&w->stats->stale_completions, 1);
	return current;
}

/* Whether nothing may be begun, since a hand-over has brought everything to rest, or holds it
 * there. */
static inline bool handover_holds(const struct worker *w)
{
	return w->handover.state != HANDOVER_NONE;
}

static inline uint32_t listener_index(const struct worker *w, const struct listener *l)
{
	return (uint32_t)(l - w->listeners.table);
}

#endif
