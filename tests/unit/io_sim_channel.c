/* SPDX-License-Identifier: Apache-2.0 */
#include "io_sim_internal.h"

#include <assert.h>
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "dataplane/io/handle.h"

static void messages_free(struct sim *s, struct message *queue, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		free(queue[i].large);
		for (size_t k = 0; k < queue[i].n_fds; k++)
			sim_close_fd(&s->io, queue[i].fds[k]);
	}
}

static struct channel *channel_of(struct sim *s, int fd)
{
	struct object *o = sim_object_of(s, fd);

	assert(o->kind == KIND_CHANNEL);
	return o->channel;
}

static struct message message_of(const void *data, size_t len, const int *fds, size_t n_fds)
{
	struct message m = {.len = len, .n_fds = n_fds};

	assert(n_fds <= MSG_FDS);
	m.large = len > MSG_BYTES ? malloc(len) : NULL;
	assert(m.large || len <= MSG_BYTES);
	memcpy(m.large ? m.large : m.data, data, len);
	if (n_fds)
		memcpy(m.fds, fds, n_fds * sizeof(fds[0]));
	return m;
}

static struct message message_take(struct message *queue, unsigned *n)
{
	struct message m = queue[0];

	memmove(queue, queue + 1, --*n * sizeof(queue[0]));
	return m;
}

/* Copies up to size bytes of the message, and frees it. */
static void message_read(struct message *m, void *buf, size_t size)
{
	memcpy(buf, m->large ? m->large : m->data, m->len < size ? m->len : size);
	free(m->large);
	m->large = NULL;
}

/* Netlink sockets are channels whose messages are read and written by recv and send. */
ssize_t sim_netlink_recv(struct object *o, void *buf, size_t len)
{
	struct message m;

	if (o->channel->n_in == 0)
		return -EAGAIN;
	m = message_take(o->channel->in, &o->channel->n_in);
	assert(m.len <= len);
	memcpy(buf, m.data, m.len);
	return (ssize_t)m.len;
}

/* Each message of the kind that begins with its length arrives by itself. */
ssize_t sim_netlink_send(struct object *o, const void *buf, size_t len)
{
	struct channel *c = o->channel;

	if (c->shortage)
		return -ENOBUFS;
	for (size_t at = 0; at < len;) {
		uint32_t one;

		memcpy(&one, (const uint8_t *)buf + at, sizeof(one));
		one = (one + 3) & ~3u;
		assert(one >= 16 && at + one <= len && c->n_out < CHANNEL_MAX);
		c->out[c->n_out++] = message_of((const uint8_t *)buf + at, one, NULL, 0);
		at += one;
	}
	return (ssize_t)len;
}

void sim_channel_free(struct sim *s, struct object *o)
{
	messages_free(s, o->channel->in, o->channel->n_in);
	messages_free(s, o->channel->out, o->channel->n_out);
	free(o->channel);
	o->channel = NULL;
}

int sim_msg_send(struct io *io, int fd, const void *buf, size_t len)
{
	struct channel *c = channel_of(sim_of(io), fd);

	if (c->ended)
		return -EPIPE;
	if (c->n_out >= c->room)
		return -EAGAIN;
	if (c->shortage)
		return -ENOBUFS;
	c->out[c->n_out++] = message_of(buf, len, NULL, 0);
	return 0;
}

int sim_msg_send_fds(struct io *io, int fd, const void *buf, size_t len, const int *fds,
		     size_t n_fds)
{
	struct channel *c = channel_of(sim_of(io), fd);

	if (c->ended)
		return -EPIPE;
	if (c->n_out >= c->room)
		return -EAGAIN;
	if (c->shortage)
		return -ENOMEM;
	if (sim_fault(sim_of(io)))
		return -ETOOMANYREFS;
	for (size_t i = 0; i < n_fds; i++)
		sim_object_of(sim_of(io), fds[i])->shared++;
	c->out[c->n_out++] = message_of(buf, len, fds, n_fds);
	return 0;
}

