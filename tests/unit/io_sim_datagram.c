/* SPDX-License-Identifier: Apache-2.0 */
#include "io_sim_internal.h"

#include <assert.h>
#include <errno.h>
#include <netinet/udp.h>
#include <string.h>

#include "base/array.h"
#include "dataplane/io/handle.h"

static unsigned connected_datagram_sockets(const struct sim *s)
{
	unsigned n = 0;

	for (int i = 0; i < s->used; i++)
		n += s->objects[i].kind == KIND_DATAGRAM && s->objects[i].peer.in4.sin_port;
	return n;
}

int sim_connect_now(struct io *io, int fd, const struct sockaddr *addr, socklen_t len)
{
	struct sim *s = sim_of(io);
	struct object *o = sim_object_of(s, fd);
	int err = o->error, refused = sim_addr_error(s, o, addr, len);

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
	if (refused)
		return refused;
	memcpy(&o->peer, addr, len);
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

/* The address that the datagram leaves from, if a control message says so. */
static void read_source(const struct object *o, const struct msghdr *msg, union sock_addr *from)
{
	struct in6_pktinfo info6;
	struct in_pktinfo info4;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c;
	     c = CMSG_NXTHDR((struct msghdr *)(unsigned long)msg, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			assert(o->family == AF_INET && c->cmsg_len == CMSG_LEN(sizeof(info4)));
			memcpy(&info4, CMSG_DATA(c), sizeof(info4));
			from->in4.sin_family = AF_INET;
			from->in4.sin_addr = info4.ipi_spec_dst;
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			assert(o->family == AF_INET6 && c->cmsg_len == CMSG_LEN(sizeof(info6)));
			memcpy(&info6, CMSG_DATA(c), sizeof(info6));
			from->in6.sin6_family = AF_INET6;
			from->in6.sin6_addr = info6.ipi6_addr;
			from->in6.sin6_scope_id = info6.ipi6_ifindex;
		}
	}
}

static void sent_one(struct sim *s, int fd, const struct msghdr *msg, const uint8_t *data,
		     size_t len)
{
	struct object *o = sim_object_of(s, fd);
	struct sim_datagram *d = &s->sent[s->n_sent++];

	assert(s->n_sent <= OUT_MAX && len <= sizeof(d->data));
	*d = (struct sim_datagram){.fd = fd, .len = len, .from = o->bound, .to = o->peer};
	memcpy(d->data, data, len);
	if (msg->msg_name) {
		d->to = (union sock_addr){.in6 = {0}};
		memcpy(&d->to, msg->msg_name, msg->msg_namelen);
	}
	read_source(o, msg, &d->from);
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

/* The kernel refuses a link-local source or destination without an interface, and an interface that
 * is not the destination's: ip6_datagram_send_ctl(). */
static int name_error(const struct sim *s, const struct object *o, const struct msghdr *msg)
{
	union sock_addr to = {.in6 = {0}}, from = {.in6 = {0}};
	uint32_t link;

	assert(msg->msg_namelen <= sizeof(to));
	memcpy(&to, msg->msg_name, msg->msg_namelen);
	read_source(o, msg, &from);
	if (o->family != AF_INET6)
		return sim_addr_error(s, o, &to.sa, msg->msg_namelen);
	link = from.in6.sin6_scope_id;
	if (link && to.in6.sin6_scope_id && to.in6.sin6_scope_id != link)
		return -EINVAL;
	if (IN6_IS_ADDR_LINKLOCAL(&from.in6.sin6_addr) && !link && !to.in6.sin6_scope_id)
		return -EINVAL;
	if (link)
		to.in6.sin6_scope_id = link;
	return sim_addr_error(s, o, &to.sa, msg->msg_namelen);
}

ssize_t sim_sendmsg(struct io *io, int fd, const struct msghdr *msg, int flags)
{
	static uint8_t flat[65536];
	struct sim *s = sim_of(io);
	size_t len = 0, segment = segment_of(msg), at = 0;

	(void)flags;
	if (msg->msg_name) {
		int err = name_error(s, sim_object_of(s, fd), msg);

		if (err)
			return err;
	}
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
	union sock_addr name;
	uint8_t control[CMSG_SPACE(sizeof(union sock_addr)) + CMSG_SPACE(sizeof(int))]
		__attribute__((aligned(8)));
	uint8_t payload[4096];
};

/* Fills in the message about the address that the datagram was sent to. Returns its length. */
static size_t write_local(struct cmsghdr *c, const union sock_addr *local)
{
	bool ipv6 = local->sa.sa_family == AF_INET6;
	struct in_pktinfo info4 = {.ipi_spec_dst = local->in4.sin_addr,
				   .ipi_addr = local->in4.sin_addr};
	struct in6_pktinfo info6 = {.ipi6_addr = local->in6.sin6_addr,
				    .ipi6_ifindex = local->in6.sin6_scope_id};
	size_t len = ipv6 ? sizeof(info6) : sizeof(info4);

	c->cmsg_level = ipv6 ? IPPROTO_IPV6 : IPPROTO_IP;
	c->cmsg_type = ipv6 ? IPV6_PKTINFO : IP_PKTINFO;
	memcpy(CMSG_DATA(c), ipv6 ? (const void *)&info6 : (const void *)&info4, len);
	if (local->in4.sin_port) {
		c->cmsg_type = ipv6 ? IPV6_ORIGDSTADDR : IP_ORIGDSTADDR;
		len = sockaddr_len(&local->sa);
		memcpy(CMSG_DATA(c), local, len);
	}
	c->cmsg_len = CMSG_LEN(len);
	return len;
}

static size_t write_control(struct layout *at, const union sock_addr *local, int segment)
{
	struct msghdr msg = {.msg_control = at->control, .msg_controllen = sizeof(at->control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	size_t len;

	memset(at->control, 0, sizeof(at->control));
	len = write_local(c, local);
	if (!segment)
		return CMSG_SPACE(len);
	c = CMSG_NXTHDR(&msg, c);
	c->cmsg_level = SOL_UDP;
	c->cmsg_type = UDP_GRO;
	c->cmsg_len = CMSG_LEN(sizeof(segment));
	memcpy(CMSG_DATA(c), &segment, sizeof(segment));
	return CMSG_SPACE(len) + CMSG_SPACE(sizeof(segment));
}

bool sim_datagram_in(struct sim *s, int fd, const union sock_addr *client,
		     const union sock_addr *local, const void *data, size_t len, uint16_t segment)
{
	int object = sim_index_of_fd(s, fd);
	union sock_addr to = sim_addr_shown(&s->objects[object], local);
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
	at->name = sim_addr_shown(&s->objects[object], client);
	assert(len <= sizeof(at->payload));
	memcpy(at->payload, data, len);
	sim_emit(s, op->handle, (int)len, true);
	s->ready[s->n_ready - 1].has_dgram = true;
	s->ready[s->n_ready - 1].dgram = (struct io_datagram){
		.name = &at->name.sa,
		.name_len = sockaddr_len(&at->name.sa),
		.control = at->control,
		.control_len = write_control(at, &to, segment),
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

void sim_queue_error(struct sim *s, int fd, const union sock_addr *dest, int err, uint32_t info)
{
	struct object *o = sim_object_of(s, fd);

	assert(dest->sa.sa_family == o->family);
	o->queued = (struct io_error){.dest = *dest, .err = err, .info = info};
}
