/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ports/route.h"
#include "worker_world.h"

/* Datagrams of published ports in both directions, on the simulated kernel. */

static union sock_addr client_address(const struct world *x, unsigned n)
{
	return sim_addr(x->family, 0x0a000001, (uint16_t)(20000 + n));
}

/* Hosts of ours that clients write to. */
#define LOCAL_A 0x0a000002
#define LOCAL_B 0x0a000003

static bool put_in(struct world *x, unsigned client, uint32_t local, const void *data, size_t len,
		   uint16_t segment)
{
	union sock_addr from = client_address(x, client), to = sim_addr(x->family, local, 0);

	return sim_datagram_in(x->sim, x->listener, &from, &to, data, len, segment);
}

static void send_in(struct world *x, unsigned client, uint32_t local, const char *text,
		    uint16_t segment)
{
	assert_true(put_in(x, client, local, text, strlen(text), segment));
}

/* The server that d was sent to answers. */
static bool answer(struct world *x, const struct sim_datagram *d, const void *data, size_t len)
{
	union sock_addr local = sim_addr(x->target_family, LOCAL_A, 0);

	return sim_datagram_in(x->sim, d->fd, &d->to, &local, data, len, 0);
}

static void expect_out(struct world *x, const char *text, struct sim_datagram *d)
{
	assert_true(sim_datagram_out(x->sim, d));
	assert_int_equal(d->len, strlen(text));
	assert_memory_equal(d->data, text, d->len);
}

static void udp_world(struct world *x)
{
	world_open(x, 1, 0);
	add_port(x, PORT_UDP, 0);
	settle(x);
}

static void test_udp_answers_from_address_asked(void **state)
{
	struct sim_datagram d, e;
	struct world x;

	(void)state;
	udp_world(&x);
	send_in(&x, 1, LOCAL_A, "one", 0);
	send_in(&x, 1, LOCAL_B, "two", 0);
	settle(&x);
	expect_out(&x, "one", &d);
	expect_out(&x, "two", &e);
	assert_int_not_equal(d.fd, e.fd);
	assert_int_equal(ntohs(d.to.in4.sin_port), 80);
	assert_int_equal(x.stats.udp_flows, 2);
	assert_true(answer(&x, &e, "answer", 6));
	settle(&x);
	expect_out(&x, "answer", &d);
	assert_int_equal(d.fd, x.listener);
	assert_int_equal(sim_host_of(&d.from), LOCAL_B);
	assert_int_equal(ntohs(d.to.in4.sin_port), 20001);
	world_close(&x);
}

static void test_udp_runs_and_batches(void **state)
{
	struct sim_datagram d;
	struct world x;

	(void)state;
	udp_world(&x);
	send_in(&x, 1, LOCAL_A, "first", 0);
	settle(&x);
	expect_out(&x, "first", &d);
	/* A run of the kernel's, equal ones, and a shorter one that ends the message. */
	send_in(&x, 1, LOCAL_A, "aaabbbcc", 3);
	send_in(&x, 1, LOCAL_A, "ddd", 0);
	send_in(&x, 1, LOCAL_A, "eee", 0);
	send_in(&x, 1, LOCAL_A, "f", 0);
	send_in(&x, 1, LOCAL_A, "", 0);
	send_in(&x, 1, LOCAL_A, "gg", 0);
	settle(&x);
	expect_out(&x, "aaa", &d);
	expect_out(&x, "bbb", &d);
	expect_out(&x, "cc", &d);
	expect_out(&x, "ddd", &d);
	expect_out(&x, "eee", &d);
	expect_out(&x, "f", &d);
	expect_out(&x, "", &d);
	expect_out(&x, "gg", &d);
	assert_int_equal(x.stats.udp_datagrams_in, 9);
	assert_int_equal(x.stats.udp_dropped, 0);
	world_close(&x);
}

static void test_udp_without_segmentation(void **state)
{
	struct sim_datagram d;
	struct world x;

	(void)state;
	udp_world(&x);
	sim_no_segments(x.sim, -EIO);
	send_in(&x, 1, LOCAL_A, "aaabbbcc", 3);
	settle(&x);
	expect_out(&x, "aaa", &d);
	expect_out(&x, "bbb", &d);
	expect_out(&x, "cc", &d);
	assert_int_equal(x.stats.udp_dropped, 0);
	world_close(&x);
}

