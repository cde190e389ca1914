/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/requests.h"

#include <errno.h>
#include <poll.h>

#include "base/log.h"
#include "dataplane/worker/worker_internal.h"

static void arm(struct worker *w)
{
	w->io->ops->poll(w->io, w->answers.fd, POLLIN, handle_pack(HANDLE_CONTROL, 0, 0, 0));
}

/* Acts on a request. fd: the descriptor that came with it; -1: none, or the process has no room for
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
		if (fd >= 0)
			supply_set_broker(w, fd);
		return;
	case DP_MSG_NEW_ROUTER:
		if (fd >= 0 && w->out.on) {
			out_supply_set_channel(w, fd);
			return;
		}
		break;
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

/* Reads one request and acts on it. Returns false when there is none. */
static bool take(struct worker *w)
{
	struct dp_msg msg;
	int fd = -1;
	size_t n = 1;
	ssize_t len = w->io->ops->msg_recv(w->io, w->answers.fd, &msg, sizeof(msg), &fd, &n);

	if (len == -EAGAIN)
		return false;
	if (len == -EMFILE) {
		/* There was no descriptor left for the one in the message, which is whole: the
		 * parent hears of the failure. */
		obey(w, &msg, -1);
		return true;
	}
	if (len == sizeof(msg)) {
		obey(w, &msg, n == 1 ? fd : -1);
		return true;
	}
	if (len > 0 && n == 1)
		w->io->ops->close_fd(w->io, fd);
	w->requests.ended = true;
	return false;
}

void requests_event(struct worker *w)
{
	while (!w->requests.ended) {
		if (!answers_room(w)) {
			w->requests.waiting = true;
			return;
		}
		if (!take(w)) {
			arm(w);
			return;
		}
	}
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
