/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/out_udp.h"

#include <arpa/nameser.h>
#include <assert.h>
#include <errno.h>
#include <netinet/udp.h>
#include <string.h>
#include <utlist.h>

#include "dataplane/worker/out_hash.h"
#include "dataplane/worker/worker_internal.h"

/*
 * Datagrams on their way out (RFC 4787).
 *
 * An address and port inside has one outside socket, its mapping, whatever it writes to
 * (endpoint-independent, REQ-1). The mapping accepts answers from the addresses that it has written
 * to (REQ-8). An answer arrives inside from the address that was written to: a transparent socket
 * is bound to that address, one for all who wrote there (out_responder.c). All datagrams from
 * inside come to one socket of a worker. The kernel chooses the worker by the sender alone, so that
 * a mapping has one worker.
 *
 * Datagrams come in receive buffers, alone or as a run that the kernel put together. They leave as
 * they came, or joined with others (out_udp_send.c), before the turn ends. When there is no room
 * for a new mapping, an old one ends: one whose question was answered, or else the least recently
 * used.
 */

#define SECOND_NS 1000000000ull

static const uint64_t patience_ns[] = {
	[OUT_AGE_LONG] = 120 * SECOND_NS,
	[OUT_AGE_DNS] = 10 * SECOND_NS,
	[OUT_AGE_ANSWERED] = 2 * SECOND_NS,
};

/* A question that a resolver has not answered for this long, and that the client repeats, goes to
 * the next resolver. */
#define RESOLVER_NS (1500 * WORKER_NS_PER_MS)

/* How many mappings may end for new ones, at once and per millisecond. Further datagrams of new
 * senders are lost. */
#define EVICTIONS_BURST	 64
#define EVICTIONS_PER_MS 8

static struct out_udp *table(struct worker *w)
{
	return &w->out.udp;
}

static uint32_t index_of(const struct worker *w, const struct out_map *m)
{
	return (uint32_t)(m - w->out.udp.maps);
}

uint64_t out_map_handle(const struct worker *w, const struct out_map *m)
{
	return handle_pack(HANDLE_OUT_MAP, 0, m->gen, index_of(w, m));
}

/* Mappings */

void out_map_arm(struct worker *w, struct out_map *m)
{
	if (handover_holds(w))
		return; /* out_go arms it */
	m->armed = true;
	w->io->ops->recvmsg(w->io, m->fd, out_map_handle(w, m));
}

static struct out_map **map_bucket(struct worker *w, const union sock_addr *inside)
{
	return &table(w)->map_hash[out_hash_addr(w->out.tcp.hash_seed, inside) &
				   table(w)->hash_mask];
}

struct out_map *out_map_find(struct worker *w, const union sock_addr *inside, enum egress_kind kind)
{
	struct out_map *m = *map_bucket(w, inside);

	while (m && !(m->kind == kind && sockaddr_same(&m->inside, inside)))
		m = m->hash_next;
	return m;
}

/* Notes that the mapping was used now, and for how long it may stay idle. */
static void map_touch(struct worker *w, struct out_map *m, enum out_age age)
{
	if (m->last_ns == w->now_ns && m->age == age)
		return;
	DL_DELETE(table(w)->ages[m->age], m);
	m->age = age;
	m->last_ns = w->now_ns;
	DL_APPEND(table(w)->ages[m->age], m);
}

static void map_port_put(struct worker *w)
{
	__atomic_sub_fetch(&w->config.out.ports->udp, 1, __ATOMIC_RELAXED);
}

/* The states that may follow each state. */
static const uint8_t state_after[] = {
	[OUT_MAP_FREE] = 1 << OUT_MAP_OPEN,
	[OUT_MAP_OPEN] = 1 << OUT_MAP_CLOSING,
	[OUT_MAP_CLOSING] = 0,
};

void out_map_set_state(struct out_map *m, enum out_map_state state)
{
	assert(state_after[m->state] & 1 << state);
	m->state = state;
}

static void map_release(struct worker *w, struct out_map *m)
{
	uint32_t gen = m->gen + 1;

	assert(m->state == OUT_MAP_CLOSING && !m->armed && !m->peers);
	w->io->ops->close_fd(w->io, m->fd);
	w->out.fds--;
	memset(m, 0, sizeof(*m));
	m->gen = gen;
	m->next = table(w)->maps_free;
	table(w)->maps_free = m;
}

