/* SPDX-License-Identifier: Apache-2.0 */
#include "worker_world.h"

#include "cmocka_all.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/dataplane.h"

int world_family = AF_INET;

void world_use(int family)
{
	world_family = family;
}

int world_run(int family, const struct CMUnitTest *tests, size_t n)
{
	world_use(family);
	return _cmocka_run_group_tests(family == AF_INET6 ? "IPv6" : "IPv4", tests, n, NULL, NULL);
}

void draw_families(struct world *x)
{
	x->family = sim_random(x->sim, 2) ? AF_INET : AF_INET6;
	x->target_family = sim_random(x->sim, 2) ? AF_INET : AF_INET6;
}

void world_open_with(struct world *x, uint64_t seed, unsigned fault_percent, unsigned fds_max)
{
	struct worker_config config = {.tcp_flows_max = 16,
				       .udp_flows_max = 16,
				       .listeners_max = 8,
				       .pipes_max = 3,
				       .fds_max = fds_max,
				       .udp_timeout_ms = 90000,
				       .looks = true,
				       .netns_cookie = SIM_NETNS};

	world_begin(x, seed, fault_percent);
	world_start(x, &config);
}

void world_begin(struct world *x, uint64_t seed, unsigned fault_percent)
{
	memset(x, 0, sizeof(*x));
	x->family = x->target_family = world_family;
	x->sim = sim_open(seed, fault_percent);
	x->io = sim_io(x->sim);
}

void world_start(struct world *x, const struct worker_config *usual)
{
	struct worker_config config = *usual;

	udp_ports_init(&x->udp_ports, 1000, 1);
	config.udp_ports = &x->udp_ports;
	config.stats = &x->stats;
	config.port_stats = x->ports;
	config.port_slots = 8;
	assert_int_equal(worker_open(&config, x->io, &x->w), 0);
	x->control = sim_channel(x->sim);
	x->broker = sim_channel(x->sim);
	worker_set_channels(x->w, x->control, x->broker);
}

void world_open(struct world *x, uint64_t seed, unsigned fault_percent)
{
	world_open_with(x, seed, fault_percent, 1000);
}

void world_close(struct world *x)
{
	sim_stop(x->sim);
	worker_close(x->w);
	assert_int_equal(sim_open_fds(x->sim), 0);
	sim_close(x->sim);
}

/* One turn, in which the clock may go as far as end_ns. */
static void turn_until(struct world *x, uint64_t end_ns)
{
	int code;

	sim_let_pass(x->sim, end_ns - sim_now(x->sim));
	code = worker_turn(x->w);
	assert_true(code == 0 || code == -ETIME);
}

void turn(struct world *x)
{
	turn_until(x, sim_now(x->sim) + MS_NS);
}

static void answer_request(struct world *x, const struct broker_request *req)
{
	bool udp = req->proto == IPPROTO_UDP;
	struct broker_reply reply = {
		.family = req->family, .proto = req->proto, .count = req->count};
	struct io_sock is = {.family = req->family,
			     .type = udp ? SOCK_DGRAM : SOCK_STREAM,
			     .protocol = req->proto,
			     .netns_cookie = SIM_NETNS};
	int fds[FDPASS_MAX];

	assert_true(req->count >= 1 && req->count <= FDPASS_MAX);
	for (unsigned i = 0; i < req->count; i++)
		fds[i] = sim_socket_like(x->sim, &is, false);
	sim_channel_put(x->sim, x->broker, &reply, sizeof(reply), fds, req->count);
}

void feed_pools(struct world *x)
{
	unsigned kept = 0, n;

	if (!sim_channel_open(x->sim, x->broker))
		return;
	while (sim_channel_get(x->sim, x->broker, &x->requests[x->n_requests],
			       sizeof(x->requests[0])))
		assert_true(++x->n_requests < WORLD_REQUESTS);
	n = x->n_requests;
	for (unsigned i = 0; i < n; i++) {
		bool udp = x->requests[i].proto == IPPROTO_UDP;

		if (x->no_sockets || (udp && x->no_datagram_sockets))
			x->requests[kept++] = x->requests[i];
		else
			answer_request(x, &x->requests[i]);
	}
	x->n_requests = kept;
}

