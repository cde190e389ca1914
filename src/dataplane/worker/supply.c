/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/supply.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/fdpass.h"
#include "dataplane/worker/worker_internal.h"

/* The kind of sockets in a pool */

static int family_of(unsigned pool)
{
	return pool == POOL_TCP6 || pool == POOL_UDP6 ? AF_INET6 : AF_INET;
}

static int proto_of(unsigned pool)
{
	return pool == POOL_TCP4 || pool == POOL_TCP6 ? IPPROTO_TCP : IPPROTO_UDP;
}

struct sockpool *supply_pool(struct supply *s, int family, int type)
{
	unsigned first = type == SOCK_STREAM ? POOL_TCP4 : POOL_UDP4;

	return &s->pools[first + (family == AF_INET6)];
}

int supply_take(struct worker *w, struct supply *s, int family, int type)
{
	int fd = sockpool_take(supply_pool(s, family, type));

	if (fd < 0)
		stats_add(&w->stats->pool_empty, 1);
	return fd;
}

void supply_request(struct worker *w, struct supply *s)
{
	for (unsigned i = 0; i < POOLS; i++) {
		unsigned n = sockpool_wanted(&s->pools[i], w->now_ns);
		struct broker_request req = {.family = (uint8_t)family_of(i),
					     .proto = (uint8_t)proto_of(i),
					     .count = (uint16_t)n};

		if (n == 0 || s->channel_fd < 0)
			continue;
		/* When this fails, memory is short, the broker is busy, or it has ended, which its
		 * channel tells. */
		if (w->io->ops->msg_send(w->io, s->channel_fd, &req, sizeof(req)) < 0) {
			sockpool_fill(&s->pools[i], NULL, 0, -EAGAIN, w->now_ns);
			continue;
		}
		sockpool_requested(&s->pools[i], w->now_ns);
		stats_add(&w->stats->sockets_requested, n);
	}
}

/* Answers. The broker runs in a namespace that its user controls, so what it sends is checked. */

/* The pool for a reply; NULL: nothing of that kind was asked for. */
static struct sockpool *pool_of_reply(struct supply *s, const struct broker_reply *reply)
{
	for (unsigned i = 0; i < POOLS; i++)
		if (reply->family == family_of(i) && reply->proto == proto_of(i))
			return s->pools[i].requested ? &s->pools[i] : NULL;
	return NULL;
}

/* Puts the sockets of an answer into their pool, if they are of the right kind and namespace.
 * Others are closed. */
static void fill(struct worker *w, struct supply *s, const struct broker_reply *reply, int *fds,
		 size_t n)
{
	struct sockpool *pool = pool_of_reply(s, reply);
	struct io_sock want = {.family = reply->family,
			       .type = reply->proto == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM,
			       .protocol = reply->proto,
			       .netns_cookie = s->netns_cookie};
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

/* Reads the next answer. 1: an answer, with *n sockets in fds (FDPASS_MAX at most). 0: there is
 * none now. -ECONNRESET: the channel has ended, or what came makes no sense. */
static int receive(struct worker *w, struct supply *s, struct broker_reply *reply, int *fds,
		   size_t *n)
{
	bool lost;
	ssize_t len;

	*n = FDPASS_MAX;
	len = w->io->ops->msg_recv(w->io, s->channel_fd, reply, sizeof(*reply), fds, n, &lost);
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

/* The channel */

static void arm(struct worker *w, const struct supply *s)
{
	w->io->ops->poll(w->io, s->channel_fd, POLLIN, handle_pack(s->op, 0, s->gen, 0));
}

static void begin(struct worker *w, struct supply *s, int fd)
{
	s->channel_fd = fd;
	s->gen++;
	for (unsigned i = 0; i < POOLS; i++)
		sockpool_reset(&s->pools[i]);
	arm(w, s);
}

static void ended(struct worker *w, struct supply *s)
{
	int next = s->next_channel_fd;

	w->io->ops->close_fd(w->io, s->channel_fd);
	s->channel_fd = s->next_channel_fd = -1;
	if (next >= 0)
		begin(w, s, next);
}

void supply_event(struct worker *w, struct supply *s, const struct io_event *ev)
{
	struct broker_reply reply;
	int fds[FDPASS_MAX], code;
	size_t n;

	if (s->channel_fd < 0 || !handle_is_current(ev->handle, s->gen))
		return;
	while ((code = receive(w, s, &reply, fds, &n)) > 0)
		fill(w, s, &reply, fds, n);
	if (code < 0)
		ended(w, s);
	else
		arm(w, s);
}

void supply_set_channel(struct worker *w, struct supply *s, int fd)
{
	if (s->channel_fd < 0) {
		begin(w, s, fd);
		return;
	}
	if (s->next_channel_fd >= 0)
		w->io->ops->close_fd(w->io, s->next_channel_fd);
	s->next_channel_fd = fd;
}

/* Opening, time, closing */

void supply_open(struct worker *w, struct supply *s, enum handle_op op, uint64_t netns_cookie)
{
	s->op = op;
	s->channel_fd = s->next_channel_fd = -1;
	s->netns_cookie = netns_cookie;
	for (unsigned i = 0; i < POOLS; i++)
		sockpool_init(&s->pools[i], w->io, budget_pool_max(w));
}

bool supply_trim(struct supply *s)
{
	bool more = false;

	for (unsigned i = 0; i < POOLS; i++)
		more |= sockpool_trim(&s->pools[i]);
	return more;
}

uint64_t supply_deadline(const struct worker *w, const struct supply *s)
{
	return sockpool_retry_at(s->pools, POOLS, w->now_ns);
}

void supply_close(struct worker *w, struct supply *s)
{
	for (unsigned i = 0; i < POOLS; i++)
		sockpool_close(&s->pools[i]);
	if (s->channel_fd >= 0)
		w->io->ops->close_fd(w->io, s->channel_fd);
	if (s->next_channel_fd >= 0)
		w->io->ops->close_fd(w->io, s->next_channel_fd);
}