static void map_close(struct worker *w, struct out_map *m)
{
	struct out_map **at = map_bucket(w, &m->inside);

	if (table(w)->batch.fd == m->fd)
		out_udp_flush(w);
	while (*at != m)
		at = &(*at)->hash_next;
	*at = m->hash_next;
	out_peer_forget(w, m);
	if (m->paused)
		DL_DELETE2(table(w)->paused, m, pause_prev, pause_next);
	m->paused = false;
	DL_DELETE(table(w)->ages[m->age], m);
	out_map_set_state(m, OUT_MAP_CLOSING);
	table(w)->maps_count--;
	table(w)->last.map = NULL;
	stats_sub(&w->stats->out_udp_flows, 1);
	/* The socket is closed soon, so a new mapping need not wait for its port. */
	map_port_put(w);
	if (m->armed)
		w->io->ops->cancel(w->io, m->fd, out_map_handle(w, m));
	else
		map_release(w, m);
}

/* The least recently used mapping; NULL: there is none. */
static struct out_map *map_oldest(struct worker *w)
{
	struct out_map *oldest = NULL;

	for (unsigned i = 0; i < OUT_AGES; i++) {
		struct out_map *m = table(w)->ages[i];

		if (m && (!oldest || m->last_ns < oldest->last_ns))
			oldest = m;
	}
	return oldest;
}

static bool map_port_get(struct worker *w)
{
	struct out_ports *ports = w->config.out.ports;

	if (__atomic_add_fetch(&ports->udp, 1, __ATOMIC_RELAXED) <= ports->max)
		return true;
	map_port_put(w);
	return false;
}

/* The last eighth of the slots is for mappings that are closing, so that a new one need not wait
 * for them. */
static unsigned live_max(const struct worker *w)
{
	return w->config.out.maps_max - w->config.out.maps_max / 8;
}

/* Ends a mapping whose question has its answer, before all others and without a limit: nobody waits
 * for anything more, and resolvers use a new port for each question, thousands a second. */
static bool map_evict(struct worker *w)
{
	struct out_map *m = table(w)->ages[OUT_AGE_ANSWERED];

	if (!m) {
		m = map_oldest(w);
		if (!m || !out_rate_take(&table(w)->evictions, w->now_ns))
			return false;
	}
	stats_add(&w->stats->out_udp_evicted, 1);
	map_close(w, m);
	return true;
}

struct out_map *out_map_slot(struct worker *w)
{
	struct out_udp *t = table(w);
	struct out_map *m = t->maps_free;

	if (m)
		t->maps_free = m->next;
	else if (t->maps_used < w->config.out.maps_max)
		m = &t->maps[t->maps_used++];
	return m;
}

/* Opens the mapping's socket. 0, or -errno and m->fd is -1. */
static int map_socket(struct worker *w, struct out_map *m, enum egress_kind kind, int family)
{
	const struct dp_outward *policy = &w->out.policy;
	const union sock_addr *from = family == AF_INET6 ? &policy->outbound6 : &policy->outbound4;
	int code = w->io->ops->socket_open(w->io, family, SOCK_DGRAM, IPPROTO_UDP);

	m->kind = kind;
	m->fd = code < 0 ? -1 : code;
	if (code < 0 || kind != EGRESS_WORLD || from->sa.sa_family == 0)
		return code < 0 ? code : 0;
	code = w->io->ops->bind_from(w->io, m->fd, &from->sa, sockaddr_len(&from->sa));
	if (code) {
		w->io->ops->close_fd(w->io, m->fd);
		m->fd = -1;
	}
	return code;
}

void out_map_begin(struct worker *w, struct out_map *m, const union sock_addr *inside,
		   enum out_age age, uint64_t last_ns)
{
	struct out_map **bucket = map_bucket(w, inside);