static void expect_counted(const struct world *x, uint64_t in, uint64_t bytes_in, uint64_t out,
			   uint64_t bytes_out, uint64_t dropped)
{
	const struct port_stats *port = &x->ports[x->port_id % 8];

	assert_int_equal(x->stats.udp_datagrams_in, in);
	assert_int_equal(x->stats.udp_bytes_in, bytes_in);
	assert_int_equal(x->stats.udp_datagrams_out, out);
	assert_int_equal(x->stats.udp_bytes_out, bytes_out);
	assert_int_equal(x->stats.udp_dropped, dropped);
	assert_int_equal(port->datagrams_in, in);
	assert_int_equal(port->bytes_in, bytes_in);
	assert_int_equal(port->datagrams_out, out);
	assert_int_equal(port->bytes_out, bytes_out);
	assert_int_equal(port->dropped, dropped);
}

/* Datagrams that could not be sent are lost, and their bytes do not count as delivered: of a run,
 * and both ways. */
static void test_udp_lost_bytes_are_not_delivered(void **state)
{
	struct sim_datagram d, e;
	struct world x;

	(void)state;
	udp_world(&x);
	send_in(&x, 1, LOCAL_A, "open", 0);
	settle(&x);
	expect_out(&x, "open", &d);
	expect_counted(&x, 1, 4, 0, 0, 0);
	sim_fail_send(x.sim, -EPERM);
	send_in(&x, 1, LOCAL_A, "aabbc", 2);
	settle(&x);
	assert_false(sim_datagram_out(x.sim, &e));
	expect_counted(&x, 1, 4, 0, 0, 3);
	sim_fail_send(x.sim, -EPERM);
	assert_true(answer(&x, &d, "lost", 4));
	settle(&x);
	expect_counted(&x, 1, 4, 0, 0, 4);
	assert_true(answer(&x, &d, "answer", 6));
	settle(&x);
	expect_out(&x, "answer", &e);
	expect_counted(&x, 1, 4, 1, 6, 4);
	world_close(&x);
}

/* Memory is short when a flow's socket is to be read: the flow stays, and is read again. */
static void test_udp_flow_outlives_a_shortage(void **state)
{
	struct sim_datagram d, e;
	struct world x;

	(void)state;
	udp_world(&x);
	send_in(&x, 1, LOCAL_A, "open", 0);
	settle(&x);
	expect_out(&x, "open", &d);
	assert_true(sim_datagram_error(x.sim, d.fd, -ENOMEM));
	settle(&x);
	assert_int_equal(x.stats.udp_flows, 1);
	assert_true(answer(&x, &d, "answer", 6));
	settle(&x);
	expect_out(&x, "answer", &e);
	world_close(&x);
}

static void test_udp_first_datagrams_wait_for_socket(void **state)
{
	struct sim_datagram d;
	struct world x;

	(void)state;
	world_open(&x, 1, 0);
	add_port(&x, PORT_UDP, 0);
	send_in(&x, 1, LOCAL_A, "a", 0);
	send_in(&x, 1, LOCAL_A, "b", 0);
	turn(&x);
	assert_false(sim_datagram_out(x.sim, &d));
	settle(&x);
	expect_out(&x, "a", &d);
	expect_out(&x, "b", &d);
	world_close(&x);
}

/* More new clients come at once than there are receive buffers. None loses its first datagram,
 * small or large. */
static void many_first_datagrams(size_t len, uint16_t segment)
{
	static uint8_t data[4000];
	struct sim_datagram d;
	struct world x;
	unsigned n = 0;

	world_open_with(&x, 1, 0, 1000);
	add_port(&x, PORT_UDP, 0);
	for (unsigned i = 0; i < 12; i++) {
		memset(data, 'a' + (int)i, len);
		assert_true(put_in(&x, i, LOCAL_A, data, len, segment));
		turn(&x);
	}
	settle(&x);
	for (unsigned i = 0; i < 12; i++)
		for (size_t at = 0; at < len; at += segment ? segment : len, n++) {
			assert_true(sim_datagram_out(x.sim, &d));
			assert_int_equal(d.len, segment ? segment : len);
			assert_int_equal(d.data[0], 'a' + (int)i);
			assert_int_equal(d.data[d.len - 1], 'a' + (int)i);
		}
	assert_false(sim_datagram_out(x.sim, &d));
	assert_int_equal(x.stats.udp_dropped, 0);
	assert_int_equal(x.stats.udp_datagrams_in, n);
	assert_int_equal(x.w->udp.store.free, UDP_BLOCKS);
	world_close(&x);
}

