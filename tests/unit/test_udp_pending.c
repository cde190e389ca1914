/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <string.h>

#include "dataplane/dataplane.h"
#include "worker_world.h"

/* Datagrams of UDP flows that have no socket yet, since the broker has not answered. */

static void from_client(struct world *x, unsigned client, const void *data, size_t len,
			uint16_t segment)
{
	union sock_addr from = sim_addr(x->family, 0x0a000001, (uint16_t)(2000 + client));
	union sock_addr local = sim_addr(x->family, 0x0a000002, 0);

	assert_true(sim_datagram_in(x->sim, x->listener, &from, &local, data, len, segment));
	turn(x);
}

static void world_without_sockets(struct world *x, uint16_t target2)
{
	world_open(x, 1, 0);
	x->no_sockets = true;
	add_port(x, PORT_UDP, target2);
	turn(x);
}

/* Fills in datagram number n of a burst. Returns its length. */
static size_t fill(uint8_t *data, size_t room, unsigned n)
{
	size_t len = n % 13 == 5 ? 0 : 1 + (n * n * 37) % (unsigned)room;

	memset(data, (int)n, len);
	return len;
}

/* The first burst of a new client arrives whole and in order, whatever the sizes. */
static void test_first_burst(void **state)
{
	enum { BURST = 64 };
	uint8_t data[2000];
	struct sim_datagram d;
	struct world x;

	(void)state;
	world_without_sockets(&x, 0);
	for (unsigned i = 0; i < BURST; i++)
		from_client(&x, 1, data, fill(data, sizeof(data), i), 0);
	assert_int_equal(x.stats.udp_dropped, 0);
	assert_false(sim_datagram_out(x.sim, &d));
	x.no_sockets = false;
	settle(&x);
	for (unsigned i = 0; i < BURST; i++) {
		size_t len = fill(data, sizeof(data), i);

		assert_true(sim_datagram_out(x.sim, &d));
		assert_int_equal(d.len, len);
		assert_memory_equal(d.data, data, len);
	}
	assert_false(sim_datagram_out(x.sim, &d));
	assert_int_equal(x.stats.udp_datagrams_in, BURST);
	assert_int_equal(x.w->udp.store.free, UDP_BLOCKS);
	world_close(&x);
}

/* A client that sends without an end leaves room to others. Its datagrams without room are counted,
 * and clients that come later lose none. */
static void test_greedy_client(void **state)
{
	enum { CLIENTS = 8, BURST = 16 };
	static uint8_t large[4000];
	struct world x;
	struct sim_datagram d;
	unsigned lost, from[2] = {0};

	(void)state;
	world_without_sockets(&x, 0);
	memset(large, 'g', sizeof(large));
	for (unsigned i = 0; i < 2000; i++)
		from_client(&x, 0, large, sizeof(large), 1000);
	lost = (unsigned)x.stats.udp_dropped;
	assert_in_range(lost, 1000, 7000);
	assert_in_range(x.w->udp.store.free, UDP_BLOCKS / 2 - 16, UDP_BLOCKS / 2 + 16);
	for (unsigned i = 0; i < BURST; i++)
		for (unsigned client = 1; client <= CLIENTS; client++)
			from_client(&x, client, "new", 3, 0);
	assert_int_equal(x.stats.udp_dropped, lost);
	x.no_sockets = false;
	settle(&x);
	while (sim_datagram_out(x.sim, &d))
		from[d.len == 3]++;
	assert_int_equal(from[0], 2000 * 4 - lost);
	assert_int_equal(from[1], CLIENTS * BURST);
	assert_int_equal(x.w->udp.store.free, UDP_BLOCKS);
	world_close(&x);
}

/* A flow is removed while its datagrams wait. They are counted as dropped, and their room is free.
 */
static void test_removal(void **state)
{
	struct world x;

	(void)state;
	world_without_sockets(&x, 0);
	for (unsigned i = 0; i < 10; i++)
		from_client(&x, i % 2, "waits", 5, i < 2 ? 2 : 0);
	assert_int_equal(x.w->udp.store.free, UDP_BLOCKS - 10);
	ask_remove(&x, x.port_id);
	expect_answer(&x, x.port_id, x.seq, 0);
	assert_int_equal(x.stats.udp_dropped, 2 * 3 + 8);
	assert_int_equal(x.w->udp.store.free, UDP_BLOCKS);
	world_close(&x);
}

/* A copy that is kept for a second address was sent already, so it makes room for a first datagram.
 */
static void test_kept_copies_give_way(void **state)
{
	static uint8_t large[2000];
	struct sim_datagram d;
	struct world x;
	unsigned n = 0;

	(void)state;
	world_open(&x, 1, 0);
	add_port(&x, PORT_UDP, 81);
	settle(&x);
	/* Three open flows have had no answer yet, and each keeps its share. */
	for (unsigned client = 0; client < 3; client++)
		for (unsigned i = 0; i < 80; i++) {
			from_client(&x, client, large, sizeof(large), 0);
			feed_pools(&x);
		}
	while (sim_datagram_out(x.sim, &d))
		n++;
	assert_int_equal(n, 3 * 80);
	assert_non_null(x.w->udp.keeping);
	/* Now only these copies can make room. */
	x.no_sockets = true;
	x.w->udp.store.free = 1;
	for (unsigned client = 3; client < 14; client++)
		from_client(&x, client, "first", 5, 0);
	assert_int_equal(x.stats.udp_evicted, 0);
	assert_int_equal(x.stats.udp_dropped, 0);
	assert_true(x.w->udp.store.free > 1);
	world_close(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_burst),
		cmocka_unit_test(test_greedy_client),
		cmocka_unit_test(test_removal),
		cmocka_unit_test(test_kept_copies_give_way),
	};

	return WORLD_RUN_BOTH_FAMILIES(tests);
}
