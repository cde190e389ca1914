/* SPDX-License-Identifier: Apache-2.0 */
#include "out_load.h"

#include "cmocka_all.h"

#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <string.h>

/* Connections */

static void judged(void *ctx, int owner, uint32_t verdict, uint32_t mark)
{
	struct load *l = ctx;
	struct client *c;

	if (owner >= PINGS) {
		assert_int_equal(verdict, NF_DROP);
		return;
	}
	c = &l->clients[owner];
	assert_int_equal(verdict, NF_ACCEPT);
	assert_false(c->let_through || c->refused);
	c->let_through = mark == MARK_ACCEPT;
	c->refused = mark == MARK_REFUSED;
	assert_true(c->let_through || c->refused);
}

static void client_step(struct load *l, int i)
{
	struct client *c = &l->clients[i];
	struct streams *f = &l->flows[i];
	struct sim *s = l->o.x.sim;

	l->o.x.family = c->family;
	if (!c->asked && !l->quiet && sim_random(s, 20) == 0) {
		syn(&l->o, (uint16_t)(c->port + 1000), c->port);
		out_queue_hold(&l->queue, &l->o, i);
		c->asked = true;
	}
	if (c->let_through && f->client < 0 && sim_random(s, 3) == 0)
		f->client = arrive(&l->o, (uint16_t)(c->port + 1000), c->port);
	if (f->server < 0) {
		f->server = out_server_of(&l->o, f->client);
		if (f->server >= 0)
			streams_begin(&l->o.x, f, (unsigned)i);
	}
	if (f->server >= 0)
		traffic(&l->o.x, f, 1, false);
}

bool load_client_is_done(struct load *l, unsigned i)
{
	if (l->clients[i].refused)
		return true;
	return l->flows[i].server >= 0 && all_done(&l->o.x, &l->flows[i], 1);
}

/* Datagrams */

static uint16_t port_of(const struct load *l, const struct talker *t)
{
	return (uint16_t)(5000 + (t - l->talkers));
}

void load_say(struct load *l, struct talker *t)
{
	uint32_t words[2] = {(uint32_t)(t - l->talkers), t->sent};
	union sock_addr client = sim_addr(t->family, INSIDE, port_of(l, t));
	union sock_addr dest = sim_addr(t->family, SERVER, UDP_PORT);
	int fd = l->o.udp[t->family == AF_INET6];

	/* While both workers are at rest, datagrams wait in the kernel. This one refuses them. */
	t->sent += sim_datagram_in(l->o.x.sim, fd, &client, &dest, words, sizeof(words), 0);
}

static struct talker *talker_in(struct load *l, const struct sim_datagram *d, uint32_t words[2])
{
	assert_int_equal(d->len, 2 * sizeof(words[0]));
	memcpy(words, d->data, d->len);
	assert_in_range(words[0], 0, TALKERS - 1);
	return &l->talkers[words[0]];
}

static void at_server(struct load *l, const struct sim_datagram *d)
{
	union sock_addr local;
	uint32_t words[2];
	struct talker *t = talker_in(l, d, words);

	l->o.x.family = t->family;
	expect_addr(&l->o, &d->to, SERVER, UDP_PORT);
	assert_int_equal(words[1], t->arrived);
	t->arrived++;
	/* The outside knows the mapping by its port, which does not change. */
	assert_true(t->fd < 0 || t->fd == d->fd);
	t->fd = d->fd;
	words[1] = t->answered;
	local = sim_addr(t->family, INSIDE, 0);
	if (sim_random(l->o.x.sim, 2))
		t->answered +=
			sim_datagram_in(l->o.x.sim, d->fd, &d->to, &local, words, sizeof(words), 0);
}

static void at_talker(struct load *l, const struct sim_datagram *d)
{
	uint32_t words[2];
	struct talker *t = talker_in(l, d, words);

	l->o.x.family = t->family;
	expect_addr(&l->o, &d->to, INSIDE, port_of(l, t));
	expect_addr(&l->o, &d->from, SERVER, UDP_PORT);
	assert_in_range(words[1], t->heard_next, t->answered - 1);
	t->heard_next = words[1] + 1;
	t->heard++;
}

