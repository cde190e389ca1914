/* SPDX-License-Identifier: Apache-2.0 */
#include "io_sim_internal.h"

#include <errno.h>
#include <netinet/udp.h>
#include <string.h>

#include "base/array.h"
#include "dataplane/io/handle.h"

void sim_set_exhausted(struct sim *s, bool on)
{
	s->exhausted = on;
}

void sim_refuse_port(struct sim *s, uint16_t port)
{
	s->refused_port = port;
	s->refusal = -ECONNREFUSED;
}

void sim_refuse_port_with(struct sim *s, uint16_t port, int err)
{
	s->refused_port = port;
	s->refusal = err;
}

void sim_large_sockets(struct sim *s)
{
	s->socket_bytes = SOCKET_BYTES_LARGE;
}

void sim_splice_takes(struct sim *s, uint64_t ns)
{
	s->splice_ns = ns;
}

void sim_client_from(struct sim *s, int far, uint32_t host, uint16_t port)
{
	s->objects[far].peer = sim_addr(s->objects[far].family, host, port);
}

void sim_client_is(struct sim *s, int far, const union sock_addr *from)
{
	s->objects[far].peer = sim_addr_shown(&s->objects[far], from);
}

void sim_routes(struct sim *s, uint32_t (*source_for)(uint32_t to))
{
	s->source_for = source_for;
}

void sim_no_ipv6(struct sim *s, int err)
{
	s->no_ipv6 = err;
}

void sim_fail_bind(struct sim *s, int err)
{
	s->bind_error = err;
}

void sim_fail_bound(struct sim *s, int err)
{
	s->bound_error = err;
}

union sock_addr sim_connected_to(const struct sim *s, int far)
{
	return s->objects[far].peer;
}

union sock_addr sim_bound(const struct sim *s, int far, uint32_t *mark)
{
	*mark = s->objects[far].mark;
	return s->objects[far].bound;
}

int sim_listener(struct sim *s, int family)
{
	return FD_BASE + sim_object_new(s, KIND_LISTENER, family);
}

int sim_listener_dual(struct sim *s)
{
	int fd = sim_listener(s, AF_INET6);

	sim_object_of(s, fd)->dual = true;
	return fd;
}

int sim_socket(struct sim *s, bool datagram)
{
	struct io_sock is = {.family = AF_INET,
			     .type = datagram ? SOCK_DGRAM : SOCK_STREAM,
			     .protocol = datagram ? IPPROTO_UDP : IPPROTO_TCP,
			     .netns_cookie = SIM_NETNS};

	return sim_socket_like(s, &is, false);
}

int sim_socket_like(struct sim *s, const struct io_sock *is, bool used)
{
	enum kind kind = is->type == SOCK_DGRAM ? KIND_DATAGRAM : KIND_SOCKET;
	int i = sim_object_new(s, kind, is->family);

	s->objects[i].is = *is;
	s->objects[i].used = used;
	return FD_BASE + i;
}

int sim_client_connect(struct sim *s, int listener)
{
	struct object *l = sim_object_of(s, listener);
	int i;

	if (l->n_backlog == ARRAY_SIZE(l->backlog))
		return -1;
	i = sim_object_new(s, KIND_SOCKET, l->family);
	s->objects[i].dual = l->dual;
	s->objects[i].open = false; /* until it is accepted */
	sim_make_connection(&s->objects[i]);
	s->objects[i].since_ns = s->now_ns;
	sim_client_from(s, i, INADDR_LOOPBACK, 1);
	l->backlog[l->n_backlog++] = i;
	return i;
}

size_t sim_far_write(struct sim *s, int far, const void *data, size_t len)
{
	struct object *o = &s->objects[far];
	size_t n = s->socket_bytes - o->in->len;

	if (o->in_end || o->in_reset || o->out_reset)
		return 0;
	if (n > len)
		n = len;
	sim_queue_put(o->in, data, n);
	return n;
}

size_t sim_far_read(struct sim *s, int far, void *data, size_t len)
{
	struct object *o = &s->objects[far];
	size_t n = o->out->len < len ? o->out->len : len;

	memcpy(data, o->out->data, n);
	sim_queue_drop(o->out, n);
	return n;
}

void sim_far_shutdown(struct sim *s, int far)
{
	s->objects[far].in_end = true;
}

void sim_far_reset(struct sim *s, int far)
{
	s->objects[far].in_reset = true;
}

void sim_far_urgent(struct sim *s, int far)
{
	struct object *o = &s->objects[far];

	if (!o->in_end)
		o->urgent = (int64_t)o->in->len;
}

bool sim_far_saw_end(struct sim *s, int far)
{
	return s->objects[far].out_end && s->objects[far].out->len == 0;
}

bool sim_far_saw_reset(struct sim *s, int far)
{
	return s->objects[far].out_reset;
}

int sim_server_accept(struct sim *s)
{
	int far = s->last_server;

	s->last_server = -1;
	return far;
}

int sim_far_of(int fd)
{
	return fd - FD_BASE;
}

void sim_fail_accept(struct sim *s, int err)
{
	s->accept_error = err;
}

void sim_far_silent(struct sim *s, int far, uint64_t since_ns)
{
	s->objects[far].silent_ns = since_ns;
}

void sim_far_flood(struct sim *s, int far)
{
	s->objects[far].flood = true;
}

void sim_reject_port(struct sim *s, uint16_t port)
{
	s->rejected_port = port;
}

void sim_silent_port(struct sim *s, uint16_t port)
{
	s->silent_port = port;
}

void sim_client_to(struct sim *s, int far, const union sock_addr *dest)
{
	s->objects[far].local = sim_addr_shown(&s->objects[far], dest);
}

int sim_outside(const struct sim *s, uint16_t port)
{
	for (int i = 0; i < s->used; i++)
		if (s->objects[i].kind != KIND_FREE && s->objects[i].outside &&
		    s->objects[i].peer.in4.sin_port == htons(port))
			return i;
	return -1;
}
