/* SPDX-License-Identifier: Apache-2.0 */
#include "io_sim_internal.h"

#include <assert.h>
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "dataplane/io/handle.h"

uint64_t sim_now_ns(struct io *io)
{
	return sim_of(io)->now_ns;
}

/* How much a read may take: up to the urgent mark, or past the mark when it begins there. */
static size_t readable(const struct object *o)
{
	return o->urgent > 0 ? (size_t)o->urgent : o->in->len;
}

static ssize_t nothing_to_read(const struct object *o)
{
	if (o->in_reset)
		return -ECONNRESET;
	return o->in_end ? 0 : -EAGAIN;
}

static void take_in(struct object *o, size_t n)
{
	sim_queue_drop(o->in, n);
	if (o->urgent >= 0) {
		o->urgent -= (int64_t)n;
		if (o->urgent < 0)
			o->urgent = -1;
	}
}

ssize_t sim_recv(struct io *io, int fd, void *buf, size_t len, int flags)
{
	struct sim *s = sim_of(io);
	struct object *o = sim_object_of(s, fd);
	size_t n;

	if (o->kind == KIND_CHANNEL)
		return sim_netlink_recv(o, buf, len);
	if (o->kind == KIND_DATAGRAM)
		return sim_ping_recv(o, buf, len);
	assert(o->kind == KIND_SOCKET);
	if (!o->in)
		return -ENOTCONN;
	n = readable(o);
	if (o->flood) {
		memset(buf, 0, flags & MSG_TRUNC ? 0 : len);
		return (ssize_t)len;
	}
	if (o->in->len == 0)
		return nothing_to_read(o);
	if (n > len)
		n = len;
	if (!(flags & MSG_TRUNC)) {
		n = sim_shorten(s, n);
		memcpy(buf, o->in->data, n);
	}
	if (!(flags & MSG_PEEK))
		take_in(o, n);
	return (ssize_t)n;
}

ssize_t sim_room(struct sim *s, const struct object *o, size_t len)
{
	size_t n = s->socket_bytes - o->out->len;

	if (o->in_reset || o->out_end)
		return -EPIPE;
	if (o->flood)
		return (ssize_t)len;
	if (n == 0)
		return -EAGAIN;
	return (ssize_t)sim_shorten(s, n < len ? n : len);
}

ssize_t sim_send(struct io *io, int fd, const void *buf, size_t len, int flags)
{
	struct sim *s = sim_of(io);
	struct object *o = sim_object_of(s, fd);
	ssize_t n;

	(void)flags;
	if (o->kind == KIND_CHANNEL)
		return sim_netlink_send(o, buf, len);
	if (o->kind == KIND_DATAGRAM)
		return sim_ping_send(s, fd, buf, len);
	n = o->out ? sim_room(s, o, len) : -EPIPE;
	if (n > 0 && !o->flood)
		sim_queue_put(o->out, buf, (size_t)n);
	return n;
}

ssize_t sim_pipe_write(struct io *io, int fd, const void *buf, size_t len)
{
	struct object *o = sim_object_of(sim_of(io), fd);

	assert(o->kind == KIND_PIPE && o->write_end && o->in->len + len <= PIPE_BYTES);
	sim_queue_put(o->in, buf, len);
	return (ssize_t)len;
}

static ssize_t splice_in(struct sim *s, struct object *from, struct object *pipe, size_t len)
{
	size_t n = readable(from);

	if (from->in->len == 0)
		return nothing_to_read(from);
	if (from->urgent == 0)
		return -EAGAIN; /* each time, as in the kernel */
	if (n > len)
		n = len;
	n = sim_shorten(s, n);
	assert(pipe->in->len + n <= PIPE_BYTES);
	sim_queue_put(pipe->in, from->in->data, n);
	take_in(from, n);
	return (ssize_t)n;
}

ssize_t sim_splice(struct io *io, int fd_in, int fd_out, size_t len)
{
	struct sim *s = sim_of(io);
	struct object *in = sim_object_of(s, fd_in), *out = sim_object_of(s, fd_out);
	ssize_t n;

	s->now_ns += s->splice_ns;
	if (!in->in || (out->kind != KIND_PIPE && !out->out))
		return -ENOTCONN;
	if (out->kind == KIND_PIPE)
		return splice_in(s, in, out, len);
	assert(in->kind == KIND_PIPE && !in->write_end && len <= in->in->len);
	n = sim_room(s, out, len);
	if (n > 0) {
		if (!out->flood)
			sim_queue_put(out->out, in->in->data, (size_t)n);
		sim_queue_drop(in->in, (size_t)n);
	}
	return n;
}

ssize_t sim_pipe_open(struct io *io, int fds[2], size_t size)
{
	struct sim *s = sim_of(io);
	int r, w;

	(void)size;
	if (s->exhausted || sim_fault(s))
		return -EMFILE;
	r = sim_object_new(s, KIND_PIPE, 0);
	w = sim_object_new(s, KIND_PIPE, 0);
	s->objects[r].in = s->objects[w].in = sim_queue_new();
	s->objects[r].pipe_peer = w;
	s->objects[w].pipe_peer = r;
	s->objects[w].write_end = true;
	fds[0] = FD_BASE + r;
	fds[1] = FD_BASE + w;
	return PIPE_BYTES;
}

int sim_error_of(struct io *io, int fd)
{
	struct object *o = sim_object_of(sim_of(io), fd);
	int err = o->error;

	o->error = 0;
	return err;
}

int sim_local_of(struct io *io, int fd, struct sockaddr *addr, socklen_t *len)
{
	struct object *o = sim_object_of(sim_of(io), fd);

	assert(*len >= sizeof(o->local));
	*len = sockaddr_len(&o->local.sa);
	memcpy(addr, &o->local, *len);
	return 0;
}

