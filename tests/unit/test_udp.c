/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "dataplane/dataplane.h"
#include "worker_world.h"

/* UDP flows of a worker, one event at a time. test_worker.c has the seeded runs. */

static const struct in_addr local = {.s_addr = 0x0100000a};

static struct sockaddr_in client_of(unsigned n)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons((uint16_t)(20000 + n)),
				    .sin_addr.s_addr = htonl(0x0a000001)};
}

static bool from_client(struct world *x, unsigned n, const char *text, uint16_t segment)
{
	struct sockaddr_in client = client_of(n);

	return sim_datagram_in(x->sim, x->listener, &client, &local, text, strlen(text), segment);
}

/* The next datagram that the worker has sent is this. Returns the descriptor that it left on. */
static int expect_sent(struct world *x, const char *text)
{
	struct sim_datagram d;

	assert_true(sim_datagram_out(x->sim, &d));
	assert_int_equal(d.len, strlen(text));
	assert_memory_equal(d.data, text, d.len);
	return d.fd;
}

static void expect_nothing_sent(struct world *x)
{
	struct sim_datagram d;

	assert_false(sim_datagram_out(x->sim, &d));
}

static void udp_world(struct world *x)
{
	world_open(x, 1, 0);
	add_port(x, PORT_UDP, 0);
	settle(x);
}

/* Opens the flow of client n. Returns its socket. */
static int flow_open(struct world *x, unsigned n)
{
	assert_true(from_client(x, n, "hello", 0));
	settle(x);
	return expect_sent(x, "hello");
}

static bool from_server(struct world *x, int fd, const char *text)
{
	struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(80)};

	return sim_datagram_in(x->sim, fd, &server, &local, text, strlen(text), 0);
}

/* ICMP errors of a server are counted and end nothing. */
static void test_errors_of_a_server(void **state)
{
	static const int errors[] = {-ECONNREFUSED, -EHOSTUNREACH, -ENETUNREACH, -EMSGSIZE,
				     -EPROTO};
	const unsigned n = ARRAY_SIZE(errors);
	struct world x;
	int fd;

	(void)state;
	udp_world(&x);
	fd = flow_open(&x, 1);
	for (unsigned i = 0; i < n; i++) {
		assert_true(sim_datagram_error(x.sim, fd, errors[i]));
		settle(&x);
	}
	assert_int_equal(x.stats.udp_refused, n);
	assert_int_equal(x.ports[x.port_id % 8].errors, n);
	assert_true(from_server(&x, fd, "answer"));
	settle(&x);
	assert_int_equal(expect_sent(&x, "answer"), x.listener);
	assert_int_equal(x.stats.udp_flows, 1);
	/* Any other error ends the flow, and the next datagram begins another. */
	assert_true(sim_datagram_error(x.sim, fd, -EIO));
	settle(&x);
	assert_int_equal(x.stats.udp_flows, 0);
	flow_open(&x, 1);
	assert_int_equal(x.stats.udp_flows, 1);
	world_close(&x);
}

/* An error that a send reports was that of an earlier datagram: this one is sent all the same. */
static void test_refusal_reported_by_a_send(void **state)
{
	struct world x;

	(void)state;
	udp_world(&x);
	flow_open(&x, 1);
	sim_fail_send(x.sim, -ECONNREFUSED);
	assert_true(from_client(&x, 1, "again", 0));
	settle(&x);
	expect_sent(&x, "again");
	assert_int_equal(x.stats.udp_refused, 1);
	assert_int_equal(x.stats.udp_dropped, 0);
	/* Another one loses the datagram, which is counted. */
	sim_fail_send(x.sim, -ENOBUFS);
	assert_true(from_client(&x, 1, "lost", 0));
	settle(&x);
	expect_nothing_sent(&x);
	assert_int_equal(x.stats.udp_dropped, 1);
	/* What is lost has not been moved, neither alone nor in a run. */
	assert_int_equal(x.stats.udp_datagrams_in, 2);
	assert_int_equal(x.stats.udp_bytes_in, strlen("hello") + strlen("again"));
	sim_fail_send(x.sim, -ENOBUFS);
	assert_true(from_client(&x, 1, "aabbc", 2));
	settle(&x);
	assert_int_equal(x.stats.udp_dropped, 4);
	sim_no_segments(x.sim, -EIO);
	assert_true(from_client(&x, 1, "aabbc", 2));
	settle(&x);
	assert_int_equal(x.stats.udp_datagrams_in, 5);
	sim_fail_send(x.sim, -ENOBUFS); /* the first of three */
	assert_true(from_client(&x, 1, "aabbc", 2));
	settle(&x);
	assert_int_equal(x.stats.udp_datagrams_in, 7);
	assert_int_equal(x.stats.udp_dropped, 5);
	assert_int_equal(x.stats.udp_bytes_in, 10 + 5 + 3);
	assert_int_equal(x.ports[x.port_id % 8].bytes_in, 10 + 5 + 3);
	world_close(&x);
}

