/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <netinet/udp.h>
#include <string.h>
#include <utlist.h>

#include "dataplane/worker_internal.h"

/*
 * UDP flows.
 *
 * A flow is known by the client's address, the listener, and the address of ours the client wrote
 * to; answers go out from that address (ip(7), IP_PKTINFO; ipv6(7), IPV6_PKTINFO), for a client
 * takes answers from no other. In the namespace it has a connected socket of its own.
 *
 * Datagrams arrive in receive buffers, alone or as a run that the kernel put together (UDP_GRO).
 * Consecutive ones of a flow that are equally long leave as one message (UDP_SEGMENT, udp(7));
 * the payload is never copied here. All of a turn's datagrams have left when the turn ends, so a
 * buffer is held for one turn at most, but for the first few of a flow that has no socket yet.
 *
 * Flows end after the time-out without traffic. When the table is full the oldest goes, one of
 * the same listener if that has most of them: forged source addresses cost the others nothing.
 */

/* Flows are looked at this many times within their time-out. */
#define CHECKS_PER_TIMEOUT 8

union udp_name {
	struct sockaddr sa;
	struct sockaddr_in in4;
	struct sockaddr_in6 in6;
};

static uint64_t handle_of(const struct worker *w, const struct udp_flow *f)
{
	return handle_pack(HANDLE_UDP_FLOW, 1, f->gen, (uint32_t)(f - w->udp));
}

/* Keys */

static void map_ipv4(struct in6_addr *out, const struct in_addr *in)
{
	out->s6_addr32[0] = out->s6_addr32[1] = 0;
	out->s6_addr32[2] = htonl(0xffff);
	out->s6_addr32[3] = in->s_addr;
}

static bool key_client(struct udp_key *key, const struct io_datagram *d)
{
	union udp_name name;

	if (d->name_len > sizeof(name) || d->name_len < sizeof(name.in4))
		return false;
	memcpy(&name, d->name, d->name_len);
	if (name.sa.sa_family == AF_INET) {
		map_ipv4(&key->client, &name.in4.sin_addr);
		key->client_port = name.in4.sin_port;
		return true;
	}
	if (name.sa.sa_family != AF_INET6)
		return false;
	key->client = name.in6.sin6_addr;
	key->client_port = name.in6.sin6_port;
	key->client_scope = name.in6.sin6_scope_id;
	return true;
}

static void key_local_ipv4(struct udp_key *key, const struct cmsghdr *c)
{
	struct in_pktinfo info;

	memcpy(&info, CMSG_DATA(c), sizeof(info));
	/* The address we have, where the datagram was sent to a broadcast address. */
	map_ipv4(&key->local, &info.ipi_spec_dst);
}

static void key_local_ipv6(struct udp_key *key, const struct cmsghdr *c)
{
	struct in6_pktinfo info;

	memcpy(&info, CMSG_DATA(c), sizeof(info));
	if (IN6_IS_ADDR_MULTICAST(&info.ipi6_addr))
		return;
	key->local = info.ipi6_addr;
	/* Elsewhere the route decides, as it does for every other packet. */
	if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
		key->local_ifindex = info.ipi6_ifindex;
}

/* Reads the control messages: the local address into key (unless NULL). Returns the length of
 * a run's datagrams, 0 when it is none. */
static size_t read_control(const struct io_datagram *d, struct udp_key *key)
{
	struct msghdr msg = {.msg_control = (void *)(unsigned long)d->control,
			     .msg_controllen = d->control_len};
	int segment = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO)
			memcpy(&segment, CMSG_DATA(c), sizeof(segment));
		else if (key && c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO)
			key_local_ipv4(key, c);
		else if (key && c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
			key_local_ipv6(key, c);
	}
	return segment > 0 && (size_t)segment < d->len ? (size_t)segment : 0;
}