/* Pings */

struct echo {
	uint8_t type, code;
	uint16_t sum, id, seq;
};

static uint8_t echo_type(int family, bool reply)
{
	if (family == AF_INET6)
		return reply ? ICMP6_ECHO_REPLY : ICMP6_ECHO_REQUEST;
	return reply ? ICMP_ECHOREPLY : ICMP_ECHO;
}

void load_ping(struct load *l, struct pinger *p)
{
	uint16_t id = (uint16_t)(p - l->pingers);
	union sock_addr dest = sim_addr(p->family, SERVER, 0);
	struct echo e = {.type = echo_type(p->family, false), .id = id, .seq = ++p->seq};

	put_ip_packet(&l->o, &dest, p->family == AF_INET6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, &e,
		      sizeof(e));
	out_queue_hold(&l->queue, &l->o, PINGS + id);
	p->asked = true;
	p->replied = false;
}

/* The request is answered. A request that was repeated for another worker is answered once. */
static void at_pinged(struct load *l, const struct sim_datagram *d)
{
	struct pinger *p = &l->pingers[d->to.sa.sa_family == AF_INET6];
	struct echo e;

	memcpy(&e, d->data, sizeof(e));
	if (p->seq != e.seq || !p->asked || p->replied)
		return;
	p->replied = true;
	e.type = echo_type(p->family, true);
	e.id = KERNELS_ID;
	sim_ping_answer(l->o.x.sim, d->fd, &e, sizeof(e));
}

static void at_pinger(struct load *l, const struct sim_datagram *d)
{
	size_t header =
		d->to.sa.sa_family == AF_INET6 ? sizeof(struct ip6_hdr) : sizeof(struct iphdr);
	struct echo e;

	assert_int_equal(d->len, header + sizeof(e));
	memcpy(&e, d->data + header, sizeof(e));
	assert_in_range(e.id, 0, PINGERS - 1);
	assert_int_equal(e.type, echo_type(l->pingers[e.id].family, true));
	assert_int_equal(d->to.sa.sa_family, l->pingers[e.id].family);
	l->pingers[e.id].asked = false;
	l->pongs++;
}

void load_take_datagrams(struct load *l)
{
	struct sim_datagram d;

	while (sim_datagram_out(l->o.x.sim, &d)) {
		if (d.fd == l->o.raw[0] || d.fd == l->o.raw[1])
			at_pinger(l, &d);
		else if (d.to.in4.sin_port == 0)
			at_pinged(l, &d);
		else if (d.to.in4.sin_port == htons(UDP_PORT))
			at_server(l, &d);
		else
			at_talker(l, &d);
	}
}

/* All of them */

void load_step(struct load *l)
{
	struct sim *s = l->o.x.sim;

	for (int i = 0; i < CLIENTS; i++)
		client_step(l, i);
	if (!l->quiet && sim_random(s, 4) == 0)
		load_say(l, &l->talkers[sim_random(s, TALKERS)]);
	for (unsigned i = 0; i < PINGERS; i++)
		if (!l->quiet && !l->pingers[i].asked && sim_random(s, 30) == 0)
			load_ping(l, &l->pingers[i]);
	load_take_datagrams(l);
	out_queue_run(&l->queue, &l->o);
}

void load_serve(struct load *l)
{
	turn(&l->o.x);
	feed_pools(&l->o.x);
	serve_router(&l->o);
	out_queue_run(&l->queue, &l->o);
}

void load_begin_side(struct load *l, struct side *side)
{
	struct out_world *o = &l->o;
	struct out_config config = o->x.w->config.out;

	side->ports = (struct out_ports){.max = 1000};
	config.ports = &side->ports;
	for (unsigned i = 0; i < 2; i++) {
		config.tcp_fd[i] = sim_share(o->x.sim, o->listener[i]);
		config.udp_fd[i] = sim_share(o->x.sim, o->udp[i]);
	}
	config.queue_fd = o->gate < 0 ? -1 : sim_share(o->x.sim, o->gate);
	config.channel_fd = sim_channel(o->x.sim);
	begin_other(&o->x, &side->other, &config);
}