/* A flow that found no receive buffer receives again when they are back. */
static void test_flow_without_buffers(void **state)
{
	struct world x;
	unsigned taken = 0;
	int fd;

	(void)state;
	udp_world(&x);
	fd = flow_open(&x, 1);
	while (from_server(&x, fd, "x"))
		taken++;
	assert_true(taken > 0);
	assert_false(from_server(&x, fd, "x")); /* nobody receives */
	settle(&x);
	for (unsigned i = 0; i < taken; i++)
		expect_sent(&x, "x");
	assert_true(from_server(&x, fd, "y"));
	settle(&x);
	expect_sent(&x, "y");
	world_close(&x);
}

/* The flow with a datagram in the batch ends in the same turn: the datagram leaves before. */
static void test_ended_flow_has_sent(void **state)
{
	unsigned sent = 0;

	(void)state;
	/* The seed decides which of the events comes first. */
	for (uint64_t seed = 1; seed <= 8; seed++) {
		struct sim_datagram d;
		struct world x;

		world_open(&x, seed, 0);
		add_port(&x, PORT_UDP, 0);
		settle(&x);
		flow_open(&x, 0);
		/* With nothing in flight on its socket the flow is gone at once. */
		if (seed % 2)
			assert_true(sim_datagram_error(x.sim, x.w->udp.flows[0].fd, -ENOBUFS));
		assert_true(from_client(&x, 0, "last words", 0));
		remove_port(&x);
		expect_answer(&x, x.port_id, x.seq, 0);
		assert_int_equal(x.stats.udp_flows, 0);
		sent += sim_datagram_out(x.sim, &d);
		world_close(&x);
	}
	assert_in_range(sent, 1, 8);
}

/* The table is full: who talks keeps his flow, whoever came after him. */
static void test_live_flow_is_kept(void **state)
{
	struct world x;
	int fd, answers = 0;

	(void)state;
	udp_world(&x);
	fd = flow_open(&x, 0);
	for (unsigned i = 1; i < 14; i++)
		flow_open(&x, i);
	for (unsigned i = 0; i < 200; i++) {
		if (i % 20 < 10) {
			assert_true(from_client(&x, 0, "ping", 0));
			settle(&x);
			assert_int_equal(expect_sent(&x, "ping"), fd);
		} else { /* the other direction keeps it as well */
			assert_true(from_server(&x, fd, "pong"));
			settle(&x);
			assert_int_equal(expect_sent(&x, "pong"), x.listener);
			answers++;
		}
		flow_open(&x, 100 + i);
	}
	assert_int_equal(answers, 100);
	assert_int_equal(x.stats.udp_evicted, 200);
	assert_int_equal(x.stats.udp_flows, 14);
	world_close(&x);
}

/* A port that has most of the flows gives up its own, not those of others. */
static void test_busy_port_evicts_its_own(void **state)
{
	struct world x;
	int quiet, fd;

	(void)state;
	udp_world(&x);
	quiet = x.listener;
	fd = flow_open(&x, 1);
	add_port(&x, PORT_UDP, 0);
	settle(&x);
	for (unsigned i = 0; i < 100; i++)
		flow_open(&x, 100 + i);
	assert_true(x.stats.udp_evicted > 80);
	assert_true(from_server(&x, fd, "answer"));
	settle(&x);
	assert_int_equal(expect_sent(&x, "answer"), quiet);
	world_close(&x);
}

static void world_open_flows(struct world *x, uint64_t seed, unsigned fds_max, unsigned flows_max)
{
	struct worker_config config = {.tcp_flows_max = flows_max,
				       .udp_flows_max = flows_max,
				       .listeners_max = 8,
				       .pipes_max = 3,
				       .fds_max = fds_max,
				       .udp_timeout_ms = 90000,
				       .netns_cookie = SIM_NETNS};

	world_begin(x, seed, 0);
	world_start(x, &config);
}