static void test_udp_many_first_datagrams(void **state)
{
	(void)state;
	many_first_datagrams(7, 0);
	many_first_datagrams(512, 0);
	many_first_datagrams(1500, 0);
	many_first_datagrams(4000, 1000);
}

static void test_udp_flows_expire(void **state)
{
	struct world x;

	(void)state;
	udp_world(&x);
	send_in(&x, 1, LOCAL_A, "a", 0);
	send_in(&x, 2, LOCAL_A, "b", 0);
	settle(&x);
	assert_int_equal(x.stats.udp_flows, 2);
	pass(&x, 60 * SECOND_NS);
	send_in(&x, 2, LOCAL_A, "c", 0);
	settle(&x);
	assert_int_equal(x.stats.udp_flows, 2); /* neither flow has been idle for 90 s */
	pass(&x, 60000000000ull);
	assert_int_equal(x.stats.udp_flows, 1);
	assert_int_equal(x.stats.udp_expired, 1);
	pass(&x, 120000000000ull);
	assert_int_equal(x.stats.udp_flows, 0);
	assert_int_equal(sim_open_fds(x.sim), 1 + pooled(&x));
	world_close(&x);
}

static void test_udp_spoofed_sources_do_not_grow(void **state)
{
	struct sim_datagram d;
	struct world x;

	(void)state;
	udp_world(&x);
	for (unsigned i = 0; i < 500; i++) {
		send_in(&x, i, LOCAL_A, "x", 0);
		turn(&x);
		feed_pools(&x);
		while (sim_datagram_out(x.sim, &d))
			;
	}
	settle(&x);
	assert_true(x.stats.udp_flows <= 16);
	assert_true(x.stats.udp_evicted >= 480);
	remove_port(&x);
	settle(&x);
	assert_int_equal(x.stats.udp_flows, 0);
	assert_int_equal(sim_open_fds(x.sim), pooled(&x));
	world_close(&x);
}

static void test_udp_buffers_run_out_and_come_back(void **state)
{
	struct sim_datagram d;
	struct world x;
	unsigned taken = 0;

	(void)state;
	udp_world(&x);
	for (unsigned i = 0; i < 40; i++)
		taken += put_in(&x, 1, LOCAL_A, "x", 1, 0);
	assert_int_equal(taken, 16);
	settle(&x);
	while (sim_datagram_out(x.sim, &d))
		;
	send_in(&x, 1, LOCAL_A, "again", 0);
	settle(&x);
	expect_out(&x, "again", &d);
	world_close(&x);
}

/* Many clients and answers in any order. A datagram that arrives is one that was sent: whole, in
 * order, on its client's flow, and from the address that was asked. One that does not arrive has
 * been counted. */

#define UDP_CLIENTS 12

struct udp_mark {
	uint32_t client, seq;
};

struct udp_run {
	struct world x;
	int fd[UDP_CLIENTS]; /* of each client's flow; -1: there is none yet */
	uint32_t sent[UDP_CLIENTS], seen[UDP_CLIENTS], answered[UDP_CLIENTS];
	uint64_t in, out; /* datagrams that the kernel took */
};

static uint32_t local_of(uint32_t client)
{
	return client % 2 ? LOCAL_A : LOCAL_B;
}

static void put_mark(uint8_t *at, size_t len, uint32_t client, uint32_t seq)
{
	struct udp_mark mark = {client, seq};

	memset(at, (int)(client + seq), len);
	memcpy(at, &mark, sizeof(mark));
}

static struct udp_mark check_mark(const struct sim_datagram *d)
{
	struct udp_mark mark;

	assert_true(d->len >= sizeof(mark));
	memcpy(&mark, d->data, sizeof(mark));
	assert_true(mark.client < UDP_CLIENTS);
	for (size_t i = sizeof(mark); i < d->len; i++)
		assert_int_equal(d->data[i], (uint8_t)(mark.client + mark.seq));
	return mark;
}

