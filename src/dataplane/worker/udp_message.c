/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/udp_message.h"

#include <errno.h>

#include "dataplane/worker/worker_internal.h"

static size_t segment_of(const struct udp_payload *p)
{
	return p->segment ? p->segment : p->len;
}

bool udp_message_takes(const struct udp_message *m, const struct udp_payload *p)
{
	size_t segment = segment_of(p);
	unsigned datagrams = udp_datagrams(p);

	/* An empty datagram would be lost in a message with others. */
	return p->len > 0 && !m->closed && segment <= m->segment &&
	       (datagrams == 1 || segment == m->segment) && m->bytes + p->len <= UDP_PAYLOAD_MAX &&
	       m->datagrams + datagrams <= UDP_SEGMENTS_MAX;
}

void udp_message_append(struct udp_message *m, const struct udp_payload *p)
{
	m->iov[m->n] = (struct iovec){.iov_base = p->data, .iov_len = p->len};
	m->buf_ids[m->n++] = p->buf_id;
	m->bytes += p->len;
	m->datagrams += udp_datagrams(p);
	/* Only the last datagram may be shorter, and an empty one goes alone. */
	m->closed = p->len == 0 || p->len % m->segment != 0;
}

void udp_message_begin(struct udp_message *m, const struct udp_payload *p)
{
	m->segment = segment_of(p);
	m->n = m->datagrams = 0;
	m->bytes = 0;
	udp_message_append(m, p);
}

/* Sends each datagram as a message of its own, as when segments are too large for the interface. */
static int send_plain(struct worker *w, struct udp_message *m, udp_message_send_fn *send,
		      const void *batch)
{
	int why = 0;

	for (unsigned i = 0; i < m->n; i++) {
		size_t at = 0;

		do {
			size_t left = m->iov[i].iov_len - at;
			size_t len = m->segment && left > m->segment ? m->segment : left;
			struct iovec one = {.iov_base = (uint8_t *)m->iov[i].iov_base + at,
					    .iov_len = len};
			int code = send(w, batch, &one, 1, 0);

			if (code < 0) {
				m->lost++;
				m->lost_bytes += len;
				why = code;
			}
			at += len;
		} while (at < m->iov[i].iov_len);
	}
	return why;
}

static bool cannot_segment(int err)
{
	return err == -EINVAL || err == -EMSGSIZE || err == -EIO || err == -EOPNOTSUPP;
}

static int send_as_one(struct worker *w, struct udp_message *m, udp_message_send_fn *send,
		       const void *batch, bool *plain)
{
	bool several = m->datagrams > 1;
	int err = 0;

	if (!several || !*plain) {
		err = send(w, batch, m->iov, m->n, several ? m->segment : 0);
		if (!err)
			return 0;
		if (!several || !cannot_segment(err)) {
			m->lost = m->datagrams;
			m->lost_bytes = m->bytes;
			return err;
		}
		*plain = true;
	}
	return send_plain(w, m, send, batch);
}

int udp_message_send(struct worker *w, struct udp_message *m, udp_message_send_fn *send,
		     const void *batch, bool *plain)
{
	int err;

	m->lost = 0;
	m->lost_bytes = 0;
	err = send_as_one(w, m, send, batch, plain);
	for (unsigned i = 0; i < m->n; i++)
		if (m->buf_ids[i] != UDP_NO_BUF)
			w->io->ops->buf_put(w->io, m->buf_ids[i]);
	return err;
}
