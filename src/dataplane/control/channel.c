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
 * Control channels. The parent never waits for a worker: a message that finds no room is queued and
 * goes out when the channel has room again.
 */

/* Answers taken from one channel before the loop's other sources have their turn. */
#define ANSWERS_A_TURN 64

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

/* 0; -EAGAIN: there is no room; -EPIPE and the like: the worker is gone. */
static int send_one(const struct dp_channel *ch, const struct dp_msg *msg, int fd)
{
	return fdpass_send(ch->fd, msg, sizeof(*msg), &fd, fd >= 0, MSG_DONTWAIT);
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

/* Sends queued messages while there is room, and memory for them. On other errors a message is
 * dropped: the data plane is ending, and the loop will tell. */
static void flush(struct dp_channel *ch)
{
	while (ch->queue) {
		struct dp_queued *q = ch->queue;
		int code = send_one(ch, &q->msg, q->fd);

		if (code == -ETOOMANYREFS && give_up(ch, code))
			continue;
		if (code == -ETOOMANYREFS || fd_is_shortage(code)) {
			try_later(ch);
			return;
		}
		if (code == -EAGAIN)
			break;
		if (q->fd >= 0)
			go_on(ch);
		queued_free(ch, q);
	}
	if (!ch->queue)
		go_on(ch);
	loop_source_set_events(ch->src, ch->queue ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

int dp_channel_post(struct dp_channel *ch, const struct dp_msg *msg, int fd, bool owned)
{
	struct dp_queued *q;

	if (ch->fd < 0 || (!ch->queue && send_one(ch, msg, fd) == 0)) {
		if (owned)
			close_fd(&fd);
		return 0;
	}
	q = calloc(1, sizeof(*q));
	if (!q) {
		if (owned)
			close_fd(&fd);
		return -ENOMEM;
	}
	*q = (struct dp_queued){.msg = *msg, .fd = fd, .owned = owned};
	DL_APPEND(ch->queue, q);
	if (ch->src && !ch->queue->next)
		flush(ch);
	return 0;
}

static void channel_ended(struct dp_channel *ch)
{
	loop_remove(ch->src);
	ch->src = NULL;
	dp_child_hung_up(ch->plane);
}

static void on_channel(void *arg, uint32_t events)
{
	struct dp_channel *ch = arg;

	if (events & EPOLLOUT)
		flush(ch);
	for (unsigned i = 0; i < ANSWERS_A_TURN && ch->src; i++) {
		struct dp_msg msg;
		ssize_t len = fdpass_recv(ch->fd, &msg, sizeof(msg), NULL, NULL, MSG_DONTWAIT);

		if (len == -EAGAIN)
			return;
		if (len != sizeof(msg) || msg.type != DP_MSG_DONE) {
			channel_ended(ch);
			return;
		}
		if (msg.port_id == 0 || ch->plane != &ch->dp->plane)
			dp_reload_answer(ch->dp, ch, &msg);
		else
			dp_ports_answer(ch->dp, ch->worker, &msg);
	}
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