/* Seeded, since clients choose what is in a key. */
static struct udp_flow **bucket_of(struct worker *w, const struct udp_key *key)
{
	uint64_t words[sizeof(*key) / sizeof(uint64_t)], h = w->udp_hash_seed;

	static_assert(sizeof(*key) % sizeof(uint64_t) == 0, "the key has no padding");
	memcpy(words, key, sizeof(words));
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		unsigned __int128 m = (unsigned __int128)(h ^ words[i]) * 0x9e3779b97f4a7c15ull;

		h = (uint64_t)m ^ (uint64_t)(m >> 64) ^ w->udp_hash_seed;
	}
	return &w->udp_hash[h & w->udp_hash_mask];
}

static struct udp_flow *find(struct worker *w, const struct udp_key *key)
{
	struct udp_flow *f = w->batch.flow;

	/* Mostly it is the flow that the last one was for. */
	if (f && memcmp(&f->key, key, sizeof(*key)) == 0)
		return f;
	f = *bucket_of(w, key);
	while (f && memcmp(&f->key, key, sizeof(*key)) != 0)
		f = f->hash_next;
	return f;
}

/* Sending */

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

/* Name and source of an answer, in the family of the listener's socket. */
static void address_to_client(struct msghdr *msg, const struct udp_flow *f, union udp_name *name)
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

/* Sends iov as one message, as datagrams of segment bytes each if that is not 0. 0 or -errno. */
static int send_message(struct worker *w, const struct udp_batch *b, struct iovec *iov, unsigned n,
			size_t segment)
{
	union udp_control control = {.bytes = {0}};
	union udp_name name;
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
		/* The answer to an earlier one; saying it has cleared it. */
		stats_add(&w->stats->udp_refused, 1);
		r = w->io->ops->sendmsg(w->io, fd, &msg, 0);
	}
	return r < 0 ? (int)r : 0;
}

/* One message for each datagram: where segments are too large for the interface, for one. */
static unsigned send_plain(struct worker *w, const struct udp_batch *b)
{
	unsigned lost = 0;

	for (unsigned i = 0; i < b->n; i++) {
		size_t at = 0;

		do {
			size_t left = b->iov[i].iov_len - at;
			size_t len = b->segment && left > b->segment ? b->segment : left;
			struct iovec one = {.iov_base = (uint8_t *)b->iov[i].iov_base + at,
					    .iov_len = len};

			if (send_message(w, b, &one, 1, 0) < 0)
				lost++;
			at += len;
		} while (at < b->iov[i].iov_len);
	}
	return lost;
}

static bool cannot_segment(int err)
{
	return err == -EINVAL || err == -EMSGSIZE || err == -EIO || err == -EOPNOTSUPP;
}

static unsigned send_batch(struct worker *w, struct udp_batch *b)
{
	bool several = b->datagrams > 1;
	int err;

	if (several && b->flow->plain)
		return send_plain(w, b);
	err = send_message(w, b, b->iov, b->n, several ? b->segment : 0);
	if (!err)
		return 0;
	if (!several || !cannot_segment(err))
		return b->datagrams;
	b->flow->plain = true;
	return send_plain(w, b);
}

static void count_batch(struct worker *w, const struct udp_batch *b, unsigned lost)
{
	bool out = b->to_client;

	stats_add(out ? &w->stats->udp_datagrams_out : &w->stats->udp_datagrams_in,
		  b->datagrams - lost);
	stats_add(out ? &w->stats->udp_bytes_out : &w->stats->udp_bytes_in, b->bytes);
	stats_add(&w->stats->udp_dropped, lost);
}

void udp_flush(struct worker *w)
{
	struct udp_batch *b = &w->batch;

	if (!b->flow)
		return;
	count_batch(w, b, send_batch(w, b));
	for (unsigned i = 0; i < b->n; i++)
		w->io->ops->buf_put(w->io, b->buf_ids[i]);
	b->flow = NULL;
}

