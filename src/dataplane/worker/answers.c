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

static struct dp_msg msg_of(const struct worker *w, const struct answer *a)
{
	return (struct dp_msg){.type = a->type,
			       .seq = a->seq,
			       .port_id = a->port_id,
			       .err = a->err,
			       .flows = a->port_id ? 0 : w->handover.flows,
			       .lost = a->port_id ? 0 : w->handover.lost};
}

/* Sends the first answers of the queue at once. Returns how many have left it; 0: they have to
 * wait. */
static unsigned send_some(struct worker *w)
{
	const struct answers *a = &w->answers;
	unsigned n = a->n < DP_MSGS_MAX ? a->n : DP_MSGS_MAX;
	int code;

	for (unsigned i = 0; i < n; i++)
		a->msgs[i] = msg_of(w, &a->queue[(a->head + i) % a->max]);
	code = w->io->ops->msg_send(w->io, a->fd, a->msgs, n * sizeof(*a->msgs));
	/* An error that does not pass means that the parent has ended: the control channel will
	 * say so. */
	return fd_is_passing(code) ? 0 : n;
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
	unsigned sent;

	while (a->n > 0 && (sent = send_some(w)) > 0) {
		a->head = (a->head + sent) % a->max;
		a->n -= sent;
	}
	if (a->n > 0)
		await_room(w);
}

static void queue(struct worker *w, struct answer answer)
{
	struct answers *a = &w->answers;

	if (a->fd < 0)
		return;
	assert(a->n < a->max);
	a->queue[(a->head + a->n++) % a->max] = answer;
}

void answers_send(struct worker *w, int port_id, uint32_t seq, int err)
{
	queue(w, (struct answer){.type = DP_MSG_DONE, .port_id = port_id, .seq = seq, .err = err});
}

void answers_no_channel(struct worker *w, uint32_t type)
{
	queue(w, (struct answer){.type = type, .err = -EMFILE});
}

void answers_tick(struct worker *w)
{
	if (!w->answers.polling)
		flush(w);
}

bool answers_room(const struct worker *w)
{
	return w->answers.n + w->listeners.n_closing + DP_MSGS_MAX <= w->answers.max;
}

void answers_event(struct worker *w)
{
	w->answers.polling = false;
	flush(w);
}
