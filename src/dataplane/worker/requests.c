/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/requests.h"

#include <errno.h>
#include <poll.h>

#include "base/log.h"
#include "dataplane/worker/worker_internal.h"

/* How often requests are read in a turn: connections have their turn between them. */
#define TAKE_TURN 4

static void arm(struct worker *w)
{
	w->io->ops->poll(w->io, w->answers.fd, POLLIN, handle_pack(HANDLE_CONTROL, 0, 0, 0));
}

/* The channel to a new broker or router, as msg says. fd: as with obey(). */
static void set_channel(struct worker *w, const struct dp_msg *msg, int fd)
{
	if (fd < 0 && msg->brings_fd)
		answers_no_channel(w, msg->type);
	else if (fd >= 0 && msg->type == DP_MSG_NEW_BROKER)
		supply_set_channel(w, &w->supply, fd);
	else if (fd >= 0 && w->out.on)
		supply_set_channel(w, &w->out.supply, fd);
	else if (fd >= 0)
		w->io->ops->close_fd(w->io, fd);
}

/* Acts on a request. fd: the descriptor that it brings; -1: none, or the process has no room for
 * it. */
static void obey(struct worker *w, const struct dp_msg *msg, int fd)
{
	int err;

	switch (msg->type) {
	case DP_MSG_ADD:
		err = fd >= 0 ? listener_add(w, msg, fd) : -EMFILE;
		answers_send(w, msg->port_id, msg->seq, err);
		return;
	case DP_MSG_REMOVE:
		err = listener_remove(w, msg->port_id, msg->seq);
		if (err < 0)
			answers_send(w, msg->port_id, msg->seq, err);
		break;
	case DP_MSG_NEW_BROKER:
	case DP_MSG_NEW_ROUTER:
		set_channel(w, msg, fd);
		return;
	case DP_MSG_HAND_OVER:
		if (fd >= 0)
			handover_give(w, fd, msg->seq);
		else
			answers_send(w, 0, msg->seq, -EMFILE);
		return;
	case DP_MSG_TAKE_OVER:
		if (fd >= 0)
			handover_take(w, fd, msg->seq);
		else
			answers_send(w, 0, msg->seq, -EMFILE);
		return;
	case DP_MSG_GO:
		handover_go(w);
		break;
	case DP_MSG_RESOLVERS:
		out_set_resolvers(w, msg);
		break;
	case DP_MSG_TARGET:
		listener_set_target(w, msg);
		break;
	default:
		log_error("worker %u: a request of unknown type %u", w->config.number, msg->type);
		w->requests.ended = true;
		break;
	}
	if (fd >= 0)
		w->io->ops->close_fd(w->io, fd);
}

/* Reads the requests that were sent at once, and acts on each. Returns false when there are none.
 * When the process has no room for all descriptors, the requests whose descriptor did not come are
 * refused. */
static bool take(struct worker *w)
{
	struct dp_msg *msgs = w->requests.msgs;
	int fds[DP_MSGS_MAX];
	size_t n_fds = DP_MSGS_MAX, used = 0, n;
	bool lost;
	ssize_t len = w->io->ops->msg_recv(w->io, w->answers.fd, msgs, DP_MSGS_MAX * sizeof(*msgs),
					   fds, &n_fds, &lost);

	if (len == -EAGAIN)
		return false;
	n = len > 0 && (size_t)len % sizeof(*msgs) == 0 ? (size_t)len / sizeof(*msgs) : 0;
	w->requests.ended = n == 0;
	for (size_t i = 0; i < n && !w->requests.ended; i++)
		obey(w, &msgs[i], msgs[i].brings_fd && used < n_fds ? fds[used++] : -1);
	for (; len > 0 && used < n_fds; used++)
		w->io->ops->close_fd(w->io, fds[used]);
	return n > 0;
}

void requests_event(struct worker *w)
{
	bool more = true;

	for (unsigned i = 0; i < TAKE_TURN && more; i++) {
		if (!answers_room(w)) {
			w->requests.waiting = true;
			return;
		}
		more = take(w) && !w->requests.ended;
	}
	if (!w->requests.ended)
		arm(w);
}

void requests_resume(struct worker *w)
{
	if (!w->requests.waiting || !answers_room(w))
		return;
	w->requests.waiting = false;
	requests_event(w);
}

void requests_open(struct worker *w)
{
	arm(w);
}