	out_map_set_state(m, OUT_MAP_OPEN);
	m->inside = *inside;
	m->age = age;
	m->last_ns = last_ns;
	m->hash_next = *bucket;
	*bucket = m;
	DL_APPEND(table(w)->ages[m->age], m);
	table(w)->maps_count++;
	w->out.fds++;
	stats_add(&w->stats->out_udp_flows, 1);
}

/* *code: -errno when the socket could not be opened. */
static struct out_map *map_new(struct worker *w, const union sock_addr *inside,
			       enum egress_kind kind, int family, int *code)
{
	struct out_map *m;
	bool full = table(w)->maps_count >= live_max(w) || !out_has_fds(w, 2);

	if (full && !map_evict(w))
		return NULL;
	if (!map_port_get(w) && !(map_evict(w) && map_port_get(w)))
		return NULL;
	m = out_map_slot(w);
	*code = m ? map_socket(w, m, kind, family) : -EAGAIN;
	if (m && *code < 0)
		LL_PREPEND(table(w)->maps_free, m);
	if (*code < 0) {
		map_port_put(w);
		return NULL;
	}
	out_map_begin(w, m, inside, OUT_AGE_DNS, w->now_ns);
	out_map_arm(w, m);
	return m;
}

/* From inside */

static void drop(struct worker *w, const struct io_datagram *d)
{
	stats_add(&w->stats->out_udp_dropped, 1);
	w->io->ops->buf_put(w->io, d->buf_id);
}

static bool read_name(const struct io_datagram *d, union sock_addr *out)
{
	memset(out, 0, sizeof(*out));
	if (d->truncated || d->name_len < sizeof(out->in4) || d->name_len > sizeof(*out))
		return false;
	memcpy(out, d->name, d->name_len);
	return (out->sa.sa_family == AF_INET || out->sa.sa_family == AF_INET6) &&
	       out->in4.sin_port != 0;
}

/* Reads the control messages: the length of a run's datagrams, and the original destination. */
static size_t read_control(const struct io_datagram *d, union sock_addr *dest)
{
	struct msghdr msg = {.msg_control = d->control, .msg_controllen = d->control_len};
	int segment = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO)
			memcpy(&segment, CMSG_DATA(c), sizeof(segment));
		else if (dest && c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_ORIGDSTADDR)
			memcpy(&dest->in4, CMSG_DATA(c), sizeof(dest->in4));
		else if (dest && c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_ORIGDSTADDR)
			memcpy(&dest->in6, CMSG_DATA(c), sizeof(dest->in6));
	}
	return segment > 0 && (size_t)segment < d->len ? (size_t)segment : 0;
}

static void refuse(struct worker *w, const union sock_addr *client, const union sock_addr *dest,
		   enum egress egress, size_t len)
{
	out_log_refused(w, "datagram", client, dest);
	stats_add(&w->stats->out_udp_prohibited, 1);
	out_icmp_error(w, client, dest, egress == EGRESS_REFUSED ? ECONNREFUSED : EACCES, 0, len);
}

/* The mapping for a client's questions; NULL: a new one is needed. */
static struct out_map *map_for_dns(struct worker *w, const union sock_addr *client)
{
	struct out_map *m = out_map_find(w, client, EGRESS_DNS);

	if (!m || w->out.policy.n_resolvers < 2 || !m->unanswered ||
	    w->now_ns - m->asked_ns < RESOLVER_NS)
		return m;
	out_udp_next_resolver(w, m);
	map_close(w, m);
	return NULL;
}

/* The mapping that a datagram leaves by, with its destination in *to; NULL: it does not leave. */
static struct out_map *route_up(struct worker *w, const union sock_addr *client,
				const union sock_addr *dest, union sock_addr *to, size_t len)
{
	struct out_last *last = &table(w)->last;
	enum egress_kind kind;
	enum egress egress = egress_decide(&w->out.policy, dest, table(w)->resolver, to, &kind);
	struct out_map *m;
	int code = -EAGAIN; /* no room */

	if (egress != EGRESS_ALLOWED) {
		refuse(w, client, dest, egress, len);
		return NULL;
	}
	m = kind == EGRESS_DNS ? map_for_dns(w, client) : out_map_find(w, client, kind);
	if (kind == EGRESS_DNS) /* the resolver may have changed, or may not be the first one */
		egress_decide(&w->out.policy, dest, m ? m->resolver : table(w)->resolver, to,
			      &kind);
	if (!m) {
		m = map_new(w, client, kind, to->sa.sa_family, &code);
		if (!m) {
			out_icmp_error(w, client, dest, -code, 0, len);
			return NULL;
		}
		m->resolver = table(w)->resolver;
	}
	out_peer_allow(w, m, to);
	*last = (struct out_last){.map = m, .client = *client, .dest = *dest, .to = *to};
	return m;
}