/* The namespace has fewer ports than flows might have: a client may wait, and is served, and the
 * kernel is not asked for a port again and again. */
static void test_no_port_in_the_namespace(void **state)
{
	struct world x;
	unsigned n = 0;
	struct sim_datagram d;

	(void)state;
	world_open_flows(&x, 1, 1000, 200);
	udp_ports_init(&x.udp_ports, 150, 1);
	add_port(&x, PORT_UDP, 0);
	sim_local_ports(x.sim, 100);
	for (unsigned i = 0; i < 1000; i++) {
		assert_true(from_client(&x, i, "hello", 0));
		if (i % 10 == 9)
			settle(&x);
		while (sim_datagram_out(x.sim, &d))
			n++;
	}
	pass(&x, SECOND_NS);
	while (sim_datagram_out(x.sim, &d))
		n++;
	assert_int_equal(x.stats.udp_no_port, sim_ports_refused(x.sim));
	assert_in_range(sim_ports_refused(x.sim), 1, 3);
	assert_in_range(x.w->udp.ports, 1, 64); /* the least limit */
	assert_int_equal(x.w->udp.ports, x.udp_ports.taken);
	assert_int_equal(n, 1000);
	/* The limit comes back. */
	sim_local_ports(x.sim, 0);
	for (unsigned i = 0; i < 10; i++) {
		pass(&x, 61 * SECOND_NS);
		for (unsigned k = 0; k < 150; k++)
			flow_open(&x, 3000 + k);
	}
	assert_int_equal(x.udp_ports.limit, 150);
	assert_int_equal(x.w->udp.ports, 150);
	world_close(&x);
}

/* That a flooded port has used up the ports of the namespace costs the flows of the others nothing,
 * however few are left and however old they are. */
static void test_few_ports_are_taken_from_the_busy(void **state)
{
	struct sim_datagram d;
	struct world x;
	int quiet, fd;

	(void)state;
	world_open_flows(&x, 1, 1000, 400);
	udp_ports_init(&x.udp_ports, 300, 1);
	add_port(&x, PORT_UDP, 0);
	settle(&x);
	quiet = x.listener;
	fd = flow_open(&x, 1);
	add_port(&x, PORT_UDP, 0);
	settle(&x);
	for (unsigned i = 0; i < 90; i++)
		flow_open(&x, 100 + i);
	sim_local_ports(x.sim, 100);
	for (unsigned i = 0; i < 600; i++) {
		assert_true(from_client(&x, 300 + i, "hello", 0));
		if (i % 8 == 7)
			settle(&x);
		while (sim_datagram_out(x.sim, &d))
			;
	}
	pass(&x, SECOND_NS);
	while (sim_datagram_out(x.sim, &d))
		;
	assert_in_range(x.w->udp.ports, 1, 99);
	assert_true(from_server(&x, fd, "answer"));
	settle(&x);
	assert_int_equal(expect_sent(&x, "answer"), quiet);
	world_close(&x);
}

/* All workers together have a limit. One that has less than its share gets it all the same. */
static void test_ports_of_all_workers(void **state)
{
	struct world x;

	(void)state;
	world_open_flows(&x, 1, 1000, 200);
	udp_ports_init(&x.udp_ports, 100, 2);
	add_port(&x, PORT_UDP, 0);
	settle(&x);
	x.udp_ports.taken = 70; /* by the other worker */
	for (unsigned i = 0; i < 60; i++)
		flow_open(&x, i);
	assert_int_equal(x.w->udp.ports, 50);
	x.udp_ports.taken = 50;
	for (unsigned i = 100; i < 200; i++)
		flow_open(&x, i);
	assert_int_equal(x.w->udp.ports, 100);
	pass(&x, 100 * SECOND_NS);
	assert_int_equal(x.w->udp.ports, 0);
	assert_int_equal(x.udp_ports.taken, 0);
	world_close(&x);
}

