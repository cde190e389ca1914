/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netinet/udp.h>
#include <string.h>

#include "base/sockaddr.h"
#include "dataplane/worker/worker_internal.h"

/*
 * Sends datagrams of the way out, both directions. Consecutive datagrams with the same socket and
 * destination leave as one message (udp_message.h). All datagrams of a turn have left when it ends.
 */

union control {
	struct cmsghdr align;
	uint8_t bytes[CMSG_SPACE(sizeof(uint16_t))];
};

static int send_once(struct worker *w, const struct out_batch *b, struct iovec *iov, unsigned n,
		     size_t segment)
{
	union control control = {.bytes = {0}};
	uint16_t segment16 = (uint16_t)segment;
	union sock_addr name = b->name;
	struct msghdr msg = {.msg_name = &name,
			     .msg_namelen = sockaddr_len(&b->name.sa),
			     .msg_iov = iov,
			     .msg_iovlen = n};
	ssize_t r;

	if (segment) {
		struct cmsghdr *c = &control.align;

		c->cmsg_level = SOL_UDP;
		c->cmsg_type = UDP_SEGMENT;
		c->cmsg_len = CMSG_LEN(sizeof(segment16));
		memcpy(CMSG_DATA(c), &segment16, sizeof(segment16));
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
	}
	r = w->io->ops->sendmsg(w->io, b->fd, &msg, 0);
	return r < 0 ? (int)r : 0;
}

/* The error may belong to an earlier datagram: reporting it has cleared it, so this sends again. */
static int send_message(struct worker *w, const void *batch, struct iovec *iov, unsigned n,
			size_t segment)
{
	const struct out_batch *b = batch;
	int code = send_once(w, b, iov, n, segment);

	if (!code || code == -EAGAIN || code == -EINVAL)
		return code;
	if (b->up)
		out_udp_errors(w, &w->out.udp.maps[b->map]);
	return send_once(w, b, iov, n, segment);
}

/* Tells the client why its datagram could not leave. */
static void tell(struct worker *w, const struct out_batch *b, int code)
{
	const struct out_map *m = &w->out.udp.maps[b->map];

	if (b->up && code != -EAGAIN && code != -ENOBUFS && code != -EINVAL)
		out_icmp_error(w, &m->inside, &b->seen, -code, 0, b->message.segment);
}

static void count_batch(struct worker *w, const struct out_batch *b)
{
	const struct udp_message *m = &b->message;
	struct stats *s = w->stats;

	stats_add(b->up ? &s->out_udp_datagrams_up : &s->out_udp_datagrams_down,
		  m->datagrams - m->lost);
	stats_add(b->up ? &s->out_udp_bytes_up : &s->out_udp_bytes_down, m->bytes - m->lost_bytes);
	stats_add(&s->out_udp_dropped, m->lost);
}

void out_udp_flush(struct worker *w)
{
	struct out_batch *b = &w->out.udp.batch;
	bool plain = false;
	int code;

	if (b->fd < 0)
		return;
	code = udp_message_send(w, &b->message, send_message, b, &plain);
	if (code)
		tell(w, b, code);
	count_batch(w, b);
	b->fd = -1;
}

void out_udp_send(struct worker *w, const struct out_route *r, const struct udp_payload *p)
{
	struct out_batch *b = &w->out.udp.batch;

	if (b->fd == r->fd && sockaddr_same(&b->name, r->name) &&
	    udp_message_takes(&b->message, p)) {
		udp_message_append(&b->message, p);
		return;
	}
	out_udp_flush(w);
	b->fd = r->fd;
	b->up = r->up;
	b->map = r->map;
	b->name = *r->name;
	b->seen = *r->seen;
	udp_message_begin(&b->message, p);
}
