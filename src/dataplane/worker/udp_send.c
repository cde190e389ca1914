/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netinet/udp.h>
#include <string.h>
#include <utlist.h>

#include "dataplane/worker/worker_internal.h"

/*
 * Sends datagrams of published ports, both directions. Consecutive datagrams of a flow leave as one
 * message (udp_message.h). All datagrams of a turn have left when it ends.
 */

union udp_control {
	struct cmsghdr align;
	uint8_t bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(uint16_t))];
};

static void add_control(struct msghdr *msg, int level, int type, const void *data, size_t len)
{
	struct cmsghdr *c = (void *)((uint8_t *)msg->msg_control + msg->msg_controllen);

	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), data, len);
	msg->msg_controllen += CMSG_SPACE(len);
}

static void add_source_ipv4(struct msghdr *msg, const struct udp_key *key)
{
	struct in_pktinfo info = {.ipi_spec_dst.s_addr = key->local.s6_addr32[3]};

	if (info.ipi_spec_dst.s_addr)
		add_control(msg, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
}

static void add_source_ipv6(struct msghdr *msg, const struct udp_key *key)
{
	struct in6_pktinfo info = {.ipi6_addr = key->local, .ipi6_ifindex = key->local_ifindex};

	if (!IN6_IS_ADDR_UNSPECIFIED(&key->local))
		add_control(msg, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
}

/* Sets destination and source of an answer, in the family of the listener's socket. */
static void address_to_client(struct msghdr *msg, const struct udp_flow *f, union sock_addr *name)
{
	const struct udp_key *key = &f->key;

	memset(name, 0, sizeof(*name));
	msg->msg_name = name;
	if (f->listener->family == AF_INET) {
		name->in4.sin_family = AF_INET;
		name->in4.sin_port = key->client_port;
		name->in4.sin_addr.s_addr = key->client.s6_addr32[3];
		msg->msg_namelen = sizeof(name->in4);
		add_source_ipv4(msg, key);
	} else {
		name->in6.sin6_family = AF_INET6;
		name->in6.sin6_port = key->client_port;
		name->in6.sin6_addr = key->client;
		name->in6.sin6_scope_id = key->client_scope;
		msg->msg_namelen = sizeof(name->in6);
		add_source_ipv6(msg, key);
	}
}

void udp_send_dropped(struct worker *w, struct listener *l, unsigned datagrams)
{
	stats_add(&w->stats->udp_dropped, datagrams);
	if (l)
		stats_add(&l->stats->dropped, datagrams);
}

/* Sends iov as one message of datagrams of segment bytes each, or of one if segment is 0. 0 or
 * -errno. */
static int send_message(struct worker *w, const void *batch, struct iovec *iov, unsigned n,
			size_t segment)
{
	const struct udp_batch *b = batch;
	union udp_control control = {.bytes = {0}};
	union sock_addr name;
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = n, .msg_control = control.bytes};
	int fd = b->to_client ? b->flow->listener->fd : b->flow->fd;
	uint16_t segment16 = (uint16_t)segment;
	ssize_t r;

	if (b->to_client)
		address_to_client(&msg, b->flow, &name);
	if (segment)
		add_control(&msg, SOL_UDP, UDP_SEGMENT, &segment16, sizeof(segment16));
	if (msg.msg_controllen == 0)
		msg.msg_control = NULL;
	r = w->io->ops->sendmsg(w->io, fd, &msg, 0);
	if (r == -ECONNREFUSED && !b->to_client) {
		/* The refusal is of an earlier datagram. Reporting it has cleared it, so this sends
		 * again. */
		stats_add(&w->stats->udp_refused, 1);
		stats_add(&b->flow->listener->stats->errors, 1);
		r = w->io->ops->sendmsg(w->io, fd, &msg, 0);
	}
	return r < 0 ? (int)r : 0;
}

static void count_batch(struct worker *w, const struct udp_batch *b)
{
	const struct udp_message *m = &b->message;
	struct port_stats *port = b->flow->listener->stats;
	bool out = b->to_client;
	unsigned sent = m->datagrams - m->lost;
	size_t bytes = m->bytes - m->lost_bytes;

	if (b->counted)
		return;
	stats_add(out ? &w->stats->udp_datagrams_out : &w->stats->udp_datagrams_in, sent);
	stats_add(out ? &port->datagrams_out : &port->datagrams_in, sent);
	stats_add(out ? &w->stats->udp_bytes_out : &w->stats->udp_bytes_in, bytes);
	stats_add(out ? &port->bytes_out : &port->bytes_in, bytes);
	udp_send_dropped(w, b->flow->listener, m->lost);
}

void udp_flush(struct worker *w)
{
	struct udp_batch *b = &w->udp.batch;

	if (!b->flow)
		return;
	(void)udp_message_send(w, &b->message, send_message, b, &b->flow->plain);
	count_batch(w, b);
	b->flow = NULL;
}

/* Makes the flow the most recently used one, as a datagram of it is on its way. */
static void touch(struct worker *w, struct udp_flow *f)
{
	struct listener *l = f->listener;

	/* Once in a turn is enough: all flows that are used in it are equally recent. */
	if (f->last_ns == w->now_ns)
		return;
	f->last_ns = w->now_ns;
	DL_DELETE2(w->udp.ages, f, age_prev, age_next);
	DL_APPEND2(w->udp.ages, f, age_prev, age_next);
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a list has a last one */
	DL_DELETE(l->udp_flows, f);
	DL_APPEND(l->udp_flows, f);
}

void udp_send(struct worker *w, struct udp_flow *f, bool to_client, const struct udp_payload *p)
{
	struct udp_batch *b = &w->udp.batch;

	touch(w, f);
	if (b->flow == f && b->to_client == to_client && udp_message_takes(&b->message, p)) {
		udp_message_append(&b->message, p);
		return;
	}
	udp_flush(w);
	b->flow = f;
	b->to_client = to_client;
	udp_message_begin(&b->message, p);
}

void udp_send_again(struct worker *w, struct udp_flow *f, const struct udp_payload *p)
{
	udp_flush(w);
	w->udp.batch.counted = true;
	udp_send(w, f, false, p);
	udp_flush(w);
	w->udp.batch.counted = false;
}