static bool fits_batch(const struct udp_batch *b, const struct udp_flow *f, bool to_client,
		       size_t len, size_t segment, size_t datagrams)
{
	return b->flow == f && b->to_client == to_client && !b->closed && segment <= b->segment &&
	       (datagrams == 1 || segment == b->segment) && b->bytes + len <= UDP_PAYLOAD_MAX &&
	       b->datagrams + datagrams <= UDP_SEGMENTS_MAX;
}

/* Takes over the datagram's buffer. */
static void send_datagram(struct worker *w, struct udp_flow *f, bool to_client,
			  const struct io_datagram *d, size_t run_segment)
{
	struct udp_batch *b = &w->batch;
	size_t segment = run_segment ? run_segment : d->len;
	size_t datagrams = run_segment ? (d->len + segment - 1) / segment : 1;

	f->last_ns = w->now_ns;
	if (!fits_batch(b, f, to_client, d->len, segment, datagrams)) {
		udp_flush(w);
		b->flow = f;
		b->to_client = to_client;
		b->segment = segment;
		b->n = b->datagrams = 0;
		b->bytes = 0;
	}
	b->iov[b->n] = (struct iovec){.iov_base = d->payload, .iov_len = d->len};
	b->buf_ids[b->n++] = d->buf_id;
	b->bytes += d->len;
	b->datagrams += (unsigned)datagrams;
	/* Only the last may be shorter; an empty one goes alone. */
	b->closed = d->len == 0 || d->len % b->segment != 0;
}

/* Flows */

static struct udp_flow *slot_get(struct worker *w)
{
	struct udp_flow *f = w->udp_free;

	if (f) {
		w->udp_free = f->next;
	} else {
		if (w->udp_used == w->config.udp_flows_max)
			return NULL;
		f = &w->udp[w->udp_used++];
	}
	assert(f->state == UDP_FLOW_FREE);
	return f;
}

static void wait_begin(struct worker *w, struct udp_flow *f)
{
	bool ipv6 = f->listener->target.sa.sa_family == AF_INET6;

	f->state = UDP_FLOW_WAITING;
	DL_APPEND2(w->udp_waiting[ipv6], f, wait_prev, wait_next);
	w->pools[POOL_UDP4 + ipv6].waiting++;
}

static void wait_end(struct worker *w, struct udp_flow *f)
{
	bool ipv6 = f->listener->target.sa.sa_family == AF_INET6;

	DL_DELETE2(w->udp_waiting[ipv6], f, wait_prev, wait_next);
	w->pools[POOL_UDP4 + ipv6].waiting--;
}

static void drop_pending(struct worker *w, struct udp_flow *f)
{
	for (unsigned i = 0; i < f->n_pending; i++)
		w->io->ops->buf_put(w->io, f->pending[i].buf_id);
	stats_add(&w->stats->udp_dropped, f->n_pending);
	w->udp_held -= f->n_pending;
	f->n_pending = 0;
}

static void release(struct worker *w, struct udp_flow *f)
{
	struct listener *l = f->listener;
	uint32_t gen = f->gen + 1;

	assert(f->state == UDP_FLOW_CLOSING && !f->armed && f->n_pending == 0);
	if (f->fd >= 0)
		w->io->ops->close_fd(w->io, f->fd);
	DL_DELETE(l->udp_flows, f);
	memset(f, 0, sizeof(*f));
	f->gen = gen;
	f->next = w->udp_free;
	w->udp_free = f;
	listener_flow_closed(w, l);
}

static void unhash(struct worker *w, struct udp_flow *f)
{
	struct udp_flow **p = bucket_of(w, &f->key);

	while (*p != f)
		p = &(*p)->hash_next;
	*p = f->hash_next;
}