int sim_socket_open(struct io *io, int family, int type, int proto)
{
	struct sim *s = sim_of(io);
	int i;

	assert(family == AF_INET || family == AF_INET6);
	assert(proto && proto != (family == AF_INET ? IPPROTO_ICMPV6 : IPPROTO_ICMP));
	if (s->exhausted)
		return -EMFILE;
	if (family == AF_INET6 && s->no_ipv6 == -EAFNOSUPPORT)
		return -EAFNOSUPPORT;
	i = sim_object_new(s, type == SOCK_STREAM ? KIND_SOCKET : KIND_DATAGRAM, family);
	s->objects[i].outside = true;
	return FD_BASE + i;
}

int sim_bind_from(struct io *io, int fd, const struct sockaddr *addr, socklen_t len)
{
	struct object *o = sim_object_of(sim_of(io), fd);

	assert(o->outside && !o->connecting && addr->sa_family == o->family &&
	       len == sockaddr_len(addr));
	memcpy(&o->bound, addr, len);
	return 0;
}

int sim_shutdown_write(struct io *io, int fd)
{
	sim_object_of(sim_of(io), fd)->out_end = true;
	return 0;
}

/* A connection stays as an object, so that the test can look at its far end. Others go at once. */
void sim_close_fd(struct io *io, int fd)
{
	struct sim *s = sim_of(io);
	struct object *o = sim_object_of(s, fd);

	for (unsigned i = 0; i < s->n_ops; i++)
		assert(s->ops[i].object != o - s->objects);
	if (o->shared) {
		o->shared--;
		return;
	}
	o->open = false;
	if (o->kind == KIND_PIPE) {
		if (!s->objects[o->pipe_peer].open) {
			free(o->in);
			sim_object_free(s, &s->objects[o->pipe_peer]);
			sim_object_free(s, o);
		}
	} else if (o->kind == KIND_SOCKET && o->connected) {
		/* Unread input turns a close into a reset, as in tcp_close(). */
		o->out_reset |= o->in->len > 0;
		o->out_end = true;
	} else {
		if (o->kind == KIND_CHANNEL)
			sim_channel_free(s, o);
		sim_object_free(s, o);
	}
}

void sim_reset_fd(struct io *io, int fd)
{
	struct object *o = sim_object_of(sim_of(io), fd);

	if (o->connected && !o->shared) {
		o->out_reset = true;
		o->out->len = 0; /* what the far end has not read counts as not sent yet */
	}
	sim_close_fd(io, fd);
}

void sim_tune_accepted(struct io *io, int fd)
{
	sim_object_of(sim_of(io), fd);
}

size_t sim_unsent(struct io *io, int fd)
{
	const struct object *o = sim_object_of(sim_of(io), fd);

	return o->out ? o->out->len : 0;
}

uint32_t sim_unanswered_ms(struct io *io, int fd)
{
	struct sim *s = sim_of(io);
	const struct object *o = sim_object_of(s, fd);

	return o->silent_ns ? (uint32_t)((s->now_ns - o->silent_ns) / 1000000) + 1 : 0;
}

int64_t sim_backlog_ms(struct io *io, int fd)
{
	struct sim *s = sim_of(io);

	return (int64_t)((s->now_ns - sim_object_of(s, fd)->since_ns) / 1000000);
}

bool sim_is_reset(struct io *io, int fd)
{
	return sim_object_of(sim_of(io), fd)->in_reset;
}

int sim_source_for(struct io *io, int fd, const struct sockaddr *to, socklen_t to_len,
		   struct sockaddr *source, socklen_t *len)
{
	struct sim *s = sim_of(io);
	const struct object *o = sim_object_of(s, fd);
	int err = sim_addr_error(s, o, to, to_len);
	union sock_addr a = {.in6 = {0}};
	uint32_t host;

	assert(o->kind == KIND_DATAGRAM && *len >= to_len);
	memcpy(&a, to, to_len);
	host = s->source_for ? s->source_for(sim_host_of(&a)) : 0;
	if (err || host == 0)
		return err ? err : -ENETUNREACH;
	a = sim_addr(o->family, host, 1);
	memcpy(source, &a, to_len);
	*len = to_len;
	return 0;
}

int sim_bind_as(struct io *io, int fd, const struct sockaddr *addr, socklen_t len, uint32_t mark)
{
	struct sim *s = sim_of(io);
	struct object *o = sim_object_of(s, fd);

	assert((o->kind == KIND_SOCKET || o->kind == KIND_DATAGRAM) && !o->connected &&
	       addr->sa_family == o->family && len == sockaddr_len(addr));
	memcpy(&o->bound, addr, len);
	o->mark = mark;
	if (s->bind_error && (o->bound.in4.sin_port || s->bind_error != -EADDRINUSE))
		return s->bind_error;
	return sim_addr_error(s, o, addr, len);
}

bool sim_paces(struct io *io, int fd)
{
	sim_object_of(sim_of(io), fd);
	return false;
}

uint64_t sim_io_random(struct io *io)
{
	return sim_random(sim_of(io), UINT32_MAX);
}

void sim_adopt(struct io *io, int fd)
{
	sim_object_of(sim_of(io), fd);
}

bool sim_sock_check(struct io *io, int fd, const struct io_sock *want)
{
	const struct object *o = sim_object_of(sim_of(io), fd);

	return o->is.family == want->family && o->is.type == want->type &&
	       o->is.protocol == want->protocol &&
	       (want->netns_cookie == 0 || o->is.netns_cookie == want->netns_cookie) && !o->used;
}
