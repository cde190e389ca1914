/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "base/fd.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "dataplane/control/control_internal.h"

/*
 * Control channels. The parent never waits for a worker: a message that finds no room waits in the
 * channel's queue until there is room again. Messages about ports wait there for the end of the
 * loop's turn, too, so that those of a range leave together.
 */

/* How often answers are taken from one channel before the loop's other sources have their turn. */
#define TAKE_TURN 4

void dp_channels_init(struct dataplane *dp, struct dp_channel *channels, struct dp_child *plane)
{
	for (unsigned i = 0; i < LIMIT_WORKERS; i++)
		channels[i] = (struct dp_channel){.dp = dp, .plane = plane, .worker = i, .fd = -1};
}

static void queued_free(struct dp_channel *ch, struct dp_queued *q)
{
	DL_DELETE(ch->queue, q);
	if (q->owned)
		close_fd(&q->fd);
	free(q);
}

/* Messages that are sent at once, with their descriptors. */
struct bundle {
	struct dp_msg msgs[DP_MSGS_MAX];
	int fds[DP_MSGS_MAX];
	unsigned n, n_fds;
};

static void bundle_add(struct bundle *b, const struct dp_msg *msg, int fd)
{
	b->msgs[b->n] = *msg;
	b->msgs[b->n++].brings_fd = fd >= 0;
	if (fd >= 0)
		b->fds[b->n_fds++] = fd;
}

/* 0; -EAGAIN: there is no room; -EPIPE and the like: the worker is gone. */
static int bundle_send(const struct bundle *b, int channel_fd)
{
	return fdpass_send(channel_fd, b->msgs, b->n * sizeof(b->msgs[0]), b->fds, b->n_fds,
			   MSG_DONTWAIT);
}

/* Bundles the first messages of the queue, those that bring no descriptor if plain is true. */
static void bundle_queued(struct bundle *b, const struct dp_channel *ch, bool plain)
{
	b->n = b->n_fds = 0;
	for (const struct dp_queued *q = ch->queue; q && b->n < DP_MSGS_MAX; q = q->next) {
		if (plain && q->fd >= 0)
			return;
		bundle_add(b, &q->msg, q->fd);
	}
}

static void flush(struct dp_channel *ch);

static void on_retry(void *arg, uint32_t events)
{
	struct dp_channel *ch = arg;

	(void)events;
	ch->retry = NULL;
	flush(ch);
}

/* The next message cannot go out now, although there is room: a timer tries again. Without memory
 * for a timer the loop asks all the time. */
