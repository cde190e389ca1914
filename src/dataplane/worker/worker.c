/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/worker.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "base/limits.h"
#include "dataplane/worker/worker_internal.h"

/*
 * A worker's turn: it waits for completions, acts on each, lets flows that had more than their
 * budget go on, sends the datagrams that were collected, acts on timers, and asks for sockets.
 */

/* How often pools are cut back to what was used. */
#define TRIM_NS (2000 * WORKER_NS_PER_MS)

/* Memory */

static size_t page_round(size_t bytes)
{
	return (bytes + 4095) & ~(size_t)4095;
}

static uint32_t power_of_two(uint32_t n)
{
	uint32_t p = 1;

	while (p < n)
		p *= 2;
	return p;
}

/* Gives out parts of the mapping, one by one. With base NULL it only adds up their sizes. */
struct carve {
	uint8_t *base;
	size_t at;
};

static void *carve(struct carve *c, size_t n, size_t size)
{
	void *p = c->base ? c->base + c->at : NULL;

	c->at += page_round(n * size);
	return p;
}

static void carve_out_udp(struct worker *w, struct carve *c)
{
	const struct out_config *config = &w->config.out;
	struct out_udp *u = &w->out.udp;
	size_t buckets = (size_t)u->hash_mask + 1;

	w->out.pings.table = carve(c, LIMIT_OUT_PINGS, sizeof(struct out_ping));
	u->maps = carve(c, config->maps_max, sizeof(struct out_map));
	u->peers = carve(c, config->peers_max, sizeof(struct out_peer));
	u->responders = carve(c, config->responders_max, sizeof(struct out_responder));
	u->map_hash = carve(c, buckets, sizeof(struct out_map *));
	u->peer_hash = carve(c, buckets, sizeof(struct out_peer *));
	u->responder_hash = carve(c, buckets, sizeof(struct out_responder *));
}

static void carve_all(struct worker *w, struct carve *c)
{
	const struct worker_config *config = &w->config;

	w->listeners.table = carve(c, config->listeners_max, sizeof(struct listener));
	w->listeners.hash = carve(c, config->listeners_max, sizeof(struct listener *));
	w->listeners.held = carve(c, config->listeners_max, sizeof(uint32_t));
	w->tcp.flows = carve(c, (size_t)config->tcp_flows_max + config->out.tcp_flows_max,
			     sizeof(struct tcp_flow));
	w->tcp.timers = carve(c, (size_t)config->tcp_flows_max + config->out.tcp_flows_max,
			      sizeof(uint32_t));
	w->udp.flows = carve(c, config->udp_flows_max, sizeof(struct udp_flow));
	w->udp.hash = carve(c, (size_t)w->udp.hash_mask + 1, sizeof(struct udp_flow *));
	w->copy = carve(c, 1, WORKER_BULK_COPY_BYTES);
	w->answers.queue = carve(c, w->answers.max, sizeof(struct answer));
	w->answers.msgs = carve(c, DP_MSGS_MAX, sizeof(struct dp_msg));
	w->requests.msgs = carve(c, DP_MSGS_MAX, sizeof(struct dp_msg));
	w->udp.store.data = carve(c, UDP_BLOCKS, UDP_BLOCK_BYTES);
	w->udp.store.blocks = carve(c, UDP_BLOCKS, sizeof(struct udp_block));
	if (!config->out.policy)
		return;
	w->out.tcp.table = carve(c, config->out.pending_max, sizeof(struct out_pending));
	w->out.tcp.hash = carve(c, (size_t)w->out.tcp.hash_mask + 1, sizeof(struct out_pending *));
	carve_out_udp(w, c);
}

/* Takes the memory of all tables, in one mapping. Pages that are never touched cost nothing. */
static int take_memory(struct worker *w)
{
	struct carve c = {.base = NULL};

	w->udp.hash_mask = power_of_two(w->config.udp_flows_max) - 1;
	w->out.udp.hash_mask = power_of_two(w->config.out.peers_max) - 1;
	w->out.tcp.hash_mask = power_of_two(w->config.out.pending_max) - 1;
	carve_all(w, &c);
	w->mapping_bytes = c.at;
	w->mapping = io_sys_map(w->mapping_bytes);
	if (!w->mapping)
		return -ENOMEM;
	c = (struct carve){.base = w->mapping};
	carve_all(w, &c);
	assert(c.at == w->mapping_bytes);
	return 0;
}

/* Opening and closing */

int worker_open(const struct worker_config *config, struct io *io, struct worker **out)
{
	struct worker *w = calloc(1, sizeof(*w));
	int code;

	assert(config->listeners_max && !(config->listeners_max & (config->listeners_max - 1)));
	if (!w)
		return -ENOMEM;
	w->config = *config;
	w->io = io;
	w->stats = config->stats;
	w->answers.fd = -1;
	w->answers.max = answers_max(config->listeners_max);
	w->listeners.resume_ns = w->trim_ns = UINT64_MAX;
	w->now_ns = io->ops->now_ns(io);
	if (take_memory(w) < 0) {
		free(w);
		return -ENOMEM;
	}
	udp_copy_init(w);
	handover_open(w, config->hold);
	w->udp.hash_seed = io->ops->random(io);
	pipepool_init(&w->pipes, io, w->stats, config->pipes_max);
	supply_open(w, &w->supply, HANDLE_BROKER, config->netns_cookie);
	probes_open(w);
	code = out_open(w);
	if (code) {
		worker_close(w);
		return code;
	}
	*out = w;
	return 0;
}

void worker_close(struct worker *w)
{
	tcp_close_all(w);
	udp_close_all(w);
	out_close(w);
	listener_close_all(w);
	pipepool_close(&w->pipes);
	probes_close(w);
	supply_close(w, &w->supply);
	handover_close(w);
	if (w->answers.fd >= 0)
		w->io->ops->close_fd(w->io, w->answers.fd);
	io_sys_unmap(w->mapping, w->mapping_bytes);
	free(w);
}

