/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netinet/udp.h>
#include <string.h>

#include "dataplane/worker/out_hash.h"
#include "dataplane/worker/worker_internal.h"

/*
 * Datagrams of the way out as they leave, both directions. Consecutive ones with the same socket
 * and destination that are equally long leave as one message (UDP_SEGMENT, udp(7)). All of a turn's
 * datagrams have left when the turn ends.
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

/* An error may be that of an earlier datagram: then saying it has cleared it. */
static int send_message(struct worker *w, const struct out_batch *b, struct iovec *iov, unsigned n,
			size_t segment)
{
	int code = send_once(w, b, iov, n, segment);

	if (!code || code == -EAGAIN || code == -EINVAL)
		return code;
	if (b->up)
		out_udp_errors(w, &w->out.udp.maps[b->map]);
	return send_once(w, b, iov, n, segment);
}

/* The client hears why its datagram could not leave. */
static void tell(struct worker *w, const struct out_batch *b, int code)
{
	const struct out_map *m = &w->out.udp.maps[b->map];

	if (b->up && code != -EAGAIN && code != -ENOBUFS && code != -EINVAL)
		out_icmp_error(w, &m->inside, &b->seen, -code, 0, b->segment);
}

/* Each datagram by itself: where segments are too large for the interface, for example. */
static void send_plain(struct worker *w, struct out_batch *b)
{
	int code = 0;

	for (unsigned i = 0; i < b->n; i++) {
		size_t at = 0;

		do {
			size_t left = b->iov[i].iov_len - at;
			size_t len = b->segment && left > b->segment ? b->segment : left;
			struct iovec one = {.iov_base = (uint8_t *)b->iov[i].iov_base + at,
					    .iov_len = len};
			int err = send_message(w, b, &one, 1, 0);

			b->lost += err < 0;
			b->lost_bytes += err < 0 ? len : 0;
			code = err ? err : code;
			at += len;
		} while (at < b->iov[i].iov_len);
	}
	if (code)
		tell(w, b, code);
}

static bool cannot_segment(int err)
{
	return err == -EINVAL || err == -EMSGSIZE || err == -EIO || err == -EOPNOTSUPP;
}

/* Sets lost and lost_bytes of what it was given. */
static void send_batch(struct worker *w, struct out_batch *b)
{
	bool several = b->datagrams > 1;
	int err = send_message(w, b, b->iov, b->n, several ? b->segment : 0);

	b->lost = 0;
	b->lost_bytes = 0;
	if (!err)
		return;
	if (several && cannot_segment(err)) {
		send_plain(w, b);
		return;
	}
	tell(w, b, err);
	b->lost = b->datagrams;
	b->lost_bytes = b->bytes;
}

static void count_batch(struct worker *w, const struct out_batch *b)
{
	struct stats *s = w->stats;

	stats_add(b->up ? &s->out_udp_datagrams_up : &s->out_udp_datagrams_down,
		  b->datagrams - b->lost);
	stats_add(b->up ? &s->out_udp_bytes_up : &s->out_udp_bytes_down, b->bytes - b->lost_bytes);
	stats_add(&s->out_udp_dropped, b->lost);
}

void out_udp_flush(struct worker *w)
{
	struct out_batch *b = &w->out.udp.batch;

	if (b->fd < 0)
		return;
	send_batch(w, b);
	count_batch(w, b);
	for (unsigned i = 0; i < b->n; i++)
		w->io->ops->buf_put(w->io, b->buf_ids[i]);
	b->fd = -1;
}

static bool fits(const struct out_batch *b, const struct out_route *r, size_t len, size_t segment,
		 size_t datagrams)
{
	/* An empty one would vanish among others. */
	return len > 0 && b->fd == r->fd && !b->closed && out_same_addr(&b->name, r->name) &&
	       segment <= b->segment && (datagrams == 1 || segment == b->segment) &&
	       b->bytes + len <= UDP_PAYLOAD_MAX && b->datagrams + datagrams <= UDP_SEGMENTS_MAX;
}

void out_udp_send(struct worker *w, const struct out_route *r, const struct udp_payload *p)
{
	struct out_batch *b = &w->out.udp.batch;
	size_t segment = p->segment ? p->segment : p->len;
	unsigned datagrams = udp_datagrams(p);

	if (!fits(b, r, p->len, segment, datagrams)) {
		out_udp_flush(w);
		b->fd = r->fd;
		b->up = r->up;
		b->map = r->map;
		b->name = *r->name;
		b->seen = *r->seen;
		b->segment = segment;
		b->n = b->datagrams = 0;
		b->bytes = 0;
	}
	b->iov[b->n] = (struct iovec){.iov_base = p->data, .iov_len = p->len};
	b->buf_ids[b->n++] = p->buf_id;
	b->bytes += p->len;
	b->datagrams += datagrams;
	/* Only the last may be shorter; an empty one goes alone. */
	b->closed = p->len == 0 || p->len % b->segment != 0;
}
