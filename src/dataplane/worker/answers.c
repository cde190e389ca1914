/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/answers.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>

#include "base/fd.h"
#include "dataplane/worker/worker_internal.h"

unsigned answers_max(unsigned listeners_max)
{
	return listeners_max + ANSWERS_SPARE;
}

/* Returns 0, or -errno: the answer has to wait. */
static int send_now(struct worker *w, const struct answer *a)
{
	struct dp_msg msg = {.type = DP_MSG_DONE,
			     .seq = a->seq,
			     .port_id = a->port_id,
			     .err = a->err,
			     .flows = a->port_id ? 0 : w->handover.flows,
			     .lost = a->port_id ? 0 : w->handover.lost};
	int code = w->io->ops->msg_send(w->io, w->answers.fd, &msg, sizeof(msg));

	if (fd_is_passing(code))
		return -EAGAIN;
	/* Any other error means that the parent has ended: the control channel will say so. */
	return 0;
}

static void await_room(struct worker *w)
{
	if (w->answers.polling)
		return;
	w->answers.polling = true;
	w->io->ops->poll(w->io, w->answers.fd, POLLOUT, handle_pack(HANDLE_ANSWERS, 0, 0, 0));
}

static void flush(struct worker *w)
{
	struct answers *a = &w->answers;

	while (a->n > 0 && send_now(w, &a->queue[a->head]) == 0) {
		a->head = (a->head + 1) % a->max;
		a->n--;
	}
	if (a->n > 0)
		await_room(w);
}

void answers_send(struct worker *w, int port_id, uint32_t seq, int err)
{
	struct answers *a = &w->answers;

	if (a->fd < 0)
		return;
	assert(a->n < a->max);
	a->queue[(a->head + a->n++) % a->max] =
		(struct answer){.port_id = port_id, .seq = seq, .err = err};
	if (!a->polling)
		flush(w);
}

bool answers_room(const struct worker *w)
{
	return w->answers.n + w->listeners.n_closing < w->answers.max;
}

void answers_event(struct worker *w)
{
	w->answers.polling = false;
	flush(w);
}