static void flow_close(struct worker *w, struct udp_flow *f)
{
	if (f->state == UDP_FLOW_CLOSING)
		return;
	if (w->batch.flow == f)
		udp_flush(w);
	if (f->state == UDP_FLOW_WAITING)
		wait_end(w, f);
	if (f->paused)
		DL_DELETE2(w->udp_paused, f, wait_prev, wait_next);
	f->paused = false;
	drop_pending(w, f);
	unhash(w, f);
	DL_DELETE2(w->udp_ages, f, age_prev, age_next);
	f->state = UDP_FLOW_CLOSING;
	w->udp_count--;
	stats_sub(&w->stats->udp_flows, 1);
	if (f->armed)
		w->io->ops->cancel(w->io, f->fd, handle_of(w, f));
	else
		release(w, f);
}

static uint64_t timeout_ns(const struct worker *w)
{
	return w->config.udp_timeout_ms * WORKER_NS_PER_MS;
}

static void age_append(struct worker *w, struct udp_flow *f)
{
	f->check_ns = w->now_ns + timeout_ns(w) / CHECKS_PER_TIMEOUT + 1;
	DL_APPEND2(w->udp_ages, f, age_prev, age_next);
}

/* Slots above this are for flows on their way out, so that a new one need not wait for them. */
static unsigned live_max(const struct worker *w)
{
	return w->config.udp_flows_max - w->config.udp_flows_max / 8;
}

static void evict_for(struct worker *w, struct listener *l)
{
	struct udp_flow *victim = w->udp_ages;

	if (w->udp_count < live_max(w))
		return;
	if (l->n_flows > live_max(w) / 2)
		for (victim = l->udp_flows; victim && victim->state == UDP_FLOW_CLOSING;)
			victim = victim->next;
	if (!victim)
		return;
	stats_add(&w->stats->udp_evicted, 1);
	flow_close(w, victim);
}

static void arm(struct worker *w, struct udp_flow *f)
{
	f->armed = true;
	w->io->ops->recvmsg(w->io, f->fd, handle_of(w, f));
}

/* Connects its socket if there is one; otherwise it waits. False: it has been closed. */
static bool start(struct worker *w, struct udp_flow *f)
{
	const struct listener *l = f->listener;
	int err;

	f->fd = worker_take_socket(w, l->target.sa.sa_family, SOCK_DGRAM);
	if (f->fd < 0) {
		wait_begin(w, f);
		return true;
	}
	f->state = UDP_FLOW_OPEN;
	err = w->io->ops->connect_now(w->io, f->fd, &l->target.sa, l->target_len);
	if (err < 0) {
		flow_close(w, f);
		return false;
	}
	arm(w, f);
	return true;
}

static struct udp_flow *flow_new(struct worker *w, struct listener *l, const struct udp_key *key)
{
	struct udp_flow *f, **bucket;

	evict_for(w, l);
	f = slot_get(w);
	if (!f)
		return NULL;
	bucket = bucket_of(w, key);
	f->key = *key;
	f->fd = -1;
	f->listener = l;
	f->last_ns = w->now_ns;
	f->hash_next = *bucket;
	*bucket = f;
	l->n_flows++;
	DL_APPEND(l->udp_flows, f);
	age_append(w, f);
	w->udp_count++;
	stats_add(&w->stats->udp_flows, 1);
	return start(w, f) ? f : NULL;
}

static void drop(struct worker *w, const struct io_datagram *d)
{
	stats_add(&w->stats->udp_dropped, 1);
	w->io->ops->buf_put(w->io, d->buf_id);
}

void udp_from_client(struct worker *w, struct listener *l, const struct io_datagram *d)
{
	struct udp_key key = {.listener = listener_index(w, l)};
	size_t segment = read_control(d, &key);
	struct udp_flow *f = NULL;

	if (!d->truncated && key_client(&key, d)) {
		f = find(w, &key);
		if (!f)
			f = flow_new(w, l, &key);
	}
	/* NOLINTNEXTLINE(bugprone-branch-clone): three states, and room in one of them */
	if (!f) {
		drop(w, d);
	} else if (f->state == UDP_FLOW_OPEN) {
		send_datagram(w, f, false, d, segment);
	} else if (f->n_pending < UDP_PENDING_MAX && w->udp_held < w->config.udp_pending_max) {
		f->pending[f->n_pending++] = *d;
		w->udp_held++;
	} else {
		drop(w, d);
	}
}

