/* SPDX-License-Identifier: Apache-2.0 */
#include <netinet/in.h> /* must come before linux/netfilter.h, which defines the same names */

#include <assert.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <poll.h>
#include <string.h>

#include "dataplane/worker/gate_packet.h"
#include "dataplane/worker/worker_internal.h"

/*
 * The netfilter queue. A packet that opens a connection waits in it until the outcome is known. The
 * verdict lets the packet go on with a mark, by which the router's rules choose what to do: pass it
 * to the worker's own listener, answer with a reset, or with an ICMP message.
 *
 * All verdicts of a turn leave together. The kernel answers a verdict only when its packet is gone.
 * That answer is ignored: packets may vanish by themselves, with an interface for one.
 */

/* How many packets may be read at once, and per millisecond when more come. */
#define GATE_BURST  64
#define GATE_PER_MS 8

/* Ids count up from 1 (nfnetlink_queue). The kernel compares them modulo 2^32, so that two steps
 * cover all. */
static const uint32_t all_packets[] = {0x7fffffff, 0xffffffff};

static void arm(struct worker *w)
{
	if (handover_holds(w))
		return; /* gate_go arms the operation */
	w->out.gate.armed = true;
	w->io->ops->poll(w->io, w->out.gate.fd, POLLIN, handle_pack(HANDLE_OUT_GATE, 0, 0, 0));
}

void gate_flush(struct worker *w)
{
	struct gate *g = &w->out.gate;

	if (g->len)
		w->io->ops->send(w->io, g->fd, g->verdicts, g->len, 0);
	g->len = 0;
}

static struct nlmsghdr *add_message(struct worker *w, uint16_t type, uint32_t verdict,
				    uint32_t packet)
{
	struct gate *g = &w->out.gate;
	struct nfqnl_msg_verdict_hdr hdr = {.verdict = htonl(verdict), .id = htonl(packet)};
	struct nlmsghdr *nlh;
	struct nfgenmsg *nfg;

	if (sizeof(g->verdicts) - g->len < GATE_VERDICT_BYTES)
		gate_flush(w);
	nlh = mnl_nlmsg_put_header(g->verdicts + g->len);
	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_QUEUE << 8 | type);
	nlh->nlmsg_flags = NLM_F_REQUEST;
	nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	nfg->version = NFNETLINK_V0;
	nfg->res_id = htons((uint16_t)(w->out.policy.queue_base + w->config.number));
	mnl_attr_put(nlh, NFQA_VERDICT_HDR, sizeof(hdr), &hdr);
	return nlh;
}

static void message_done(struct worker *w, const struct nlmsghdr *nlh)
{
	w->out.gate.len += MNL_ALIGN(nlh->nlmsg_len);
	assert(w->out.gate.len <= sizeof(w->out.gate.verdicts));
}

static uint32_t mark_of(const struct worker *w, enum gate_verdict verdict)
{
	const struct dp_outward *policy = &w->out.policy;

	switch (verdict) {
	case GATE_ACCEPT:
		return policy->mark_accept + w->config.number;
	case GATE_REFUSE:
		return policy->mark_refused;
	case GATE_UNREACHABLE_HOST:
		return policy->mark_unreachable_host;
	case GATE_UNREACHABLE_NET:
		return policy->mark_unreachable_net;
	case GATE_PROHIBIT:
		return policy->mark_prohibited;
	case GATE_DROP:
		break;
	}
	return 0;
}

void gate_decide(struct worker *w, uint32_t packet, enum gate_verdict verdict)
{
	struct nlmsghdr *nlh = add_message(w, NFQNL_MSG_VERDICT,
					   verdict == GATE_DROP ? NF_DROP : NF_ACCEPT, packet);

	if (verdict != GATE_DROP)
		mnl_attr_put_u32(nlh, NFQA_MARK, htonl(mark_of(w, verdict)));
	message_done(w, nlh);
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
	return w->out.gate.resume_ns;
}

/* Sends all packets up to this one through the rules again. A mark from the rules would keep a
 * packet out of the queue, so it is taken off. */
static void repeat_all(struct worker *w, uint32_t packet)
{
	struct nlmsghdr *nlh = add_message(w, NFQNL_MSG_VERDICT_BATCH, NF_REPEAT, packet);

	mnl_attr_put_u32(nlh, NFQA_MARK, 0);
	message_done(w, nlh);
}

void gate_open(struct worker *w)
{
	w->out.gate.rate = (struct out_rate){.burst = GATE_BURST, .per_ms = GATE_PER_MS};
	w->out.gate.resume_ns = UINT64_MAX;
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
	for (unsigned i = 0; i < 2 && !g->begun; i++)
		repeat_all(w, all_packets[i]);
	g->begun = true;
	gate_flush(w);
	if (!g->armed && g->resume_ns == UINT64_MAX)
		arm(w);
}
