/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/out_supply.h"

#include <errno.h>
#include <poll.h>

#include "dataplane/worker/worker_internal.h"

static void begin(struct worker *w, int fd)
{
	struct out_supply *s = &w->out.supply;

	s->channel_fd = fd;
	s->gen++;
	for (unsigned i = 0; i < POOLS; i++)
		sockpool_reset(&s->pools[i]);
	w->io->ops->poll(w->io, fd, POLLIN, handle_pack(HANDLE_OUT_CHANNEL, 0, s->gen, 0));
}

void out_supply_set_channel(struct worker *w, int fd)
{
	struct out_supply *s = &w->out.supply;

	if (s->channel_fd < 0) {
		begin(w, fd);
		return;
	}
	if (s->next_channel_fd >= 0)
		w->io->ops->close_fd(w->io, s->next_channel_fd);
	s->next_channel_fd = fd;
}

void out_supply_open(struct worker *w)
{
	struct out_supply *s = &w->out.supply;

	s->channel_fd = s->next_channel_fd = -1;
	for (unsigned i = 0; i < POOLS; i++)
		sockpool_init(&s->pools[i], w->io, budget_pool_max(w));
	/* The others' users are ports. */
	s->pools[POOL_UDP4].users = w->config.out.udp_fd[0] >= 0;
	s->pools[POOL_UDP6].users = w->config.out.udp_fd[1] >= 0;
	if (w->config.out.channel_fd >= 0)
		begin(w, w->config.out.channel_fd);
	out_supply_request(w); /* the first answers are not to wait for it */
}

void out_supply_close(struct worker *w)
{
	struct out_supply *s = &w->out.supply;

	for (unsigned i = 0; i < POOLS; i++)
		sockpool_close(&s->pools[i]);
	if (s->channel_fd >= 0)
		w->io->ops->close_fd(w->io, s->channel_fd);
	if (s->next_channel_fd >= 0)
		w->io->ops->close_fd(w->io, s->next_channel_fd);
}

/* The service runs in a namespace that its user rules: what comes from it is checked. */
static void take_reply(struct worker *w, const struct broker_reply *reply, int *fds, size_t n)
{
	bool tcp = reply->proto == IPPROTO_TCP;
	int type = tcp ? SOCK_STREAM : SOCK_DGRAM;
	struct sockpool *pool = out_supply_pool(w, reply->family, type);
	struct io_sock want = {.family = reply->family,
			       .type = type,
			       .protocol = tcp ? IPPROTO_TCP : IPPROTO_UDP,
			       .netns_cookie = w->out.policy.netns_cookie};
	bool expected = reply->proto == want.protocol && pool->requested;
	unsigned kept = 0;

	for (size_t i = 0; i < n; i++) {
		if (expected && w->io->ops->sock_check(w->io, fds[i], &want)) {
			fds[kept++] = fds[i];
			continue;
		}
		stats_add(&w->stats->sockets_rejected, 1);
		w->io->ops->close_fd(w->io, fds[i]);
	}
	if (!expected)
		return;
	stats_add(&w->stats->sockets_received, kept);
	sockpool_fill(pool, fds, kept, kept == 0 && !reply->err ? -EIO : reply->err, w->now_ns);
}

static void ended(struct worker *w)
{
	struct out_supply *s = &w->out.supply;
	int next = s->next_channel_fd;

	w->io->ops->close_fd(w->io, s->channel_fd);
	s->channel_fd = s->next_channel_fd = -1;
	if (next >= 0)
		begin(w, next);
}

void out_supply_event(struct worker *w, const struct io_event *ev)
{
	struct out_supply *s = &w->out.supply;

	if (s->channel_fd < 0 || !handle_is_current(ev->handle, s->gen))
		return;
	for (;;) {
		struct broker_reply reply;
		int fds[FDPASS_MAX];
		size_t n = FDPASS_MAX;
		ssize_t len =
			w->io->ops->msg_recv(w->io, s->channel_fd, &reply, sizeof(reply), fds, &n);

		if (len == -EAGAIN)
			break;
		if (len == -EMFILE) {
			reply.err = -EMFILE;
			n = 0;
			len = sizeof(reply);
		}
		if (len != sizeof(reply)) {
			for (size_t i = 0; len > 0 && i < n; i++)
				w->io->ops->close_fd(w->io, fds[i]);
			ended(w);
			return;
		}
		take_reply(w, &reply, fds, n);
	}
	w->io->ops->poll(w->io, s->channel_fd, POLLIN,
			 handle_pack(HANDLE_OUT_CHANNEL, 0, s->gen, 0));
}

void out_supply_request(struct worker *w)
{
	struct out_supply *s = &w->out.supply;

	for (unsigned i = 0; i < POOLS; i++) {
		unsigned n = sockpool_wanted(&s->pools[i], w->now_ns);
		struct broker_request req = {.family = (uint8_t)supply_family(i),
					     .proto = (uint8_t)supply_proto(i),
					     .count = (uint16_t)n};

		if (n == 0 || s->channel_fd < 0)
			continue;
		if (w->io->ops->msg_send(w->io, s->channel_fd, &req, sizeof(req)) < 0)
			continue; /* it is gone or behind: the next turn tries again */
		sockpool_requested(&s->pools[i], w->now_ns);
		stats_add(&w->stats->sockets_requested, n);
	}
}

bool out_supply_trim(struct worker *w)
{
	bool more = false;

	for (unsigned i = 0; i < POOLS; i++)
		more |= sockpool_trim(&w->out.supply.pools[i]);
	return more;
}

struct sockpool *out_supply_pool(struct worker *w, int family, int type)
{
	return &w->out.supply.pools[supply_index(family, type)];
}

int out_supply_take(struct worker *w, int family, int type)
{
	int fd = sockpool_take(out_supply_pool(w, family, type));

	if (fd < 0)
		stats_add(&w->stats->pool_empty, 1);
	return fd;
}
