/* SPDX-License-Identifier: Apache-2.0 */
#include "io_sim_internal.h"

#include <assert.h>
#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "dataplane/io/handle.h"

static unsigned connected_datagram_sockets(const struct sim *s)
{
	unsigned n = 0;

	for (int i = 0; i < OBJECTS; i++)
		n += s->objects[i].kind == KIND_DATAGRAM && s->objects[i].peer.sin_port;
	return n;
}

int sim_connect_now(struct io *io, int fd, const struct sockaddr *addr, socklen_t len)
{
	struct sim *s = sim_of(io);
	struct object *o = sim_object_of(s, fd);
	int err = o->error;

	assert(len == sizeof(o->peer));
	if (o->kind == KIND_DATAGRAM && s->local_ports &&
	    connected_datagram_sockets(s) >= s->local_ports) {
		s->ports_refused++;
		return -EAGAIN;
	}
	if (o->connected)
		return -EISCONN;
	if (o->connecting || err) {
		o->error = 0;
		return err ? err : -EALREADY;
	}
	if (o->kind == KIND_DATAGRAM && s->unreachable_port &&
	    ((const struct sockaddr_in *)addr)->sin_port == htons(s->unreachable_port))
		return -EADDRNOTAVAIL;
	memcpy(&o->peer, addr, sizeof(o->peer));
	o->connecting = o->kind == KIND_SOCKET;
	return o->connecting ? -EINPROGRESS : 0;
}

int sim_recv_error(struct io *io, int fd, struct io_error *out)
{
	struct object *o = sim_object_of(sim_of(io), fd);

	if (o->queued.err == 0)
		return -EAGAIN;
	*out = o->queued;
	o->queued.err = 0;
	return 0;
}

static void sent_one(struct sim *s, int fd, const struct msghdr *msg, const uint8_t *data,
		     size_t len)
{
	struct object *o = sim_object_of(s, fd);
	struct sim_datagram *d = &s->sent[s->n_sent++];

	assert(s->n_sent <= OUT_MAX && len <= sizeof(d->data));
	*d = (struct sim_datagram){.fd = fd, .len = len, .from = o->bound, .to = o->peer};
	memcpy(d->data, data, len);
	if (msg->msg_name)
		memcpy(&d->to, msg->msg_name, sizeof(d->to));
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c;
	     c = CMSG_NXTHDR((struct msghdr *)(unsigned long)msg, c))
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			d->from.sin_addr = info.ipi_spec_dst;
		}
}

ssize_t sim_ping_send(struct sim *s, int fd, const void *buf, size_t len)
{
	struct msghdr msg = {.msg_name = NULL};

	sent_one(s, fd, &msg, buf, len);
	return (ssize_t)len;
}

ssize_t sim_ping_recv(struct object *o, void *buf, size_t len)
{
	size_t n = o->answer_len;

	if (n == 0)
		return -EAGAIN;
	assert(n <= len);
	memcpy(buf, o->answer, n);
	o->answer_len = 0;
	return (ssize_t)n;
}

void sim_ping_answer(struct sim *s, int fd, const void *data, size_t len)
{
	struct object *o = sim_object_of(s, fd);

	assert(o->answer_len == 0 && len <= sizeof(o->answer));
	memcpy(o->answer, data, len);
	o->answer_len = len;
}

static size_t segment_of(const struct msghdr *msg)
{
	uint16_t segment = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c;
	     c = CMSG_NXTHDR((struct msghdr *)(unsigned long)msg, c))
		if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_SEGMENT)
			memcpy(&segment, CMSG_DATA(c), sizeof(segment));
	return segment;
}

ssize_t sim_sendmsg(struct io *io, int fd, const struct msghdr *msg, int flags)
{
	static uint8_t flat[65536];
	struct sim *s = sim_of(io);
	size_t len = 0, segment = segment_of(msg), at = 0;

	(void)flags;
	if (segment && s->no_segments) {
		s->segments_refused++;
		return s->no_segments;
	}
	if (s->send_error) {
		int err = s->send_error;

		s->send_error = 0;
		return err;
	}
	for (size_t i = 0; i < msg->msg_iovlen; i++) {
		assert(len + msg->msg_iov[i].iov_len <= sizeof(flat));
		memcpy(flat + len, msg->msg_iov[i].iov_base, msg->msg_iov[i].iov_len);
		len += msg->msg_iov[i].iov_len;
	}
	assert(!segment || (len + segment - 1) / segment <= 64);
	do {
		size_t one = segment && len - at > segment ? segment : len - at;

		sent_one(s, fd, msg, flat + at, one);
		at += one;
	} while (at < len);
	return (ssize_t)len;
}