/* TCP connections that do nothing take no flow of a UDP client. */
static void test_idle_connections_leave_a_share(void **state)
{
	struct world x;
	int udp, udp_port;

	(void)state;
	world_open_flows(&x, 1, 200, 400);
	add_port(&x, PORT_UDP, 0);
	udp = x.listener;
	udp_port = x.port_id;
	add_port(&x, PORT_TCP, 0);
	settle(&x);
	for (unsigned i = 0; i < 200; i++) {
		sim_client_connect(x.sim, x.listener);
		settle(&x);
	}
	assert_int_not_equal(x.stats.accept_paused, 0);
	assert_in_range(x.w->tcp.count, 30, 80);
	x.listener = udp;
	for (unsigned round = 0; round < 5; round++)
		for (unsigned i = 0; i < 20; i++) {
			int fd = -1;

			assert_true(from_client(&x, i, "ask", 0));
			settle(&x);
			fd = expect_sent(&x, "ask");
			assert_true(from_server(&x, fd, "answer"));
			settle(&x);
			assert_int_equal(expect_sent(&x, "answer"), udp);
		}
	assert_int_equal(x.stats.udp_evicted, 0);
	assert_int_equal(x.ports[udp_port % 8].opened, 20);
	world_close(&x);
}

/* And the other way round: a flood of UDP clients leaves a share to TCP. */
static void test_flood_leaves_a_share(void **state)
{
	struct world x;

	(void)state;
	world_open_flows(&x, 1, 200, 400);
	add_port(&x, PORT_TCP, 0);
	add_port(&x, PORT_UDP, 0);
	settle(&x);
	for (unsigned i = 0; i < 400; i++)
		flow_open(&x, i);
	assert_in_range(x.stats.udp_flows, 80, 150);
	remove_port(&x);
	expect_answer(&x, x.port_id, x.seq, 0);
	/* Without a TCP port it may have that as well, but for the reserve. */
	ask_remove(&x, x.port_id - 1);
	expect_answer(&x, x.port_id - 1, x.seq, 0);
	add_port(&x, PORT_UDP, 0);
	settle(&x);
	for (unsigned i = 0; i < 400; i++)
		flow_open(&x, i);
	assert_in_range(x.stats.udp_flows, 151, 190);
	world_close(&x);
}

/* Two addresses */

/* A port of two addresses, 80 and 81 of the server. */
static void two_addresses(struct world *x)
{
	world_open(x, 1, 0);
	add_port(x, PORT_UDP, 81);
	settle(x);
}

/* The next datagram went to this port of the server. Returns its descriptor. */
static int expect_sent_to(struct world *x, const char *text, uint16_t port)
{
	struct sim_datagram d;

	assert_true(sim_datagram_out(x->sim, &d));
	assert_int_equal(d.len, strlen(text));
	assert_memory_equal(d.data, text, d.len);
	assert_int_equal(ntohs(d.to.sin_port), port);
	return d.fd;
}

static void refuse(struct world *x, int fd)
{
	assert_true(sim_datagram_error(x->sim, fd, -ECONNREFUSED));
	settle(x);
}

/* The server is at the second address: no datagram is lost, and later clients begin there. */
static void test_second_address(void **state)
{
	struct world x;
	int fd;

	(void)state;
	two_addresses(&x);
	assert_true(from_client(&x, 1, "one", 0));
	assert_true(from_client(&x, 1, "two", 0));
	settle(&x);
	fd = expect_sent_to(&x, "one", 80);
	expect_sent_to(&x, "two", 80);
	refuse(&x, fd);
	fd = expect_sent_to(&x, "one", 81);
	expect_sent_to(&x, "two", 81);
	assert_int_equal(x.stats.udp_datagrams_in, 2);
	assert_int_equal(x.stats.udp_bytes_in, 6);
	assert_true(from_server(&x, fd, "answer"));
	settle(&x);
	expect_sent(&x, "answer");
	assert_true(from_client(&x, 1, "three", 0));
	assert_true(from_client(&x, 2, "another", 0));
	settle(&x);
	assert_int_equal(expect_sent_to(&x, "three", 81), fd);
	fd = expect_sent_to(&x, "another", 81);
	/* It has moved: the client's datagram follows. */
	refuse(&x, fd);
	expect_sent_to(&x, "another", 80);
	assert_true(from_client(&x, 3, "a third", 0));
	settle(&x);
	expect_sent_to(&x, "a third", 80);
	/* What was kept goes with time, and with its flow. */
	pass(&x, 2 * SECOND_NS);
	assert_null(x.w->udp.keeping);
	assert_int_equal(x.w->udp.store.free, UDP_BLOCKS);
	world_close(&x);
}

