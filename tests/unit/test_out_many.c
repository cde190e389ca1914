/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <string.h>

#include "out_world.h"

/* Ten thousand mappings at once, and more of them than there is room for. The worker has 20,000
 * descriptors, of which the way out may use half, as in a data plane with that limit. */

#define MAPPINGS 10000
#define FDS	 20000

/* Beside the mappings: the pools, and a responder for each family. */
#define OTHERS 64

static void many_open(struct out_world *o)
{
	struct worker_config config = out_world_begin(o, 1, 0, true);

	config.fds_max = FDS - (MAPPINGS + OTHERS);
	config.out.fds_max = MAPPINGS + OTHERS;
	config.out.maps_max = MAPPINGS + MAPPINGS / 4;
	config.out.peers_max = 16384;
	o->ports.max = MAPPINGS + MAPPINGS / 4;
	out_world_start(o, &config);
	feed_router(o);
}

/* Client n: half of them are of each family. */
static union sock_addr client_of(struct out_world *o, unsigned n)
{
	o->x.family = n % 2 ? AF_INET6 : AF_INET;
	return out_addr(o, INSIDE, (uint16_t)(1024 + n));
}

/* Time passes, in which the rate of evictions allows for more. */
static void wait_a_moment(struct out_world *o)
{
	for (unsigned i = 0; i < 3; i++) {
		turn(&o->x);
		serve_router(o);
	}
}

/* Clients first to first + n - 1 ask. Stores the mapping's socket of each. */
static void ask(struct out_world *o, unsigned first, unsigned n, int *fds)
{
	struct sim_datagram d;
	unsigned seen = 0, client;

	for (unsigned i = first; i < first + n; i++) {
		union sock_addr from = client_of(o, i), dest = out_addr(o, SERVER, 6000);

		assert_true(sim_datagram_in(o->x.sim, out_of_family(o, o->udp), &from, &dest, &i,
					    sizeof(i), 0));
	}
	wait_a_moment(o);
	for (; sim_datagram_out(o->x.sim, &d); seen++) {
		assert_int_equal(d.len, sizeof(client));
		memcpy(&client, d.data, sizeof(client));
		assert_in_range(client, first, first + n - 1);
		client_of(o, client);
		expect_addr(o, &d.to, SERVER, 6000);
		fds[client] = d.fd;
	}
	assert_int_equal(seen, n);
}

/* Answers come to these clients' mappings. */
static void answer(struct out_world *o, unsigned first, unsigned n, const int *fds)
{
	struct sim_datagram d;
	unsigned seen = 0, client;

	for (unsigned i = first; i < first + n; i++) {
		union sock_addr local = client_of(o, i), server = out_addr(o, SERVER, 6000);

		assert_true(sim_datagram_in(o->x.sim, fds[i], &server, &local, &i, sizeof(i), 0));
	}
	wait_a_moment(o);
	for (; sim_datagram_out(o->x.sim, &d); seen++) {
		memcpy(&client, d.data, sizeof(client));
		assert_in_range(client, first, first + n - 1);
		client_of(o, client);
		expect_addr(o, &d.to, INSIDE, (uint16_t)(1024 + client));
		expect_addr(o, &d.from, SERVER, 6000);
	}
	assert_int_equal(seen, n);
}

/* As many at a time as there are receive buffers for. */
#define BATCH 10

static void test_ten_thousand(void **state)
{
	static int fds[MAPPINGS], again[MAPPINGS];
	struct out_world o;

	(void)state;
	many_open(&o);
	for (unsigned i = 0; i < MAPPINGS; i += BATCH)
		ask(&o, i, BATCH, fds);
	assert_int_equal(o.x.stats.out_udp_flows, MAPPINGS);
	for (unsigned i = 0; i < MAPPINGS; i += BATCH)
		answer(&o, i, BATCH, fds);
	for (unsigned i = 0; i < MAPPINGS; i += BATCH)
		ask(&o, i, BATCH, again);
	assert_memory_equal(fds, again, sizeof(fds));
	assert_int_equal(o.x.stats.out_udp_flows, MAPPINGS);
	assert_int_equal(o.x.stats.out_udp_evicted, 0);
	assert_int_equal(o.x.stats.out_udp_dropped, 0);
	assert_int_equal(o.x.stats.out_udp_datagrams_down, MAPPINGS);
	assert_true(sim_open_fds(o.x.sim) <= FDS);
	out_world_close(&o);
}

/* Beyond the limit the least recently used mapping ends for each new one, and is counted. */
static void test_more_than_the_limit(void **state)
{
	static int fds[2 * MAPPINGS], again[2 * MAPPINGS];
	struct out_world o;
	unsigned n = BATCH;

	(void)state;
	many_open(&o);
	for (unsigned i = 0; i < BATCH; i++)
		ask(&o, i, 1, fds);
	answer(&o, 0, 1, fds);
	answer(&o, 1, 1, fds);
	for (unsigned k; o.x.stats.out_udp_evicted == 0; n += k) {
		k = n < MAPPINGS ? BATCH : 1;
		assert_true(n < MAPPINGS + OTHERS);
		ask(&o, n, k, fds);
	}
	assert_in_range(n, MAPPINGS, MAPPINGS + OTHERS);
	assert_int_equal(o.x.stats.out_udp_evicted, 1);
	/* The third one has ended: the first two had answers later. Those up to the tenth are used
	 * now, so that others are older. */
	ask(&o, 3, 7, again);
	for (unsigned i = 0; i < 100; i += BATCH)
		ask(&o, n + i, BATCH, fds);
	ask(&o, n + 100, 2, fds);
	assert_int_equal(o.x.stats.out_udp_evicted, 103);
	assert_int_equal(o.x.stats.out_udp_flows, n - 1);
	assert_memory_equal(again + 3, fds + 3, 7 * sizeof(fds[0]));
	answer(&o, 3, 7, fds);
	for (unsigned i = 0; i < 100; i += BATCH)
		answer(&o, n + i, BATCH, fds);
	/* The first two have ended by now, and the 100 after the tenth. */
	answer(&o, 110, BATCH, fds);
	ask(&o, 109, 1, again);
	assert_int_equal(o.x.stats.out_udp_evicted, 104);
	assert_int_equal(o.x.stats.out_udp_dropped, 0);
	out_world_close(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ten_thousand),
		cmocka_unit_test(test_more_than_the_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
