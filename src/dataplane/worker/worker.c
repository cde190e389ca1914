/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/worker.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/fdpass.h"
#include "base/log.h"
#include "dataplane/worker/worker_internal.h"

/*
 * A worker's turn: wait for completions, act on each, let flows that had more than their budget go
 * on, send the datagrams that were collected, look at the clock, ask for sockets.
 */

/* Pools are cut back to what was used once in this time. */
#define TRIM_NS (2000 * WORKER_NS_PER_MS)

/* How long a worker waits for the parent to read its answers. The parent never waits for a worker,
 * so this is what the parent's longest turn may last. */
#define DONE_PATIENCE_MS 5000

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

/* Hands out the mapping piece by piece; with base NULL it only adds up. */
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

static void carve_all(struct worker *w, struct carve *c)
{
	const struct worker_config *config = &w->config;

	w->listeners.table = carve(c, config->listeners_max, sizeof(struct listener));
	w->listeners.hash = carve(c, config->listeners_max, sizeof(struct listener *));
	w->tcp.flows = carve(c, config->tcp_flows_max, sizeof(struct tcp_flow));
	w->udp.flows = carve(c, config->udp_flows_max, sizeof(struct udp_flow));
	w->udp.hash = carve(c, (size_t)w->udp.hash_mask + 1, sizeof(struct udp_flow *));
	w->copy = carve(c, 1, WORKER_BULK_COPY_BYTES);
	w->udp.copies = carve(c, UDP_COPIES, UDP_COPY_BYTES);
}

/* One mapping for everything. Pages that were never needed are never touched. */
static int take_memory(struct worker *w)
{
	struct carve c = {.base = NULL};

	w->udp.hash_mask = power_of_two(w->config.udp_flows_max) - 1;
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

	assert(config->listeners_max && !(config->listeners_max & (config->listeners_max - 1)));
	if (!w)
		return -ENOMEM;
	w->config = *config;
	w->io = io;
	w->stats = config->stats;
	w->control_fd = -1;
	w->listeners.resume_ns = w->trim_ns = UINT64_MAX;
	w->now_ns = io->ops->now_ns(io);
	if (take_memory(w) < 0) {
		free(w);
		return -ENOMEM;
	}
	if (getrandom(&w->udp.hash_seed, sizeof(w->udp.hash_seed), GRND_NONBLOCK) < 0)
		w->udp.hash_seed = w->now_ns;
	pipepool_init(&w->pipes, io, w->stats, config->pipes_max);
	supply_open(w);
	*out = w;
	return 0;
}

void worker_close(struct worker *w)
{
	tcp_close_all(w);
	udp_close_all(w);
	listener_close_all(w);
	pipepool_close(&w->pipes);
	supply_close(w);
	if (w->control_fd >= 0)
		close(w->control_fd);
	io_sys_unmap(w->mapping, w->mapping_bytes);
	free(w);
}

/* The parent's requests */

int worker_port_add(struct worker *w, const struct dp_msg *msg, int fd)
{
	return listener_add(w, msg, fd);
}

int worker_port_remove(struct worker *w, int port_id, uint32_t seq)
{
	return listener_remove(w, port_id, seq);
}

void worker_send_done(struct worker *w, int port_id, uint32_t seq, int err)
{
	struct dp_msg msg = {.type = DP_MSG_DONE, .seq = seq, .port_id = port_id, .err = err};
	int code;

	if (w->control_fd < 0)
		return;
	code = fdpass_send(w->control_fd, &msg, sizeof(msg), NULL, 0, MSG_DONTWAIT);
	if (code == -EAGAIN) {
		struct pollfd pfd = {.fd = w->control_fd, .events = POLLOUT};

		poll(&pfd, 1, DONE_PATIENCE_MS);
		code = fdpass_send(w->control_fd, &msg, sizeof(msg), NULL, 0, MSG_DONTWAIT);
	}
	if (code < 0 && code != -EPIPE)
		log_error("worker %u: no answer to the parent about port %d: %s", w->config.number,
			  port_id, strerror(-code));
}