void worker_set_channels(struct worker *w, int control_fd, int broker_fd)
{
	w->answers.fd = control_fd;
	requests_open(w);
	supply_set_channel(w, &w->supply, broker_fd);
}

/* Turns */

static void sockets_ready(struct worker *w)
{
	udp_sockets_ready(w, AF_INET);
	udp_sockets_ready(w, AF_INET6);
	tcp_sockets_ready(w, AF_INET, false);
	tcp_sockets_ready(w, AF_INET6, false);
}

static void dispatch(struct worker *w, const struct io_event *ev)
{
	switch (handle_op(ev->handle)) {
	case HANDLE_CONTROL:
		requests_event(w);
		break;
	case HANDLE_ANSWERS:
		answers_event(w);
		break;
	case HANDLE_BROKER:
		supply_event(w, &w->supply, ev);
		probes_ready(w);
		sockets_ready(w);
		break;
	case HANDLE_HANDOVER:
		handover_event(w, ev);
		break;
	case HANDLE_ACCEPT:
		listener_accept_event(w, ev);
		break;
	case HANDLE_UDP_LISTEN:
		listener_udp_event(w, ev);
		break;
	case HANDLE_UDP_FLOW:
		udp_flow_event(w, ev);
		break;
	case HANDLE_TCP_CONNECT:
	case HANDLE_TCP_READ:
	case HANDLE_TCP_WRITE:
	case HANDLE_TCP_WATCH:
		tcp_event(w, ev);
		break;
	case HANDLE_OUT_GATE:
	case HANDLE_OUT_CONNECT:
	case HANDLE_OUT_DATAGRAMS:
	case HANDLE_OUT_MAP:
	case HANDLE_OUT_PING:
	case HANDLE_OUT_CHANNEL:
		out_event(w, ev);
		break;
	default:
		break; /* a cancellation that came too late */
	}
}

static void trim(struct worker *w, bool active)
{
	if (w->now_ns >= w->trim_ns) {
		bool more_pipes = pipepool_trim(&w->pipes), more_supply = supply_trim(&w->supply);
		bool more_out = out_trim(w), more = more_pipes || more_supply || more_out;

		w->trim_ns = more ? w->now_ns + TRIM_NS : UINT64_MAX;
	} else if (active && w->trim_ns == UINT64_MAX) {
		w->trim_ns = w->now_ns + TRIM_NS;
	}
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t next_deadline(struct worker *w)
{
	uint64_t at = earlier(w->trim_ns, listener_deadline(w));

	if (w->tcp.run_queue)
		return 0;
	at = earlier(at, tcp_timer_next(w));
	at = earlier(at, tcp_sweep_deadline(w));
	at = earlier(at, udp_deadline(w));
	at = earlier(at, out_deadline(w));
	return earlier(at, supply_deadline(w, &w->supply));
}

/* Serves everything, after the completions. */
static void serve(struct worker *w, bool active)
{
	tcp_run_queue(w);
	udp_flush(w);
	udp_tick(w);
	tcp_tick(w);
	tcp_sweep_tick(w);
	out_tick(w);
	listener_tick(w);
	requests_resume(w);
	trim(w, active);
	supply_request(w, &w->supply);
}

/* The same for a worker that must begin nothing. */
static void rest(struct worker *w)
{
	udp_flush(w);
	out_rest_tick(w);
	requests_resume(w);
	supply_request(w, &w->supply);
	handover_tick(w);
}

/* More events than this in a turn are not the rhythm of a few connections. */
#define FEW_EVENTS 4

/* Bulk transfers, datagrams and many connections keep a worker busy anyway. There, looking for
 * events costs more than it saves. */
static bool is_busy(const struct worker *w, int n)
{
	for (int i = 0; i < n && n <= FEW_EVENTS; i++)
		if (w->events[i].has_dgram || handle_op(w->events[i].handle) == HANDLE_OUT_MAP)
			return true;
	return n > FEW_EVENTS || w->tcp.run_queue;
}

/* Waits for events. Returns how many, or -errno. */
static int wait_for_events(struct worker *w, uint64_t until)
{
	struct io *io = w->io;
	int n;

	if (w->config.looks)
		io->look_ns = until ? rhythm_begin(&w->rhythm, io->ops->now_ns(io)) : 0;
	io->look_cut = false;
	n = io->ops->wait(io, w->events, WORKER_EVENTS, until);
	w->now_ns = io->ops->now_ns(io);
	if (w->config.looks && until)
		rhythm_end(&w->rhythm, w->now_ns, io->look_cut);
	return n;
}

int worker_turn(struct worker *w)
{
	uint64_t until = handover_holds(w) ? handover_deadline(w) : next_deadline(w);
	int n;

	w->io->accepts_left[IO_ACCEPTS_PUBLISHED] = budget_connections(w);
	w->io->accepts_held = w->listeners.held;
	w->io->accepts_left[IO_ACCEPTS_OUTWARD] = UINT_MAX; /* out_tcp.c counts these itself */
	n = wait_for_events(w, until);
	if (n < 0)
		return n;
	for (int i = 0; i < n; i++)
		dispatch(w, &w->events[i]);
	if (is_busy(w, n))
		rhythm_break(&w->rhythm);
	if (handover_holds(w))
		rest(w);
	if (!handover_holds(w))
		serve(w, n > 0);
	answers_tick(w);
	return w->requests.ended;
}

int worker_run(struct worker *w)
{
	int r;

	do
		r = worker_turn(w);
	while (r == 0);
	return r < 0 ? r : 0;
}