/* Nobody listens at either: each datagram has been to both, and no more than once. */
static void test_nobody_at_two_addresses(void **state)
{
	static const uint16_t first[] = {80, 81};
	struct world x;
	int fd;

	(void)state;
	two_addresses(&x);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(from_client(&x, 1, "ask", 0));
		settle(&x);
		fd = expect_sent_to(&x, "ask", first[i % 2]);
		refuse(&x, fd);
		fd = expect_sent_to(&x, "ask", first[!(i % 2)]);
		refuse(&x, fd);
		expect_nothing_sent(&x);
	}
	assert_int_equal(x.stats.udp_flows, 1);
	assert_int_equal(x.stats.udp_datagrams_in, 4);
	assert_int_equal(x.w->udp.ports, 1);
	/* One that had answered and does not any more. */
	assert_true(from_client(&x, 1, "ask", 0));
	settle(&x);
	fd = expect_sent_to(&x, "ask", 80);
	assert_true(from_server(&x, fd, "answer"));
	settle(&x);
	expect_sent(&x, "answer");
	assert_true(from_client(&x, 1, "lost", 0));
	settle(&x);
	expect_sent_to(&x, "lost", 80);
	refuse(&x, fd);
	expect_nothing_sent(&x);
	assert_true(from_client(&x, 1, "found", 0));
	settle(&x);
	expect_sent_to(&x, "found", 80);
	refuse(&x, fd);
	expect_sent_to(&x, "found", 81);
	world_close(&x);
}

/* The second socket is not there yet: what waits is sent when it is, also what came meanwhile. */
static void test_second_address_waits_for_socket(void **state)
{
	struct world x;
	int fd;

	(void)state;
	two_addresses(&x);
	x.no_sockets = true;
	for (unsigned i = 0; x.w->supply.pools[POOL_UDP4].n > 0; i++)
		flow_open(&x, 100 + i);
	x.no_sockets = false;
	settle(&x);
	fd = flow_open(&x, 1);
	x.no_sockets = true;
	while (x.w->supply.pools[POOL_UDP4].n > 0)
		x.io->ops->close_fd(x.io, sockpool_take(&x.w->supply.pools[POOL_UDP4]));
	refuse(&x, fd);
	expect_nothing_sent(&x);
	assert_true(from_client(&x, 1, "later", 0));
	pass(&x, 5 * SECOND_NS);
	x.no_sockets = false;
	settle(&x);
	expect_sent_to(&x, "hello", 81);
	expect_sent_to(&x, "later", 81);
	world_close(&x);
}

/* An address that cannot be connected to, as ::1 where there is no IPv6. */
static void test_address_that_is_not_there(void **state)
{
	struct world x;

	(void)state;
	two_addresses(&x);
	sim_unreachable_port(x.sim, 80);
	assert_true(from_client(&x, 1, "ask", 0));
	settle(&x);
	expect_sent_to(&x, "ask", 81);
	sim_unreachable_port(x.sim, 81);
	assert_int_equal(x.stats.udp_flows, 1);
	world_close(&x);
}

/* A port is removed while clients wait for a socket, and then the sockets come. */
static void test_removal_while_waiting_for_socket(void **state)
{
	struct world x;

	(void)state;
	world_open(&x, 1, 0);
	x.no_sockets = true;
	add_port(&x, PORT_UDP, 0);
	assert_true(from_client(&x, 1, "lost", 0));
	settle(&x);
	assert_int_equal(x.stats.udp_flows, 1);
	remove_port(&x);
	expect_answer(&x, x.port_id, x.seq, 0);
	assert_int_equal(x.stats.udp_flows, 0);
	assert_int_equal(x.stats.udp_dropped, 1);
	x.no_sockets = false;
	settle(&x);
	add_port(&x, PORT_UDP, 0);
	settle(&x);
	flow_open(&x, 1);
	world_close(&x);
}

/* Flows that came and went cost no descriptors for ever. */
static void test_budget_comes_back(void **state)
{
	struct world x;

	(void)state;
	world_open_with(&x, 1, 0, 60);
	add_port(&x, PORT_UDP, 0);
	settle(&x);
	for (unsigned i = 0; i < 100; i++) {
		flow_open(&x, i);
		pass(&x, 85 * SECOND_NS);
		assert_int_equal(x.stats.udp_flows, 1);
		pass(&x, 35 * SECOND_NS);
		assert_int_equal(x.stats.udp_flows, 0);
	}
	assert_int_equal(x.stats.udp_expired, 100);
	assert_int_equal(x.stats.udp_evicted, 0);
	world_close(&x);
}