static void try_later(struct dp_channel *ch)
{
	if (!ch->retry)
		ch->retry = loop_add_timer(ch->dp->loop, FDPASS_RETRY_MS, on_retry, ch);
	loop_source_set_events(ch->src, ch->retry ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

static void go_on(struct dp_channel *ch)
{
	ch->stuck_ms = 0;
	ch->told = false;
}

/* The kernel has refused the first message's descriptor with err. After FDPASS_PATIENCE_MS gives up
 * on its port. Returns whether the message has left the queue. */
static bool give_up(struct dp_channel *ch, int err)
{
	struct dp_queued *q = ch->queue;
	struct dp_msg msg = q->msg;

	if (!ch->stuck_ms)
		ch->stuck_ms = loop_now_ms();
	if (loop_now_ms() - ch->stuck_ms < FDPASS_PATIENCE_MS)
		return false;
	if (!ch->told)
		log_error("descriptors cannot be handed to the data plane: %s",
			  fdpass_strerror(err));
	ch->told = true;
	if (!dp_port_may_give_up(ch->dp, &msg))
		return false;
	queued_free(ch, q);
	dp_port_give_up(ch->dp, ch->worker, &msg, err);
	return true;
}

/* Sends the first messages of the queue, and takes them out of it. On an error that does not pass
 * they are dropped: the data plane is ending, and the loop will tell. 0; or -errno, and then the
 * queue is as before. */
static int send_queued(struct dp_channel *ch)
{
	struct bundle b;
	int code;

	bundle_queued(&b, ch, false);
	code = bundle_send(&b, ch->fd);
	if (code == -ETOOMANYREFS && ch->queue->fd < 0) {
		bundle_queued(&b, ch, true);
		code = bundle_send(&b, ch->fd);
	}
	if (code == -ETOOMANYREFS || fd_is_passing(code))
		return code;
	if (b.n_fds)
		go_on(ch);
	for (unsigned i = 0; i < b.n; i++)
		queued_free(ch, ch->queue);
	return 0;
}

/* Sends queued messages while there is room, and memory for them. */
static void flush(struct dp_channel *ch)
{
	int code = 0;

	while (ch->queue && !code) {
		code = send_queued(ch);
		if (code == -ETOOMANYREFS && give_up(ch, code))
			code = 0;
	}
	if (!ch->src)
		return; /* what was given up has ended a reload, and the channel with it */
	if (code && code != -EAGAIN) {
		try_later(ch);
		return;
	}
	if (!ch->queue)
		go_on(ch);
	loop_source_set_events(ch->src, ch->queue ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* Sends a message for which there is no memory in the queue, unless others wait. 0 or -ENOMEM. */
static int send_alone(const struct dp_channel *ch, const struct dp_msg *msg, int fd)
{
	struct bundle b = {.n = 0};

	bundle_add(&b, msg, fd);
	return !ch->queue && bundle_send(&b, ch->fd) == 0 ? 0 : -ENOMEM;
}

/* Whether the message may wait for the end of the loop's turn. */
static bool may_wait(const struct dp_msg *msg)
{
	return msg->type == DP_MSG_ADD || msg->type == DP_MSG_REMOVE;
}

int dp_channel_post(struct dp_channel *ch, const struct dp_msg *msg, int fd, bool owned)
{
	struct dp_queued *q = ch->fd >= 0 ? calloc(1, sizeof(*q)) : NULL;
	int code;

	if (!q) {
		code = ch->fd >= 0 ? send_alone(ch, msg, fd) : 0;
		if (owned)
			close_fd(&fd);
		return code;
	}
	*q = (struct dp_queued){.msg = *msg, .fd = fd, .owned = owned};
	DL_APPEND(ch->queue, q);
	if (!ch->src)
		return 0;
	/* The queue's first message sees to it that the others leave. */
	if (may_wait(msg) && ch->queue->next)
		return 0;
	if (may_wait(msg) && !ch->retry)
		ch->retry = loop_add_timer(ch->dp->loop, 0, on_retry, ch);
	if (!may_wait(msg) || !ch->retry)
		flush(ch);
	return 0;
}

void dp_channel_missed(struct dp_child *plane)
{
	dp_child_give_up(plane, "out of memory for its messages");
}

static void channel_ended(struct dp_channel *ch)
{
	loop_remove(ch->src);
	loop_remove(ch->retry);
	ch->src = ch->retry = NULL;
	dp_child_hung_up(ch->plane);
}

static bool take_answer(struct dp_channel *ch, const struct dp_msg *msg)
{
	struct dataplane *dp = ch->dp;

	if (msg->type == DP_MSG_NEW_BROKER || msg->type == DP_MSG_NEW_ROUTER) {
		if (ch->plane == &dp->plane)
			dp_broker_repeat(msg->type == DP_MSG_NEW_BROKER ? &dp->broker : &dp->router,
					 ch->worker);
		return true;
	}
	if (msg->type != DP_MSG_DONE)
		return false;
	if (msg->port_id == 0 || ch->plane != &dp->plane)
		dp_reload_answer(dp, ch, msg);
	else
		dp_ports_answer(dp, ch->worker, msg);
	return true;
}

/* Reads the answers that were sent at once, and acts on each. False: there are no more now. */
static bool take_answers(struct dp_channel *ch)
{
	struct dp_msg msgs[DP_MSGS_MAX];
	ssize_t len = fdpass_recv(ch->fd, msgs, sizeof(msgs), NULL, NULL, MSG_DONTWAIT);
	size_t n =
		len > 0 && (size_t)len % sizeof(msgs[0]) == 0 ? (size_t)len / sizeof(msgs[0]) : 0;
	int fd = ch->fd;

	if (len == -EAGAIN)
		return false;
	if (n == 0)
		channel_ended(ch);
	/* By an answer a reload may end, and then the channel is closed, or another is in its
	 * place. */
	for (size_t i = 0; i < n && ch->src && ch->fd == fd; i++)
		if (!take_answer(ch, &msgs[i]))
			channel_ended(ch);
	return true;
}

static void on_channel(void *arg, uint32_t events)
{
	struct dp_channel *ch = arg;

	if (events & EPOLLOUT)
		flush(ch);
	for (unsigned i = 0; i < TAKE_TURN && ch->src; i++)
		if (!take_answers(ch))
			return;
}

void dp_channels_drain(struct dp_channel *channels, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		on_channel(&channels[i], EPOLLIN);
}

static void channel_close(struct dp_channel *ch)
{
	loop_remove(ch->src);
	loop_remove(ch->retry);
	ch->src = ch->retry = NULL;
	while (ch->queue)
		queued_free(ch, ch->queue);
	close_fd(&ch->fd);
}

bool dp_channels_wait(struct dataplane *dp, int timeout_ms)
{
	struct pollfd polled[LIMIT_WORKERS];

	for (unsigned i = 0; i < dp->workers; i++) {
		const struct dp_channel *ch = &dp->channels[i];

		if (!ch->src)
			return false;
		polled[i] = (struct pollfd){.fd = ch->fd,
					    .events = ch->queue ? POLLIN | POLLOUT : POLLIN};
	}
	if (poll(polled, dp->workers, timeout_ms) <= 0)
		return false;
	for (unsigned i = 0; i < dp->workers; i++)
		if (polled[i].revents)
			on_channel(&dp->channels[i],
				   polled[i].revents & POLLOUT ? EPOLLIN | EPOLLOUT : EPOLLIN);
	return true;
}

static int channel_listen(struct dp_channel *ch)
{
	ch->src = loop_add_fd(ch->dp->loop, ch->fd, ch->queue ? EPOLLIN | EPOLLOUT : EPOLLIN,
			      on_channel, ch);
	return ch->src ? 0 : -errno;
}

int dp_channels_open(struct dp_channel *channels, struct dataplane *dp, const int *fds)
{
	int code = 0;

	for (unsigned i = 0; i < dp->workers; i++)
		channels[i].fd = fds[i];
	for (unsigned i = 0; i < dp->workers && !code; i++)
		code = channel_listen(&channels[i]);
	if (code)
		dp_channels_close(channels, dp->workers);
	return code;
}

void dp_channels_close(struct dp_channel *channels, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		channel_close(&channels[i]);
}

void dp_channels_adopt(struct dp_channel *to, struct dp_channel *from, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct dp_child *plane = to[i].plane, *was = from[i].plane;

		channel_close(&to[i]);
		to[i] = from[i];
		to[i].plane = plane;
		loop_source_set_arg(to[i].src, &to[i]);
		loop_source_set_arg(to[i].retry, &to[i]);
		from[i] = (struct dp_channel){
			.dp = to[i].dp, .plane = was, .worker = to[i].worker, .fd = -1};
	}
}
