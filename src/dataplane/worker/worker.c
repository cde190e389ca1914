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
#include "dataplane/sockopt.h"
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

	w->listeners = carve(c, config->listeners_max, sizeof(struct listener));
	w->listener_hash = carve(c, config->listeners_max, sizeof(struct listener *));
	w->tcp = carve(c, config->tcp_flows_max, sizeof(struct tcp_flow));
	w->udp = carve(c, config->udp_flows_max, sizeof(struct udp_flow));
	w->udp_hash = carve(c, (size_t)w->udp_hash_mask + 1, sizeof(struct udp_flow *));
	w->copy = carve(c, 1, WORKER_BULK_COPY_BYTES);
	w->udp_copies = carve(c, UDP_COPIES, UDP_COPY_BYTES);
}

/* One mapping for everything. Pages that were never needed are never touched. */
static int take_memory(struct worker *w)
{
	struct carve c = {.base = NULL};

	w->udp_hash_mask = power_of_two(w->config.udp_flows_max) - 1;
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

/* Descriptors */

/* The last of them, as a share, are for flows that are under way. */
#define FDS_RESERVE 16

enum worker_fds worker_fds(const struct worker *w)
{
	unsigned max = w->config.fds_max;
	unsigned n = w->n_listeners + 2 * w->pipes.n_open + w->udp_slots + 2 * w->tcp_count;

	for (unsigned i = 0; i < POOLS; i++)
		n += sockpool_hold(&w->pools[i]);
	n += 2; /* another flow */
	if (n > max)
		return WORKER_FDS_OUT;
	return n > max - max / FDS_RESERVE ? WORKER_FDS_LOW : WORKER_FDS_PLENTY;
}

/* What a pool may hold. */
static unsigned pool_max(const struct worker_config *config)
{
	unsigned max = config->fds_max / FDS_RESERVE;

	if (max < SOCKPOOL_REST)
		return SOCKPOOL_REST;
	return max < FDPASS_MAX ? max : FDPASS_MAX;
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
	w->control_fd = w->broker_fd = w->next_broker_fd = -1;
	w->probe_fd[0] = w->probe_fd[1] = -1;
	w->resume_ns = w->trim_ns = UINT64_MAX;
	w->now_ns = io->ops->now_ns(io);
	if (take_memory(w) < 0) {
		free(w);
		return -ENOMEM;
	}
	if (getrandom(&w->udp_hash_seed, sizeof(w->udp_hash_seed), GRND_NONBLOCK) < 0)
		w->udp_hash_seed = w->now_ns;
	pipepool_init(&w->pipes, io, w->stats, config->pipes_max);
	for (unsigned i = 0; i < POOLS; i++)
		sockpool_init(&w->pools[i], io, pool_max(config));
	*out = w;
	return 0;
}

void worker_close(struct worker *w)
{
	int fds[] = {w->control_fd, w->broker_fd, w->next_broker_fd};

	tcp_close_all(w);
	udp_close_all(w);
	listener_close_all(w);
	pipepool_close(&w->pipes);
	for (unsigned i = 0; i < POOLS; i++)
		sockpool_close(&w->pools[i]);
	for (unsigned i = 0; i < 2; i++)
		if (w->probe_fd[i] >= 0)
			w->io->ops->close_fd(w->io, w->probe_fd[i]);
	for (unsigned i = 0; i < 3; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	io_sys_unmap(w->mapping, w->mapping_bytes);
	free(w);
}

/* Sockets from the broker */

static unsigned pool_index(int family, int type)
{
	return (type == SOCK_STREAM ? POOL_TCP4 : POOL_UDP4) + (family == AF_INET6);
}

static int pool_family(unsigned pool)
{
	return pool == POOL_TCP6 || pool == POOL_UDP6 ? AF_INET6 : AF_INET;
}

static int pool_proto(unsigned pool)
{
	return pool == POOL_TCP4 || pool == POOL_TCP6 ? IPPROTO_TCP : IPPROTO_UDP;
}

int worker_take_socket(struct worker *w, int family, int type)
{
	int fd = sockpool_take(&w->pools[pool_index(family, type)]);

	if (fd < 0)
		stats_add(&w->stats->pool_empty, 1);
	return fd;
}

static void request_sockets(struct worker *w)
{
	for (unsigned i = 0; i < POOLS; i++) {
		struct broker_request req;
		unsigned n = sockpool_wanted(&w->pools[i], w->now_ns);

		if (n == 0 || w->broker_fd < 0)
			continue;
		req = (struct broker_request){.family = (uint8_t)pool_family(i),
					      .proto = (uint8_t)pool_proto(i),
					      .count = (uint16_t)n};
		/* Where this fails the broker is gone or behind; the next turn tries again. */
		if (fdpass_send(w->broker_fd, &req, sizeof(req), NULL, 0, MSG_DONTWAIT) < 0)
			continue;
		sockpool_requested(&w->pools[i], w->now_ns);
		stats_add(&w->stats->sockets_requested, n);
	}
}

/* The broker runs in a namespace that its user rules: what it says is checked. */
static bool is_as_ordered(const struct worker *w, int fd, const struct broker_reply *reply)
{
	if (!sockopt_is(fd, SO_DOMAIN, reply->family) ||
	    !sockopt_is(fd, SO_PROTOCOL, reply->proto) ||
	    !sockopt_is(fd, SO_TYPE, reply->proto == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM))
		return false;
	if (w->config.netns_cookie == 0)
		return true;
	return sockopt_in_netns(fd, w->config.netns_cookie);
}

static void take_reply(struct worker *w, const struct broker_reply *reply, int *fds, size_t n)
{
	int type = reply->proto == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM;
	unsigned kept = 0;

	for (size_t i = 0; i < n; i++) {
		if (is_as_ordered(w, fds[i], reply)) {
			fds[kept++] = fds[i];
			continue;
		}
		stats_add(&w->stats->sockets_rejected, 1);
		close(fds[i]);
	}
	stats_add(&w->stats->sockets_received, kept);
	sockpool_fill(&w->pools[pool_index(reply->family, type)], fds, kept,
		      kept == 0 && !reply->err ? -EIO : reply->err, w->now_ns);
	if (type == SOCK_STREAM)
		tcp_sockets_ready(w, reply->family);
	else
		udp_sockets_ready(w, reply->family);
}

static void arm_broker(struct worker *w)
{
	w->io->ops->poll(w->io, w->broker_fd, POLLIN,
			 handle_pack(HANDLE_BROKER, 0, w->broker_gen, 0));
}

static void broker_open(struct worker *w, int fd)
{
	w->broker_fd = fd;
	w->broker_gen++;
	for (unsigned i = 0; i < POOLS; i++)
		sockpool_reset(&w->pools[i]);
	arm_broker(w);
}

static void broker_ended(struct worker *w)
{
	int next = w->next_broker_fd;

	close(w->broker_fd);
	w->broker_fd = w->next_broker_fd = -1;
	if (next >= 0)
		broker_open(w, next);
}

/* Out of descriptors: what could not be received is lost, and asked for again in a while. */
static void refuse_all(struct worker *w)
{
	for (unsigned i = 0; i < POOLS; i++)
		if (w->pools[i].requested)
			sockpool_fill(&w->pools[i], NULL, 0, -EMFILE, w->now_ns);
}

static void broker_event(struct worker *w, const struct io_event *ev)
{
	if (w->broker_fd < 0 || !handle_is_current(ev->handle, w->broker_gen))
		return;
	for (;;) {
		struct broker_reply reply;
		int fds[FDPASS_MAX];
		size_t n = FDPASS_MAX;
		ssize_t len =
			fdpass_recv(w->broker_fd, &reply, sizeof(reply), fds, &n, MSG_DONTWAIT);

		if (len == -EAGAIN)
			break;
		if (len == -EMFILE) {
			refuse_all(w);
			continue;
		}
		if (len != sizeof(reply)) {
			fdpass_close(fds, len > 0 ? n : 0);
			broker_ended(w);
			return;
		}
		take_reply(w, &reply, fds, n);
	}
	arm_broker(w);
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

static void replace_broker(struct worker *w, int fd)
{
	if (w->broker_fd < 0) {
		broker_open(w, fd);
		return;
	}
	if (w->next_broker_fd >= 0)
		close(w->next_broker_fd);
	w->next_broker_fd = fd;
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
			replace_broker(w, fd);
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
	broker_open(w, broker_fd);
}

/* Turns */

static void dispatch(struct worker *w, const struct io_event *ev)
{
	switch (handle_op(ev->handle)) {
	case HANDLE_CONTROL:
		control_event(w);
		break;
	case HANDLE_BROKER:
		broker_event(w, ev);
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
		bool more = pipepool_trim(&w->pipes);

		for (unsigned i = 0; i < POOLS; i++)
			more |= sockpool_trim(&w->pools[i]);
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
	uint64_t at = earlier(w->trim_ns, w->n_paused ? w->resume_ns : UINT64_MAX);

	if (w->run_queue || w->udp_paused)
		return 0;
	at = earlier(at, client_address_deadline(w));
	if (w->udp_ages)
		at = earlier(at, w->udp_ages->check_ns);
	for (unsigned i = 0; i < POOLS; i++)
		if (w->pools[i].waiting && w->pools[i].retry_ns > w->now_ns)
			at = earlier(at, w->pools[i].retry_ns);
	return at;
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
	client_address_tick(w);
	if (w->n_paused && w->now_ns >= w->resume_ns)
		listener_resume(w);
	trim(w, n > 0);
	request_sockets(w);
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