/* The same, but tries the last datagram's route first, which mostly fits. Questions take no short
 * cut. */
static struct out_map *route_of(struct worker *w, const union sock_addr *client,
				const union sock_addr *dest, union sock_addr *to, size_t len)
{
	struct out_last *last = &table(w)->last;

	if (last->map && last->map->kind != EGRESS_DNS && last->map->last_ns == w->now_ns &&
	    sockaddr_same(&last->client, client) && sockaddr_same(&last->dest, dest)) {
		*to = last->to;
		return last->map;
	}
	return route_up(w, client, dest, to, len);
}

static void count_question(struct worker *w, struct out_map *m, unsigned datagrams)
{
	if (m->unanswered == 0)
		m->asked_ns = w->now_ns;
	m->unanswered += datagrams;
	if (m->kind == EGRESS_DNS)
		stats_add(&w->stats->out_dns_queries, datagrams);
}

static void from_inside(struct worker *w, const struct io_datagram *d)
{
	union sock_addr client, dest = {.in6 = {0}}, to;
	size_t segment = read_control(d, &dest);
	struct udp_payload payload = udp_payload_of(d, segment);
	struct out_map *m = NULL;
	struct out_route route;
	bool dns;

	if (read_name(d, &client) && dest.in4.sin_port != 0)
		m = route_of(w, &client, &dest, &to, segment ? segment : d->len);
	if (!m) {
		drop(w, d);
		return;
	}
	dns = dest.in4.sin_port == htons(NAMESERVER_PORT) && m->age != OUT_AGE_LONG;
	map_touch(w, m, dns ? OUT_AGE_DNS : OUT_AGE_LONG);
	count_question(w, m, udp_datagrams(&payload));
	route = (struct out_route){
		.fd = m->fd, .up = true, .map = index_of(w, m), .name = &to, .seen = &dest};
	out_udp_send(w, &route, &payload);
}

static void arm_listener(struct worker *w, unsigned ipv6)
{
	if (handover_holds(w)) {
		table(w)->listener_paused[ipv6] = true;
		return;
	}
	w->io->ops->recvmsg(w->io, w->config.out.udp_fd[ipv6],
			    handle_pack(HANDLE_OUT_DATAGRAMS, 0, 0, ipv6));
}

void out_udp_listen_event(struct worker *w, const struct io_event *ev)
{
	unsigned ipv6 = handle_index(ev->handle);

	assert(ipv6 < 2);
	if (ev->has_dgram)
		from_inside(w, &ev->dgram);
	if (ev->more)
		return;
	/* Buffers are returned when the turn is over. Other errors concern one datagram. */
	table(w)->listener_paused[ipv6] = true;
}

/* From outside */

static void count_answer(struct worker *w, struct out_map *m, unsigned datagrams)
{
	m->unanswered -= datagrams < m->unanswered ? datagrams : m->unanswered;
	if (m->age == OUT_AGE_LONG)
		map_touch(w, m, OUT_AGE_LONG);
	else
		map_touch(w, m, m->unanswered ? OUT_AGE_DNS : OUT_AGE_ANSWERED);
}

static void from_outside(struct worker *w, struct out_map *m, const struct io_datagram *d)
{
	struct udp_payload payload = udp_payload_of(d, read_control(d, NULL));
	struct out_responder *r = NULL;
	struct out_route route;
	struct in6_addr host;
	union sock_addr from;

	if (m && m->state == OUT_MAP_OPEN && read_name(d, &from)) {
		host = out_host_of(&from);
		if (out_peer_find(w, m, &host)) {
			out_udp_seen_inside(w, m, &from);
			r = out_responder_of(w, &from);
		}
	}
	if (!r) {
		drop(w, d);
		return;
	}
	count_answer(w, m, udp_datagrams(&payload));
	route = (struct out_route){
		.fd = r->fd, .map = index_of(w, m), .name = &m->inside, .seen = &from};
	out_udp_send(w, &route, &payload);
}

