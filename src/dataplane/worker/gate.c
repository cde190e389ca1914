/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>

#include "dataplane/worker/gate_packet.h"
#include "dataplane/worker/worker_internal.h"

/*
 * The netfilter queue. A packet that opens a connection waits in it until the outcome is known. The
 * verdict lets the packet go on with a mark, by which the router's rules choose what to do: pass it
 * to the worker's own listener, answer with a reset, or with an ICMP message.
 */

/* How many packets may be read at once, and per millisecond when more come: about as many
 * connections as one worker can make. */
#define GATE_BURST  64
#define GATE_PER_MS 16

static void arm(struct worker *w)
{
	if (handover_holds(w))
		return; /* gate_go arms the operation */
	w->out.gate.armed = true;
	w->io->ops->poll(w->io, w->out.gate.fd, POLLIN, handle_pack(HANDLE_OUT_GATE, 0, 0, 0));
}

/* Packets */

static void take_packet(struct worker *w, const struct gate_message *msg)
{
	struct gate_packet packet;

	if (!gate_packet_parse(msg->packet, msg->len, &packet)) {
		stats_add(&w->stats->out_packets_odd, 1);
		gate_decide(w, msg->id, GATE_DROP);
		return;
	}
	if (packet.kind == GATE_SYN) {
		out_tcp_syn(w, &packet, msg->id);
		return;
	}
	/* The echo request leaves by a ping socket. */
	out_ping_echo(w, &packet);
	gate_decide(w, msg->id, GATE_DROP);
}

/* Reads one message. Returns false when there is none. */
static bool read_one(struct worker *w)
{
	ssize_t len = w->io->ops->recv(w->io, w->out.gate.fd, w->copy, WORKER_BULK_COPY_BYTES, 0);
	struct gate_message msg;
	size_t at = 0;

	if (len == -ENOBUFS)
		return true; /* packets were lost: their senders send them again */
	if (len <= 0)
		return false;
	while (gate_message_next(w->copy, (size_t)len, &at, &msg))
		take_packet(w, &msg);
	return true;
}

/* An error of the socket concerns one packet and is treated like any other message. */
static void read_all(struct worker *w)
{
	while (out_rate_take(&w->out.gate.rate, w->now_ns))
		if (!read_one(w)) {
			arm(w);
			return;
		}
	w->out.gate.resume_ns = w->now_ns + WORKER_NS_PER_MS;
}

void gate_event(struct worker *w, const struct io_event *ev)
{
	(void)ev;
	w->out.gate.armed = false;
	if (!handover_holds(w))
		read_all(w);
}

void gate_tick(struct worker *w)
{
	if (w->now_ns >= w->out.gate.resume_ns) {
		w->out.gate.resume_ns = UINT64_MAX;
		read_all(w);
	}
	gate_flush(w);
}

uint64_t gate_deadline(const struct worker *w)
{
	const struct gate *g = &w->out.gate;

	return g->resume_ns < g->retry_ns ? g->resume_ns : g->retry_ns;
}

void gate_open(struct worker *w)
{
	w->out.gate.rate = (struct out_rate){.burst = GATE_BURST, .per_ms = GATE_PER_MS};
	w->out.gate.resume_ns = w->out.gate.retry_ns = UINT64_MAX;
	if (w->out.gate.fd < 0)
		return;
	if (!handover_holds(w))
		gate_go(w);
}

void gate_rest(struct worker *w)
{
	if (w->out.gate.armed)
		w->io->ops->cancel(w->io, w->out.gate.fd, handle_pack(HANDLE_OUT_GATE, 0, 0, 0));
}

void gate_go(struct worker *w)
{
	struct gate *g = &w->out.gate;

	if (g->fd < 0)
		return;
	/* Packets that an earlier data plane has seen and not judged come again. */
	if (!g->begun)
		gate_repeat_all(w);
	g->begun = true;
	gate_flush(w);
	if (!g->armed && g->resume_ns == UINT64_MAX)
		arm(w);
}