/* More datagrams in a turn than one message may have. */
static void test_many_segments(void **state)
{
	struct world x;

	(void)state;
	udp_world(&x);
	flow_open(&x, 1);
	for (unsigned i = 0; i < 14; i++)
		assert_true(from_client(&x, 1, "aabbccddeeffgghh", 2));
	settle(&x);
	for (unsigned i = 0; i < 14; i++)
		for (const char *c = "abcdefgh"; *c; c++)
			expect_sent(&x, (char[]){*c, *c, 0});
	expect_nothing_sent(&x);
	world_close(&x);
}

/* Empty datagrams among others: each arrives, and is counted. */
static void test_empty_datagrams(void **state)
{
	struct world x;
	int fd;

	(void)state;
	udp_world(&x);
	fd = flow_open(&x, 1);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(from_client(&x, 1, "aa", 0));
		assert_true(from_client(&x, 1, "", 0));
		assert_true(from_client(&x, 1, "", 0));
	}
	settle(&x);
	for (unsigned i = 0; i < 4; i++) {
		expect_sent(&x, "aa");
		expect_sent(&x, "");
		expect_sent(&x, "");
	}
	expect_nothing_sent(&x);
	assert_int_equal(x.stats.udp_datagrams_in, 13);
	assert_true(from_server(&x, fd, "bb"));
	assert_true(from_server(&x, fd, ""));
	settle(&x);
	expect_sent(&x, "bb");
	expect_sent(&x, "");
	assert_int_equal(x.stats.udp_datagrams_out, 2);
	world_close(&x);
}

/* Where the kernel would not segment, it is not asked again for this flow. */
static void test_no_segmentation_is_remembered(void **state)
{
	struct world x;

	(void)state;
	udp_world(&x);
	flow_open(&x, 1);
	sim_no_segments(x.sim, -EIO);
	for (int i = 0; i < 3; i++) {
		assert_true(from_client(&x, 1, "aabb", 2));
		settle(&x);
		expect_sent(&x, "aa");
		expect_sent(&x, "bb");
	}
	assert_int_equal(sim_segments_refused(x.sim), 1);
	world_close(&x);
}

static void test_completion_of_an_earlier_flow(void **state)
{
	struct world x;
	uint32_t gen;

	(void)state;
	udp_world(&x);
	flow_open(&x, 1);
	gen = x.w->udp.flows[0].gen;
	pass(&x, 120 * SECOND_NS);
	assert_int_equal(x.stats.udp_flows, 0);
	sim_inject(x.sim, handle_pack(HANDLE_UDP_FLOW, 1, gen, 0), -EIO);
	settle(&x);
	assert_int_equal(x.stats.stale_completions, 1);
	flow_open(&x, 1);
	sim_inject(x.sim, handle_pack(HANDLE_UDP_FLOW, 1, gen, 0), -EIO);
	settle(&x);
	assert_int_equal(x.stats.stale_completions, 2);
	assert_int_equal(x.stats.udp_flows, 1);
	world_close(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors_of_a_server),
		cmocka_unit_test(test_refusal_reported_by_a_send),
		cmocka_unit_test(test_flow_without_buffers),
		cmocka_unit_test(test_ended_flow_has_sent),
		cmocka_unit_test(test_live_flow_is_kept),
		cmocka_unit_test(test_busy_port_evicts_its_own),
		cmocka_unit_test(test_no_port_in_the_namespace),
		cmocka_unit_test(test_few_ports_are_taken_from_the_busy),
		cmocka_unit_test(test_ports_of_all_workers),
		cmocka_unit_test(test_idle_connections_leave_a_share),
		cmocka_unit_test(test_flood_leaves_a_share),
		cmocka_unit_test(test_second_address),
		cmocka_unit_test(test_nobody_at_two_addresses),
		cmocka_unit_test(test_second_address_waits_for_socket),
		cmocka_unit_test(test_address_that_is_not_there),
		cmocka_unit_test(test_removal_while_waiting_for_socket),
		cmocka_unit_test(test_budget_comes_back),
		cmocka_unit_test(test_many_segments),
		cmocka_unit_test(test_empty_datagrams),
		cmocka_unit_test(test_no_segmentation_is_remembered),
		cmocka_unit_test(test_completion_of_an_earlier_flow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
