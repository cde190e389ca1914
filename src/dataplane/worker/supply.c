/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/supply.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/fdpass.h"
#include "dataplane/worker/worker_internal.h"

unsigned supply_index(int family, int type)
{
	return (type == SOCK_STREAM ? POOL_TCP4 : POOL_UDP4) + (family == AF_INET6);
}

int supply_family(unsigned pool)
{
	return pool == POOL_TCP6 || pool == POOL_UDP6 ? AF_INET6 : AF_INET;
}

int supply_proto(unsigned pool)
{
	return pool == POOL_TCP4 || pool == POOL_TCP6 ? IPPROTO_TCP : IPPROTO_UDP;
}

int supply_take(struct worker *w, int family, int type)
{
	int fd = sockpool_take(&w->supply.pools[supply_index(family, type)]);

	if (fd < 0)
		stats_add(&w->stats->pool_empty, 1);
	return fd;
}

void supply_request(struct worker *w)
{
	for (unsigned i = 0; i < POOLS; i++) {
		struct broker_request req;
		unsigned n = sockpool_wanted(&w->supply.pools[i], w->now_ns);

		if (n == 0 || w->supply.broker_fd < 0)
			continue;
		req = (struct broker_request){.family = (uint8_t)supply_family(i),
					      .proto = (uint8_t)supply_proto(i),
					      .count = (uint16_t)n};
		/* When this fails, the broker is busy or has ended, which its channel tells. */
		if (w->io->ops->msg_send(w->io, w->supply.broker_fd, &req, sizeof(req)) < 0) {
			sockpool_fill(&w->supply.pools[i], NULL, 0, -EAGAIN, w->now_ns);
			continue;
		}
		sockpool_requested(&w->supply.pools[i], w->now_ns);
		stats_add(&w->stats->sockets_requested, n);
	}
}

/* The broker runs in a namespace that its user controls, so what it sends is checked. */

/* The pool for a reply; NULL: nothing of that kind was asked for. */
static struct sockpool *pool_of_reply(struct worker *w, const struct broker_reply *reply)
{
	for (unsigned i = 0; i < POOLS; i++)
		if (reply->family == supply_family(i) && reply->proto == supply_proto(i))
			return w->supply.pools[i].requested ? &w->supply.pools[i] : NULL;
	return NULL;
}

void supply_fill(struct worker *w, struct sockpool *pool, const struct broker_reply *reply,
		 uint64_t netns_cookie, int *fds, size_t n)
{
	struct io_sock want = {.family = reply->family,
			       .type = reply->proto == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM,
			       .protocol = reply->proto,
			       .netns_cookie = netns_cookie};
	unsigned kept = 0;

	for (size_t i = 0; i < n; i++) {
		if (pool && w->io->ops->sock_check(w->io, fds[i], &want)) {
			fds[kept++] = fds[i];
			continue;
		}
		stats_add(&w->stats->sockets_rejected, 1);
		w->io->ops->close_fd(w->io, fds[i]);
	}
	if (!pool)
		return;
	stats_add(&w->stats->sockets_received, kept);
	sockpool_fill(pool, fds, kept, kept == 0 && !reply->err ? -EIO : reply->err, w->now_ns);
}

/* Probes */

void supply_want_probe(struct worker *w, bool ipv6)
{
	if (w->supply.probe_fd[ipv6] >= 0 || w->supply.probe_wanted[ipv6])
		return;
	/* A pool that already has sockets, for a UDP port, need not ask for any, so no answer would
	 * call this again: take one now. */
	w->supply.probe_fd[ipv6] = sockpool_take(&w->supply.pools[POOL_UDP4 + ipv6]);
	if (w->supply.probe_fd[ipv6] >= 0)
		return;
	w->supply.probe_wanted[ipv6] = true;
	w->supply.pools[POOL_UDP4 + ipv6].waiting++;
}