/* Sends one datagram, or a run whose last datagram may be shorter. */
static void udp_send_run(struct udp_run *r)
{
	uint32_t client = sim_random(r->x.sim, UDP_CLIENTS), n = 1 + sim_random(r->x.sim, 4);
	size_t segment = sizeof(struct udp_mark) + sim_random(r->x.sim, 1000), len = 0;
	uint8_t data[4096];

	if (sim_random(r->x.sim, 2))
		n = 1;
	for (uint32_t i = 0; i < n && len + segment <= sizeof(data); i++) {
		size_t one = segment;

		if (i + 1 == n && n > 1)
			one -= sim_random(r->x.sim,
					  (uint32_t)(segment - sizeof(struct udp_mark)) + 1);
		put_mark(data + len, one, client, ++r->sent[client]);
		len += one;
	}
	if (put_in(&r->x, client, local_of(client), data, len,
		   len > segment ? (uint16_t)segment : 0))
		r->in += (len + segment - 1) / segment;
}

static void udp_at_server(struct udp_run *r, const struct sim_datagram *d)
{
	struct udp_mark mark = check_mark(d);

	if (r->fd[mark.client] < 0)
		r->fd[mark.client] = d->fd;
	assert_int_equal(d->fd, r->fd[mark.client]);
	assert_true(mark.seq > r->seen[mark.client]);
	r->seen[mark.client] = mark.seq;
	if (sim_random(r->x.sim, 2))
		r->out += answer(&r->x, d, d->data, d->len);
}

static void udp_at_client(struct udp_run *r, const struct sim_datagram *d)
{
	struct udp_mark mark = check_mark(d);

	assert_int_equal(ntohs(d->to.in4.sin_port), 20000 + mark.client);
	assert_int_equal(d->from.sa.sa_family, r->x.family);
	assert_int_equal(sim_host_of(&d->from), local_of(mark.client));
	assert_true(mark.seq > r->answered[mark.client]);
	r->answered[mark.client] = mark.seq;
}

static void udp_take(struct udp_run *r)
{
	struct sim_datagram d;

	while (sim_datagram_out(r->x.sim, &d)) {
		if (d.fd == r->x.listener)
			udp_at_client(r, &d);
		else
			udp_at_server(r, &d);
	}
}

static void run_udp(uint64_t seed, bool unused, unsigned faults)
{
	struct udp_run r = {.in = 0};
	const struct stats *stats = &r.x.stats;

	(void)unused;
	world_open(&r.x, seed, faults);
	draw_families(&r.x);
	for (unsigned i = 0; i < UDP_CLIENTS; i++)
		r.fd[i] = -1;
	add_port(&r.x, PORT_UDP, 0);
	for (unsigned step = 0; step < 5000; step++) {
		udp_send_run(&r);
		if (sim_random(r.x.sim, 300) == 0)
			sim_no_segments(r.x.sim, sim_random(r.x.sim, 2) ? -EIO : 0);
		if (sim_random(r.x.sim, 4) == 0)
			turn(&r.x);
		if (sim_random(r.x.sim, 8) == 0)
			feed_pools(&r.x);
		udp_take(&r);
	}
	for (int i = 0; i < 3; i++) {
		settle(&r.x);
		udp_take(&r);
	}
	assert_int_equal(stats->udp_flows, UDP_CLIENTS);
	assert_int_equal(r.x.w->udp.store.free, UDP_BLOCKS);
	assert_int_equal(stats->udp_datagrams_in + stats->udp_datagrams_out + stats->udp_dropped,
			 r.in + r.out);
	remove_port(&r.x);
	settle(&r.x);
	assert_int_equal(sim_in_flight(r.x.sim), WORLD_OPS);
	assert_int_equal(sim_open_fds(r.x.sim), pooled(&r.x));
	world_close(&r.x);
}

static void test_udp_datagrams_arrive_whole(void **state)
{
	(void)state;
	world_for_seeds(run_udp, false);
}

int main(void)
{
	const struct CMUnitTest random[] = {
		cmocka_unit_test(test_udp_datagrams_arrive_whole),
	};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_udp_answers_from_address_asked),
		cmocka_unit_test(test_udp_runs_and_batches),
		cmocka_unit_test(test_udp_without_segmentation),
		cmocka_unit_test(test_udp_lost_bytes_are_not_delivered),
		cmocka_unit_test(test_udp_flow_outlives_a_shortage),
		cmocka_unit_test(test_udp_first_datagrams_wait_for_socket),
		cmocka_unit_test(test_udp_many_first_datagrams),
		cmocka_unit_test(test_udp_flows_expire),
		cmocka_unit_test(test_udp_spoofed_sources_do_not_grow),
		cmocka_unit_test(test_udp_buffers_run_out_and_come_back),
	};

	return WORLD_RUN_BOTH_FAMILIES(tests) + cmocka_run_group_tests(random, NULL, NULL);
}
