/* SPDX-License-Identifier: Apache-2.0 */
#include "handover_world.h"

#include "cmocka_all.h"

#include <string.h>

void exchange(struct world *x, struct other *o)
{
	struct worker *w = x->w;
	int control = x->control, broker = x->broker, router = x->router;
	struct broker_request requests[WORLD_REQUESTS];
	unsigned n_requests = x->n_requests;

	sim_other_worker(x->sim);
	x->w = o->w;
	x->control = o->control;
	x->broker = o->broker;
	x->router = o->router;
	o->w = w;
	o->control = control;
	o->broker = broker;
	o->router = router;
	memcpy(requests, x->requests, sizeof(requests));
	memcpy(x->requests, o->requests, sizeof(requests));
	memcpy(o->requests, requests, sizeof(requests));
	x->n_requests = o->n_requests;
	o->n_requests = n_requests;
}

void begin_other(struct world *x, struct other *o, const struct out_config *out)
{
	struct worker_config config = x->w->config;

	if (out)
		config.out = *out;
	memset(o, 0, sizeof(*o));
	o->router = out ? out->channel_fd : -1;
	udp_ports_init(&o->udp_ports, 1000, 1);
	config.udp_ports = &o->udp_ports;
	config.stats = &o->stats;
	config.port_stats = o->ports;
	config.hold = true;
	sim_other_worker(x->sim);
	assert_int_equal(worker_open(&config, x->io, &o->w), 0);
	o->control = sim_channel(x->sim);
	o->broker = sim_channel(x->sim);
	worker_set_channels(o->w, o->control, o->broker);
	sim_other_worker(x->sim);
}

void offer(struct world *x, struct other *o, struct dp_msg msg, int listener)
{
	exchange(x, o);
	ask_add(x, &msg, sim_share(x->sim, listener));
	expect_answer(x, msg.port_id, x->seq, 0);
	exchange(x, o);
}

void tell(struct world *x, int control, uint32_t type, int fd)
{
	struct dp_msg m = {.type = type, .seq = ++x->seq};

	tell_worker(x, control, &m, fd);
}

void kill(struct world *x)
{
	x->n_requests = 0;
	sim_stop(x->sim);
	worker_close(x->w);
	x->w = NULL;
}

void open_world(struct world *x, uint64_t seed, uint32_t proto, struct dp_msg *msg)
{
	world_open(x, seed, (unsigned)(seed % 30));
	draw_families(x);
	if (seed % 2)
		sim_large_sockets(x->sim);
	*msg = port_msg(x, proto, 0);
	x->listener = sim_listener(x->sim, x->family);
	ask_add(x, msg, x->listener);
	expect_answer(x, x->port_id, x->seq, 0);
}

void begin_move(struct world *x, struct other *o)
{
	o->from = sim_channel(x->sim);
	o->to = sim_channel(x->sim);
	tell(x, x->control, DP_MSG_HAND_OVER, o->from);
	tell(x, o->control, DP_MSG_TAKE_OVER, o->to);
}

bool moved(struct world *x, int control, struct dp_msg *answer)
{
	if (!sim_channel_get(x->sim, control, answer, sizeof(*answer)))
		return false;
	assert_int_equal(answer->type, DP_MSG_DONE);
	assert_int_equal(answer->port_id, 0);
	assert_int_equal(answer->err, 0);
	return true;
}

void step(struct world *x, struct other *o)
{
	switch (sim_random(x->sim, 3)) {
	case 0:
		turn(x);
		feed_pools(x);
		break;
	case 1:
		exchange(x, o);
		turn(x);
		feed_pools(x);
		exchange(x, o);
		break;
	default:
		sim_channel_pass(x->sim, o->from, o->to);
		break;
	}
}

void commit(struct world *x, struct other *o)
{
	exchange(x, o);
	tell(x, x->control, DP_MSG_GO, -1);
	/* The old one may live for a moment. */
	if (sim_random(x->sim, 2))
		turn(x);
	exchange(x, o);
	kill(x);
	exchange(x, o);
}

void give_up(struct world *x, struct other *o)
{
	exchange(x, o);
	kill(x);
	exchange(x, o);
	tell(x, x->control, DP_MSG_GO, -1);
	turn(x);
}

/* Streams */

static uint8_t byte_at(size_t at, unsigned flow, bool up)
{
	return (uint8_t)((at * 31 + at / 251) ^ (flow * 7) ^ (up ? 0x55 : 0));
}

static void write_some(struct world *x, struct stream *s, unsigned flow, bool up)
{
	uint8_t data[3000];
	size_t n = 1 + sim_random(x->sim, sizeof(data));

	if (s->ended)
		return;
	if (s->written >= s->most) {
		sim_far_shutdown(x->sim, s->from);
		s->ended = true;
		return;
	}
	for (size_t i = 0; i < n; i++)
		data[i] = byte_at(s->written + i, flow, up);
	s->written += sim_far_write(x->sim, s->from, data, n);
}

static void read_some(struct world *x, struct stream *s, unsigned flow, bool up)
{
	uint8_t data[3000];
	size_t n = sim_far_read(x->sim, s->to, data, 1 + sim_random(x->sim, sizeof(data)));

	for (size_t i = 0; i < n; i++)
		assert_int_equal(data[i], byte_at(s->read + i, flow, up));
	s->read += n;
}

void traffic(struct world *x, struct streams *flows, unsigned n, bool slow)
{
	for (unsigned i = 0; i < n; i++) {
		struct streams *f = &flows[i];

		if (sim_random(x->sim, 2))
			write_some(x, &f->up, f->number, true);
		if (sim_random(x->sim, 2))
			write_some(x, &f->down, f->number, false);
		if (sim_random(x->sim, slow ? 16 : 2) == 0)
			read_some(x, &f->up, f->number, true);
		if (sim_random(x->sim, slow ? 16 : 2) == 0)
			read_some(x, &f->down, f->number, false);
	}
}

void streams_begin(struct world *x, struct streams *f, unsigned number)
{
	f->number = number;
	f->up = (struct stream){
		.from = f->client, .to = f->server, .most = sim_random(x->sim, STREAM_MOST)};
	f->down = (struct stream){
		.from = f->server, .to = f->client, .most = sim_random(x->sim, STREAM_MOST)};
}

bool all_done(struct world *x, struct streams *flows, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct streams *f = &flows[i];

		if (!f->up.ended || !f->down.ended || f->up.read < f->up.written ||
		    f->down.read < f->down.written || !sim_far_saw_end(x->sim, f->client) ||
		    !sim_far_saw_end(x->sim, f->server))
			return false;
	}
	return true;
}
