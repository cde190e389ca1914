/* SPDX-License-Identifier: Apache-2.0 */
#include "handover_world.h"

#include "cmocka_all.h"

#include <string.h>

void exchange(struct world *x, struct other *o)
{
	struct worker *w = x->w;
	int control = x->control, broker = x->broker;
	struct broker_request requests[WORLD_REQUESTS];
	unsigned n_requests = x->n_requests;

	sim_other_worker(x->sim);
	x->w = o->w;
	x->control = o->control;
	x->broker = o->broker;
	o->w = w;
	o->control = control;
	o->broker = broker;
	memcpy(requests, x->requests, sizeof(requests));
	memcpy(x->requests, o->requests, sizeof(requests));
	memcpy(o->requests, requests, sizeof(requests));
	x->n_requests = o->n_requests;
	o->n_requests = n_requests;
}

void begin_other(struct world *x, struct other *o)
{
	struct worker_config config = x->w->config;

	memset(o, 0, sizeof(*o));
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

	sim_channel_put(x->sim, control, &m, sizeof(m), &fd, fd >= 0);
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
	if (seed % 2)
		sim_large_sockets(x->sim);
	*msg = port_msg(x, proto, 0);
	x->listener = sim_listener(x->sim);
	ask_add(x, msg, x->listener);
	expect_answer(x, x->port_id, x->seq, 0);
}