static struct op *receiver_of(struct sim *s, int object)
{
	for (unsigned i = 0; i < s->n_ops; i++)
		if (s->ops[i].object == object && s->ops[i].type == OP_RECVMSG &&
		    !s->ops[i].cancelled)
			return &s->ops[i];
	return NULL;
}

struct layout {
	struct sockaddr_in name;
	uint8_t control[CMSG_SPACE(sizeof(struct sockaddr_in)) + CMSG_SPACE(sizeof(int))]
		__attribute__((aligned(8)));
	uint8_t payload[4096];
};

/* Of the address that the datagram was sent to; with a port: the original destination. */
static size_t write_control(struct layout *at, const struct sockaddr_in *local, int segment)
{
	struct msghdr msg = {.msg_control = at->control, .msg_controllen = sizeof(at->control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	struct in_pktinfo info = {.ipi_spec_dst = local->sin_addr, .ipi_addr = local->sin_addr};
	size_t len = local->sin_port ? sizeof(*local) : sizeof(info);

	memset(at->control, 0, sizeof(at->control));
	c->cmsg_level = IPPROTO_IP;
	c->cmsg_type = local->sin_port ? IP_ORIGDSTADDR : IP_PKTINFO;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), local->sin_port ? (const void *)local : (const void *)&info, len);
	if (!segment)
		return CMSG_SPACE(len);
	c = CMSG_NXTHDR(&msg, c);
	c->cmsg_level = SOL_UDP;
	c->cmsg_type = UDP_GRO;
	c->cmsg_len = CMSG_LEN(sizeof(segment));
	memcpy(CMSG_DATA(c), &segment, sizeof(segment));
	return CMSG_SPACE(len) + CMSG_SPACE(sizeof(segment));
}

bool sim_datagram_in(struct sim *s, int fd, const struct sockaddr_in *client,
		     const struct in_addr *local, const void *data, size_t len, uint16_t segment)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = *local};

	return sim_datagram_to(s, fd, client, &to, data, len, segment);
}

bool sim_datagram_to(struct sim *s, int fd, const struct sockaddr_in *client,
		     const struct sockaddr_in *local, const void *data, size_t len,
		     uint16_t segment)
{
	int object = sim_index_of_fd(s, fd);
	struct op *op = receiver_of(s, object);
	struct layout *at;
	uint16_t id = 0;

	static_assert(sizeof(struct layout) <= BUF_BYTES, "a buffer takes it");
	if (!op)
		return false;
	while (id < BUFS && s->buf_used[id])
		id++;
	if (id == BUFS) {
		sim_emit(s, op->handle, -ENOBUFS, false);
		*op = s->ops[--s->n_ops];
		return false;
	}
	s->buf_used[id] = true;
	at = (struct layout *)s->bufs[id];
	at->name = *client;
	assert(len <= sizeof(at->payload));
	memcpy(at->payload, data, len);
	sim_emit(s, op->handle, (int)len, true);
	s->ready[s->n_ready - 1].has_dgram = true;
	s->ready[s->n_ready - 1].dgram = (struct io_datagram){
		.name = (struct sockaddr *)&at->name,
		.name_len = sizeof(at->name),
		.control = at->control,
		.control_len = write_control(at, local, segment),
		.payload = at->payload,
		.len = len,
		.buf_id = id,
	};
	return true;
}

bool sim_datagram_out(struct sim *s, struct sim_datagram *out)
{
	if (s->sent_taken == s->n_sent) {
		s->sent_taken = s->n_sent = 0;
		return false;
	}
	*out = s->sent[s->sent_taken++];
	return true;
}

void sim_no_segments(struct sim *s, int err)
{
	s->no_segments = err;
}

int sim_segments_refused(const struct sim *s)
{
	return s->segments_refused;
}

void sim_local_ports(struct sim *s, unsigned n)
{
	s->local_ports = n;
}

void sim_unreachable_port(struct sim *s, uint16_t port)
{
	s->unreachable_port = port;
}

unsigned sim_ports_refused(const struct sim *s)
{
	return s->ports_refused;
}

void sim_fail_send(struct sim *s, int err)
{
	s->send_error = err;
}

bool sim_datagram_error(struct sim *s, int fd, int err)
{
	struct op *op = receiver_of(s, sim_index_of_fd(s, fd));

	if (!op)
		return false;
	sim_emit(s, op->handle, err, false);
	*op = s->ops[--s->n_ops];
	return true;
}

void sim_queue_error(struct sim *s, int fd, const struct sockaddr_in *dest, int err)
{
	struct object *o = sim_object_of(s, fd);

	o->queued = (struct io_error){.err = err};
	o->queued.dest.in4 = *dest;
}
