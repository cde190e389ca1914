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
	/* The other pools are used by ports. */
	s->pools[POOL_UDP4].users = w->config.out.udp_fd[0] >= 0;
	s->pools[POOL_UDP6].users = w->config.out.udp_fd[1] >= 0;
	if (w->config.out.channel_fd >= 0)
		begin(w, w->config.out.channel_fd);
	out_supply_request(w); /* the first answers should not have to wait for sockets */
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

/* The pool for an answer; NULL: no socket of its kind was asked for. */
static struct sockpool *pool_of_reply(struct worker *w, const struct broker_reply *reply)
{
	int type = reply->proto == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM;
	struct sockpool *pool = out_supply_pool(w, reply->family, type);
	bool known = reply->proto == IPPROTO_TCP || reply->proto == IPPROTO_UDP;

	return known && pool->requested ? pool : NULL;
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
	struct broker_reply reply;
	int fds[FDPASS_MAX], code;
	size_t n;

	if (s->channel_fd < 0 || !handle_is_current(ev->handle, s->gen))
		return;
	while ((code = supply_receive(w, s->channel_fd, &reply, fds, &n)) > 0)
		supply_fill(w, pool_of_reply(w, &reply), &reply, w->out.policy.netns_cookie, fds,
			    n);
	if (code < 0)
		ended(w);
	else
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
		/* When this fails, memory is short, or the channel is full or has ended. */
		if (w->io->ops->msg_send(w->io, s->channel_fd, &req, sizeof(req)) < 0) {
			sockpool_fill(&s->pools[i], NULL, 0, -EAGAIN, w->now_ns);
			continue;
		}
		sockpool_requested(&s->pools[i], w->now_ns);
		stats_add(&w->stats->sockets_requested, n);
	}
}

uint64_t out_supply_deadline(const struct worker *w)
{
	return sockpool_retry_at(w->out.supply.pools, POOLS, w->now_ns);
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