/* The receive operation of an open mapping has ended. */
static void receive_ended(struct worker *w, struct out_map *m, int why)
{
	if (why == -ENOBUFS || why == -ENOMEM) {
		m->paused = true;
		DL_APPEND2(table(w)->paused, m, pause_prev, pause_next);
		return;
	}
	if (why == -EBADF || why == -ENOTSOCK) {
		map_close(w, m);
		return;
	}
	if (why < 0)
		out_udp_errors(w, m);
	if (m->state == OUT_MAP_OPEN)
		out_map_arm(w, m);
}

void out_udp_map_event(struct worker *w, const struct io_event *ev)
{
	uint32_t index = handle_index(ev->handle);
	struct out_map *m;

	assert(index < table(w)->maps_used);
	m = &table(w)->maps[index];
	if (!worker_is_current(w, ev, m->state != OUT_MAP_FREE, m->gen))
		m = NULL;
	if (ev->has_dgram)
		from_outside(w, m, &ev->dgram);
	if (!m || ev->more)
		return;
	m->armed = false;
	if (m->state == OUT_MAP_CLOSING)
		map_release(w, m);
	else if (!handover_holds(w)) /* out_go arms it */
		receive_ended(w, m, ev->res);
}

void out_udp_new_resolvers(struct worker *w)
{
	table(w)->resolver = 0;
	for (unsigned i = 0; i < table(w)->maps_used; i++) {
		struct out_map *m = &table(w)->maps[i];

		if (m->state == OUT_MAP_OPEN && m->kind == EGRESS_DNS)
			map_close(w, m);
	}
}

/* Time */

static void resume(struct worker *w)
{
	struct out_map *m;

	for (unsigned i = 0; i < 2; i++) {
		if (!table(w)->listener_paused[i])
			continue;
		table(w)->listener_paused[i] = false;
		arm_listener(w, i);
	}
	while ((m = table(w)->paused)) {
		DL_DELETE2(table(w)->paused, m, pause_prev, pause_next);
		m->paused = false;
		out_map_arm(w, m);
	}
}

static void expire(struct worker *w)
{
	struct out_udp *t = table(w);

	for (unsigned i = 0; i < OUT_AGES; i++)
		while (t->ages[i] && w->now_ns - t->ages[i]->last_ns >= patience_ns[i]) {
			stats_add(&w->stats->out_udp_expired, 1);
			map_close(w, t->ages[i]);
		}
	out_peer_tick(w);
	out_responder_tick(w);
}

void out_udp_tick(struct worker *w)
{
	out_udp_flush(w);
	expire(w);
	resume(w);
}

uint64_t out_udp_deadline(const struct worker *w)
{
	const struct out_udp *t = &w->out.udp;
	uint64_t at = out_responder_deadline(w);

	for (unsigned i = 0; i < OUT_AGES; i++)
		if (t->ages[i] && t->ages[i]->last_ns + patience_ns[i] < at)
			at = t->ages[i]->last_ns + patience_ns[i];
	return at;
}

/* Opening and closing */

void out_udp_open(struct worker *w)
{
	table(w)->batch.fd = -1;
	table(w)->evictions =
		(struct out_rate){.burst = EVICTIONS_BURST, .per_ms = EVICTIONS_PER_MS};
	for (unsigned i = 0; i < 2; i++)
		if (w->config.out.udp_fd[i] >= 0)
			arm_listener(w, i);
}

void out_udp_close_all(struct worker *w)
{
	struct out_udp *t = table(w);

	for (unsigned i = 0; i < t->maps_used; i++)
		if (t->maps[i].state != OUT_MAP_FREE)
			w->io->ops->close_fd(w->io, t->maps[i].fd);
	out_responder_close_all(w);
	for (unsigned i = 0; i < 2; i++)
		if (w->config.out.udp_fd[i] >= 0)
			w->io->ops->close_fd(w->io, w->config.out.udp_fd[i]);
}
