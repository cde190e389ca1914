/* SPDX-License-Identifier: Apache-2.0 */
#include <netinet/in.h> /* must come before linux/netfilter.h, which defines the same names */

#include <assert.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>

#include "base/array.h"
#include "base/fd.h"
#include "dataplane/worker/worker_internal.h"

/*
 * Verdicts on the packets of the queue (gate.c).
 *
 * All verdicts of a turn leave together. The kernel answers a verdict only when its packet is gone.
 * That answer is ignored: packets may vanish by themselves, with an interface for one.
 */

/* Pause before verdicts for which there was no memory are sent again. */
#define RETRY_NS WORKER_NS_PER_MS

/* Returns whether the verdicts have left. When memory is short they stay for a later turn: the
 * packets wait in the queue until they are judged. Other errors are of packets that are gone. */
static bool send_all(struct worker *w)
{
	struct gate *g = &w->out.gate;
	ssize_t n = w->io->ops->send(w->io, g->fd, g->verdicts, g->len, 0);

	if (fd_is_passing((int)n)) {
		g->retry_ns = w->now_ns + RETRY_NS;
		return false;
	}
	g->retry_ns = UINT64_MAX;
	g->len = 0;
	return true;
}

void gate_flush(struct worker *w)
{
	struct gate *g = &w->out.gate;

	if (g->len == 0 || !send_all(w) || !g->lost)
		return;
	g->lost = false;
	gate_repeat_all(w);
	send_all(w);
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
	/* There has been no memory for so many verdicts. Once there is, all packets that wait come
	 * again, and are judged anew. */
	if (sizeof(g->verdicts) - g->len < GATE_VERDICT_BYTES) {
		g->len = 0;
		g->lost = true;
	}
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

/* Ids count up from 1 (nfnetlink_queue). The kernel compares them modulo 2^32, so that two steps
 * cover all. */
static const uint32_t all_packets[] = {0x7fffffff, 0xffffffff};

/* Sends all packets up to this one through the rules again. A mark from the rules would keep a
 * packet out of the queue, so it is taken off. */
static void repeat_up_to(struct worker *w, uint32_t packet)
{
	struct nlmsghdr *nlh = add_message(w, NFQNL_MSG_VERDICT_BATCH, NF_REPEAT, packet);

	mnl_attr_put_u32(nlh, NFQA_MARK, 0);
	message_done(w, nlh);
}

void gate_repeat_all(struct worker *w)
{
	for (size_t i = 0; i < ARRAY_SIZE(all_packets); i++)
		repeat_up_to(w, all_packets[i]);
}