ssize_t sim_msg_recv(struct io *io, int fd, void *buf, size_t size, int *fds, size_t *n_fds,
		     bool *lost)
{
	struct sim *s = sim_of(io);
	struct channel *c = channel_of(s, fd);
	struct message m;

	*lost = false;

	if (c->n_in == 0) {
		*n_fds = 0;
		return c->ended ? 0 : -EAGAIN;
	}
	m = message_take(c->in, &c->n_in);
	assert(m.n_fds <= *n_fds);
	*n_fds = m.len > size ? 0 : m.n_fds - m.fds_lost;
	*lost = m.fds_lost > 0;
	memcpy(fds, m.fds, *n_fds * sizeof(fds[0]));
	for (size_t i = *n_fds; i < m.n_fds; i++)
		io->ops->close_fd(io, m.fds[i]);
	message_read(&m, buf, size);
	return m.len > size ? -EMSGSIZE : (ssize_t)m.len;
}

bool sim_channel_pass(struct sim *s, int from, int to)
{
	struct channel *a = channel_of(s, from), *b = channel_of(s, to);

	if (a->n_out == 0 || b->n_in == CHANNEL_MAX)
		return false;
	b->in[b->n_in++] = message_take(a->out, &a->n_out);
	return true;
}

int sim_channel(struct sim *s)
{
	int i = sim_object_new(s, KIND_CHANNEL, 0);

	s->objects[i].channel = calloc(1, sizeof(struct channel));
	assert(s->objects[i].channel);
	s->objects[i].channel->room = CHANNEL_MAX;
	return FD_BASE + i;
}

bool sim_channel_open(struct sim *s, int fd)
{
	const struct object *o = &s->objects[fd - FD_BASE];

	return o->kind == KIND_CHANNEL && o->open;
}

void sim_channel_put(struct sim *s, int fd, const void *data, size_t len, const int *fds,
		     size_t n_fds)
{
	struct channel *c = channel_of(s, fd);

	assert(c->n_in < CHANNEL_MAX);
	c->in[c->n_in++] = message_of(data, len, fds, n_fds);
}

void sim_channel_add(struct sim *s, int fd, const void *part, size_t len, unsigned max,
		     const int *fds, size_t n_fds)
{
	struct channel *c = channel_of(s, fd);
	struct message *m = c->n_in ? &c->in[c->n_in - 1] : NULL;
	uint8_t *data;

	if (!m || m->len + len > max * len || m->n_fds + n_fds > MSG_FDS) {
		sim_channel_put(s, fd, part, len, fds, n_fds);
		return;
	}
	data = realloc(m->large, m->len + len);
	assert(data);
	if (!m->large)
		memcpy(data, m->data, m->len);
	m->large = data;
	memcpy(data + m->len, part, len);
	m->len += len;
	if (n_fds)
		memcpy(m->fds + m->n_fds, fds, n_fds * sizeof(fds[0]));
	m->n_fds += n_fds;
}

void sim_channel_lose_fds(struct sim *s, int fd, unsigned n)
{
	struct channel *c = channel_of(s, fd);
	struct message *m = &c->in[c->n_in - 1];

	assert(n > 0 && n <= m->n_fds);
	m->fds_lost = n;
}

bool sim_channel_get(struct sim *s, int fd, void *data, size_t len)
{
	struct channel *c = channel_of(s, fd);
	struct message m;

	struct message *first = &c->out[0];

	if (c->n_out == 0)
		return false;
	assert(first->len >= len && first->len % len == 0);
	if (first->len > len) {
		uint8_t *bytes = first->large ? first->large : first->data;

		memcpy(data, bytes, len);
		first->len -= len;
		memmove(bytes, bytes + len, first->len);
		return true;
	}
	m = message_take(c->out, &c->n_out);
	message_read(&m, data, len);
	return true;
}

size_t sim_channel_get_any(struct sim *s, int fd, void *data, size_t size)
{
	struct channel *c = channel_of(s, fd);
	struct message m;

	if (c->n_out == 0)
		return 0;
	m = message_take(c->out, &c->n_out);
	assert(m.len <= size);
	message_read(&m, data, size);
	return m.len;
}

void sim_channel_room(struct sim *s, int fd, unsigned messages)
{
	assert(messages <= CHANNEL_MAX);
	channel_of(s, fd)->room = messages;
}

void sim_channel_short(struct sim *s, int fd, bool on)
{
	channel_of(s, fd)->shortage = on;
}

void sim_channel_end(struct sim *s, int fd)
{
	channel_of(s, fd)->ended = true;
}