static void control_message(struct worker *w, const struct dp_msg *msg, int fd)
{
	int err;

	switch (msg->type) {
	case DP_MSG_ADD:
		err = fd >= 0 ? worker_port_add(w, msg, fd) : -EBADF;
		worker_send_done(w, msg->port_id, msg->seq, err);
		break;
	case DP_MSG_REMOVE:
		err = worker_port_remove(w, msg->port_id, msg->seq);
		if (err < 0)
			worker_send_done(w, msg->port_id, msg->seq, err);
		break;
	case DP_MSG_NEW_BROKER:
		if (fd >= 0)
			supply_set_broker(w, fd);
		break;
	default:
		assert(false);
	}
}

static void arm_control(struct worker *w)
{
	w->io->ops->poll(w->io, w->control_fd, POLLIN, handle_pack(HANDLE_CONTROL, 0, 0, 0));
}

static void control_event(struct worker *w)
{
	for (;;) {
		struct dp_msg msg;
		int fd = -1;
		size_t n = 1;
		ssize_t len = fdpass_recv(w->control_fd, &msg, sizeof(msg), &fd, &n, MSG_DONTWAIT);

		if (len == -EAGAIN)
			break;
		if (len == -EMFILE) {
			/* The message itself is whole: the parent hears that it did not work. */
			control_message(w, &msg, -1);
			continue;
		}
		if (len != sizeof(msg)) {
			w->ended = true;
			return;
		}
		control_message(w, &msg, n == 1 ? fd : -1);
	}
	arm_control(w);
}

void worker_set_channels(struct worker *w, int control_fd, int broker_fd)
{
	w->control_fd = control_fd;
	arm_control(w);
	supply_set_broker(w, broker_fd);
}

/* Turns */

static void sockets_ready(struct worker *w)
{
	udp_sockets_ready(w, AF_INET);
	udp_sockets_ready(w, AF_INET6);
	tcp_sockets_ready(w, AF_INET);
	tcp_sockets_ready(w, AF_INET6);
}

static void dispatch(struct worker *w, const struct io_event *ev)
{
	switch (handle_op(ev->handle)) {
	case HANDLE_CONTROL:
		control_event(w);
		break;
	case HANDLE_BROKER:
		supply_event(w, ev);
		sockets_ready(w);
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
	default:
		break; /* a cancellation that came too late */
	}
}

static void trim(struct worker *w, bool active)
{
	if (w->now_ns >= w->trim_ns) {
		bool more = pipepool_trim(&w->pipes) | supply_trim(w);

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
	uint64_t at =
		earlier(w->trim_ns, w->listeners.n_paused ? w->listeners.resume_ns : UINT64_MAX);

	if (w->tcp.run_queue || w->udp.paused)
		return 0;
	at = earlier(at, client_address_deadline(w));
	if (w->udp.ages)
		at = earlier(at, w->udp.ages->check_ns);
	return earlier(at, supply_deadline(w));
}

int worker_turn(struct worker *w)
{
	int n = w->io->ops->wait(w->io, w->events, WORKER_EVENTS, next_deadline(w));

	if (n < 0)
		return n;
	w->now_ns = w->io->ops->now_ns(w->io);
	for (int i = 0; i < n; i++)
		dispatch(w, &w->events[i]);
	tcp_run_queue(w);
	udp_flush(w);
	udp_tick(w);
	tcp_tick(w);
	if (w->listeners.n_paused && w->now_ns >= w->listeners.resume_ns)
		listener_resume(w);
	trim(w, n > 0);
	supply_request(w);
	return w->ended;
}

int worker_run(struct worker *w)
{
	int r;

	do
		r = worker_turn(w);
	while (r == 0);
	return r < 0 ? r : 0;
}