/* Either worker has a turn, or a message arrives. */
static void move_step(struct load *l, struct other *other)
{
	struct world *x = &l->o.x;

	switch (sim_random(x->sim, 3)) {
	case 0:
		load_serve(l);
		break;
	case 1:
		exchange(x, other);
		load_serve(l);
		exchange(x, other);
		break;
	default:
		sim_channel_pass(x->sim, other->from, other->to);
		break;
	}
}

bool load_move(struct load *l, struct side *side, unsigned give_up_after)
{
	struct world *x = &l->o.x;
	bool gave = false, took = false;
	struct dp_msg answer;

	load_begin_side(l, side);
	begin_move(x, &side->other);
	for (unsigned i = 1; !(gave && took); i++) {
		assert_true(i < 100000);
		if (give_up_after && i == give_up_after) {
			give_up(x, &side->other);
			return false;
		}
		load_step(l);
		move_step(l, &side->other);
		gave |= moved(x, x->control, &answer);
		if (moved(x, side->other.control, &answer)) {
			took = true;
			assert_int_equal(answer.lost, 0);
		}
	}
	commit(x, &side->other);
	/* A ping under way is lost. */
	for (unsigned i = 0; i < PINGERS; i++)
		l->pingers[i].asked = false;
	return true;
}

void load_open(struct load *l, uint64_t seed, unsigned faults, bool quiet, bool queue)
{
	memset(l, 0, sizeof(*l));
	out_world_open_with(&l->o, seed, faults, 200, queue);
	l->queue.judged = judged;
	l->queue.ctx = l;
	l->quiet = quiet;
	for (int i = 0; i < CLIENTS; i++) {
		l->clients[i].port = (uint16_t)(2000 + i);
		l->clients[i].family = i % 2 ? AF_INET6 : AF_INET;
		l->flows[i].client = l->flows[i].server = -1;
	}
	for (unsigned i = 0; i < TALKERS; i++) {
		l->talkers[i].family = sim_random(l->o.x.sim, 2) ? AF_INET6 : AF_INET;
		l->talkers[i].fd = -1;
	}
	for (unsigned i = 0; i < PINGERS; i++)
		l->pingers[i].family = i % 2 ? AF_INET6 : AF_INET;
}

void load_run(struct load *l, unsigned steps)
{
	while (steps-- > 0) {
		load_step(l);
		load_serve(l);
	}
}

void load_check_counters(struct load *l)
{
	const struct stats *s = l->o.x.w->stats;
	uint64_t up = 0, down = 0, sent = 0, answered = 0, heard = 0;

	for (unsigned i = 0; i < CLIENTS; i++) {
		up += l->flows[i].up.read;
		down += l->flows[i].down.read;
	}
	for (unsigned i = 0; i < TALKERS; i++) {
		assert_int_equal(l->talkers[i].arrived, l->talkers[i].sent);
		sent += l->talkers[i].sent;
		answered += l->talkers[i].answered;
		heard += l->talkers[i].heard;
	}
	assert_int_equal(s->out_tcp_bytes_up, up);
	assert_int_equal(s->out_tcp_bytes_down, down);
	assert_int_equal(s->out_tcp_connected, CLIENTS - 1);
	assert_int_equal(s->out_tcp_closed, CLIENTS - 1);
	assert_int_equal(s->out_tcp_refused, 1);
	assert_in_range(s->out_tcp_syns, CLIENTS, CLIENTS + l->queue.repeated * 2);
	assert_int_equal(s->out_udp_datagrams_up, sent);
	assert_int_equal(s->out_udp_datagrams_down, heard);
	assert_int_equal(s->out_udp_dropped, answered - heard);
	assert_int_equal(s->out_udp_flows, TALKERS);
	assert_int_equal(l->o.x.w->config.out.ports->udp, TALKERS);
	assert_int_equal(s->out_pings_answered, l->pongs);
}