void settle(struct world *x)
{
	for (int i = 0; i < 60; i++) {
		turn(x);
		feed_pools(x);
	}
}

void pass(struct world *x, uint64_t ns)
{
	uint64_t end_ns = sim_now(x->sim) + ns;

	for (unsigned i = 0; sim_now(x->sim) < end_ns; i++) {
		assert_true(i < 100000); /* the worker does not spin */
		turn_until(x, end_ns);
		feed_pools(x);
	}
	settle(x);
}

void tell_worker(struct world *x, int control, const struct dp_msg *msg, int fd)
{
	struct dp_msg m = *msg;

	m.brings_fd = fd >= 0;
	sim_channel_add(x->sim, control, &m, sizeof(m), DP_MSGS_MAX, &fd, fd >= 0);
}

void ask_add(struct world *x, const struct dp_msg *msg, int fd)
{
	struct dp_msg m = *msg;

	m.type = DP_MSG_ADD;
	m.seq = ++x->seq;
	tell_worker(x, x->control, &m, fd);
}

void ask_remove(struct world *x, int port_id)
{
	struct dp_msg m = {.type = DP_MSG_REMOVE, .seq = ++x->seq, .port_id = port_id};

	tell_worker(x, x->control, &m, -1);
}

bool next_answer(struct world *x, struct dp_msg *answer)
{
	return sim_channel_get(x->sim, x->control, answer, sizeof(*answer));
}

void expect_answer(struct world *x, int port_id, uint32_t seq, int err)
{
	struct dp_msg answer;

	for (int i = 0; !next_answer(x, &answer); i++) {
		assert_true(i < 1000);
		turn(x);
	}
	assert_int_equal(answer.type, DP_MSG_DONE);
	assert_int_equal(answer.port_id, port_id);
	assert_int_equal(answer.seq, seq);
	assert_int_equal(answer.err, err);
}

struct dp_msg port_msg(struct world *x, uint32_t proto, uint16_t target2)
{
	struct dp_msg msg = {.port_id = ++x->port_id,
			     .slot = (uint32_t)x->port_id % 8,
			     .slot_used = true,
			     .proto = proto,
			     .transparent = x->w->config.transparent,
			     .listen_family = (uint32_t)x->family};
	uint32_t host = x->target ? x->target : INADDR_LOOPBACK;

	msg.target = sim_addr(x->target_family, host, 80);
	if (target2)
		msg.target2 = sim_addr(x->target_family, host, target2);
	return msg;
}

void add_port(struct world *x, uint32_t proto, uint16_t target2)
{
	struct dp_msg msg = port_msg(x, proto, target2);

	x->listener = sim_listener(x->sim, x->family);
	ask_add(x, &msg, x->listener);
	expect_answer(x, x->port_id, x->seq, 0);
}

void remove_port(struct world *x)
{
	ask_remove(x, x->port_id);
}

unsigned pooled(const struct world *x)
{
	unsigned n = 2;

	for (unsigned i = 0; i < POOLS; i++)
		n += x->w->supply.pools[i].n;
	return n + 2 * x->w->pipes.n_free;
}

/* Which seeds to run: usual many, from 1 on, unless the environment says otherwise. */
static uint64_t seeds(uint64_t usual, uint64_t *first)
{
	const char *one = getenv("WORKER_SEED"), *runs = getenv("WORKER_RUNS");

	*first = one ? strtoull(one, NULL, 10) : 1;
	return runs ? strtoull(runs, NULL, 10) : one ? 1 : usual;
}

void world_for_each_seed(void (*run)(uint64_t seed))
{
	uint64_t first, n = seeds(60, &first);

	for (uint64_t seed = first; seed < first + n; seed++) {
		fprintf(stderr, "WORKER_SEED=%llu\r", (unsigned long long)seed);
		run(seed);
	}
}

void world_for_seeds(void (*run)(uint64_t seed, bool option, unsigned faults), bool option)
{
	uint64_t first, n = seeds(30, &first);
	int family = world_family;

	for (uint64_t seed = first; seed < first + n; seed++) {
		world_use((seed / 2) % 2 ? AF_INET6 : AF_INET);
		printf("seed %llu\n", (unsigned long long)seed);
		run(seed, option, (unsigned)(seed % 3) * 25);
	}
	world_use(family);
}
