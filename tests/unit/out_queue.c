/* SPDX-License-Identifier: Apache-2.0 */
#include "out_queue.h"

#include "cmocka_all.h"

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <string.h>

#define NF_REPEAT 4

void out_queue_hold(struct out_queue *q, const struct out_world *o, int owner)
{
	struct held *h = &q->held[q->n++];

	assert_true(q->n <= QUEUE_MAX);
	*h = (struct held){.id = o->last_packet, .owner = owner, .len = o->packet_len};
	memcpy(h->packet, o->packet, o->packet_len);
}

static struct held take(struct out_queue *q, struct out_world *o, unsigned i)
{
	struct held h = q->held[i];

	memmove(&q->held[i], &q->held[i + 1], (--q->n - i) * sizeof(h));
	o->held--;
	return h;
}

/* Packets up to this id, which counts modulo 2^32, are put into the queue again. */
static void repeat(struct out_queue *q, struct out_world *o, uint32_t id)
{
	struct held again[QUEUE_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < q->n;) {
		if ((int32_t)(q->held[i].id - id) > 0)
			i++;
		else
			again[n++] = take(q, o, i);
	}
	q->repeated += n;
	for (unsigned i = 0; i < n; i++) {
		put_packet(o, again[i].packet, again[i].len);
		out_queue_hold(q, o, again[i].owner);
	}
}

/* A verdict about a packet that is not there has no effect. */
static void judge(struct out_queue *q, struct out_world *o, uint32_t id, uint32_t verdict,
		  uint32_t mark)
{
	assert_in_range(id, 1, o->last_packet);
	for (unsigned i = 0; i < q->n; i++)
		if (q->held[i].id == id) {
			q->judged(q->ctx, take(q, o, i).owner, verdict, mark);
			return;
		}
}

void out_queue_run(struct out_queue *q, struct out_world *o)
{
	uint8_t msg[64] __attribute__((aligned(8)));

	memset(msg, 0, sizeof(msg));
	while (sim_channel_get_any(o->x.sim, o->gate, msg, sizeof(msg))) {
		const struct nlmsghdr *nlh = (const struct nlmsghdr *)msg;
		struct nfqnl_msg_verdict_hdr hdr;
		uint32_t mark;

		memcpy(&hdr, msg + sizeof(*nlh) + sizeof(struct nfgenmsg) + sizeof(struct nlattr),
		       sizeof(hdr));
		memcpy(&mark, msg + 36, sizeof(mark)); /* a drop has none */
		if ((nlh->nlmsg_type & 0xff) == NFQNL_MSG_VERDICT_BATCH) {
			assert_int_equal(ntohl(hdr.verdict), NF_REPEAT);
			repeat(q, o, ntohl(hdr.id));
		} else {
			judge(q, o, ntohl(hdr.id), ntohl(hdr.verdict), ntohl(mark));
		}
		memset(msg, 0, sizeof(msg));
	}
}