void udp_sockets_ready(struct worker *w, int family)
{
	struct sockpool *pool = &w->pools[POOL_UDP4 + (family == AF_INET6)];
	struct udp_flow *f = w->udp_waiting[family == AF_INET6], *next;

	for (; f && pool->n > 0; f = next) {
		unsigned n = f->n_pending;

		next = f->wait_next;
		wait_end(w, f);
		if (!start(w, f))
			continue;
		f->n_pending = 0;
		w->udp_held -= n;
		for (unsigned i = 0; i < n; i++)
			send_datagram(w, f, false, &f->pending[i],
				      read_control(&f->pending[i], NULL));
	}
}

/* Receiving has ended on an open flow. */
static void receive_ended(struct worker *w, struct udp_flow *f, int why)
{
	switch (-why) {
	case ENOBUFS:
		f->paused = true;
		DL_APPEND2(w->udp_paused, f, wait_prev, wait_next);
		return;
	case ECONNREFUSED: /* ICMP errors, which UDP clients do not hear of through a proxy */
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EMSGSIZE:
	case EPROTO:
		stats_add(&w->stats->udp_refused, 1);
		arm(w, f);
		return;
	default:
		if (why >= 0)
			arm(w, f);
		else
			flow_close(w, f);
	}
}

void udp_flow_event(struct worker *w, const struct io_event *ev)
{
	uint32_t index = handle_index(ev->handle);
	struct udp_flow *f;

	assert(index < w->udp_used);
	f = &w->udp[index];
	if (f->state == UDP_FLOW_FREE || !handle_is_current(ev->handle, f->gen)) {
		stats_add(&w->stats->stale_completions, 1);
		f = NULL;
	}
	if (ev->has_dgram) {
		if (f && f->state == UDP_FLOW_OPEN && !ev->dgram.truncated)
			send_datagram(w, f, true, &ev->dgram, read_control(&ev->dgram, NULL));
		else
			drop(w, &ev->dgram);
	}
	if (!f || ev->more)
		return;
	f->armed = false;
	if (f->state == UDP_FLOW_CLOSING)
		release(w, f);
	else
		receive_ended(w, f, ev->res);
}

static void resume_paused(struct worker *w)
{
	struct udp_flow *f;

	while ((f = w->udp_paused)) {
		DL_DELETE2(w->udp_paused, f, wait_prev, wait_next);
		f->paused = false;
		arm(w, f);
	}
}

void udp_tick(struct worker *w)
{
	struct udp_flow *f;

	resume_paused(w);
	while ((f = w->udp_ages) && f->check_ns <= w->now_ns) {
		if (w->now_ns - f->last_ns >= timeout_ns(w)) {
			stats_add(&w->stats->udp_expired, 1);
			flow_close(w, f);
			continue;
		}
		DL_DELETE2(w->udp_ages, f, age_prev, age_next);
		age_append(w, f);
		/* The listener's list too has the least recently checked first. */
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a list has a last one */
		DL_DELETE(f->listener->udp_flows, f);
		DL_APPEND(f->listener->udp_flows, f);
	}
}

void udp_close_listener_flows(struct worker *w, struct listener *l)
{
	struct udp_flow *f, *next;

	for (f = l->udp_flows; f; f = next) {
		next = f->next;
		flow_close(w, f);
	}
}

void udp_close_all(struct worker *w)
{
	for (uint32_t i = 0; i < w->udp_used; i++)
		if (w->udp[i].state != UDP_FLOW_FREE && w->udp[i].fd >= 0)
			w->io->ops->close_fd(w->io, w->udp[i].fd);
}