/* The UDP pools may have a socket for a probe now. */
static void supply_probe_ready(struct worker *w)
{
	for (unsigned ipv6 = 0; ipv6 < 2; ipv6++) {
		struct sockpool *pool = &w->supply.pools[POOL_UDP4 + ipv6];

		if (!w->supply.probe_wanted[ipv6] || pool->n == 0)
			continue;
		w->supply.probe_wanted[ipv6] = false;
		pool->waiting--;
		w->supply.probe_fd[ipv6] = sockpool_take(pool);
	}
}

/* The broker's channel */

static void arm_broker(struct worker *w)
{
	w->io->ops->poll(w->io, w->supply.broker_fd, POLLIN,
			 handle_pack(HANDLE_BROKER, 0, w->supply.broker_gen, 0));
}

static void broker_begin(struct worker *w, int fd)
{
	w->supply.broker_fd = fd;
	w->supply.broker_gen++;
	for (unsigned i = 0; i < POOLS; i++)
		sockpool_reset(&w->supply.pools[i]);
	arm_broker(w);
}

static void broker_ended(struct worker *w)
{
	int next = w->supply.next_broker_fd;

	w->io->ops->close_fd(w->io, w->supply.broker_fd);
	w->supply.broker_fd = w->supply.next_broker_fd = -1;
	if (next >= 0)
		broker_begin(w, next);
}

int supply_receive(struct worker *w, int channel_fd, struct broker_reply *reply, int *fds,
		   size_t *n)
{
	bool lost;
	ssize_t len;

	*n = FDPASS_MAX;
	len = w->io->ops->msg_recv(w->io, channel_fd, reply, sizeof(*reply), fds, n, &lost);
	if (len == sizeof(*reply)) {
		if (lost) /* there were no descriptors left for all of its sockets */
			reply->err = -EMFILE;
		return 1;
	}
	if (len == -EAGAIN)
		return 0;
	for (size_t i = 0; len > 0 && i < *n; i++)
		w->io->ops->close_fd(w->io, fds[i]);
	return -ECONNRESET;
}

void supply_event(struct worker *w, const struct io_event *ev)
{
	struct broker_reply reply;
	int fds[FDPASS_MAX], code;
	size_t n;

	if (w->supply.broker_fd < 0 || !handle_is_current(ev->handle, w->supply.broker_gen))
		return;
	while ((code = supply_receive(w, w->supply.broker_fd, &reply, fds, &n)) > 0)
		supply_fill(w, pool_of_reply(w, &reply), &reply, w->config.netns_cookie, fds, n);
	if (code < 0) {
		broker_ended(w);
		return;
	}
	arm_broker(w);
	supply_probe_ready(w);
}

void supply_set_broker(struct worker *w, int fd)
{
	if (w->supply.broker_fd < 0) {
		broker_begin(w, fd);
		return;
	}
	if (w->supply.next_broker_fd >= 0)
		w->io->ops->close_fd(w->io, w->supply.next_broker_fd);
	w->supply.next_broker_fd = fd;
}

/* Opening, time, closing */

void supply_open(struct worker *w)
{
	struct supply *s = &w->supply;

	s->broker_fd = s->next_broker_fd = -1;
	s->probe_fd[0] = s->probe_fd[1] = -1;
	for (unsigned i = 0; i < POOLS; i++)
		sockpool_init(&s->pools[i], w->io, budget_pool_max(w));
}

bool supply_trim(struct worker *w)
{
	bool more = false;

	for (unsigned i = 0; i < POOLS; i++)
		more |= sockpool_trim(&w->supply.pools[i]);
	return more;
}

uint64_t supply_deadline(const struct worker *w)
{
	return sockpool_retry_at(w->supply.pools, POOLS, w->now_ns);
}

void supply_close(struct worker *w)
{
	for (unsigned i = 0; i < POOLS; i++)
		sockpool_close(&w->supply.pools[i]);
	for (unsigned i = 0; i < 2; i++)
		if (w->supply.probe_fd[i] >= 0)
			w->io->ops->close_fd(w->io, w->supply.probe_fd[i]);
	if (w->supply.broker_fd >= 0)
		w->io->ops->close_fd(w->io, w->supply.broker_fd);
	if (w->supply.next_broker_fd >= 0)
		w->io->ops->close_fd(w->io, w->supply.next_broker_fd);
}
