/* SPDX-License-Identifier: Apache-2.0 */
#include "out_world.h"

#include "cmocka_all.h"

#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <string.h>

#include "base/limits.h"

/* Pings on their way out against the simulated kernel: a client inside, the worker's ping sockets,
 * and the answers that come to them. */

/* A ping socket's messages bear the kernel's own id, whatever the client's is. */
#define KERNELS_ID 999

struct echo {
	struct icmphdr icmp;
	char text[8];
};

static struct echo echo_of(uint8_t type, uint16_t id, uint16_t seq)
{
	struct echo e = {
		.icmp = {.type = type, .un.echo = {.id = htons(id), .sequence = htons(seq)}},
		.text = "abcdefg"};

	return e;
}

/* A client's request comes by the queue. The packet itself goes nowhere. */
static void ping(struct out_world *o, uint32_t dest, uint16_t id, uint16_t seq)
{
	struct {
		struct iphdr ip;
		struct echo echo;
	} p = {.ip = {.version = 4,
		      .ihl = 5,
		      .tot_len = htons(sizeof(p)),
		      .protocol = IPPROTO_ICMP,
		      .saddr = htonl(INSIDE),
		      .daddr = htonl(dest)},
	       .echo = echo_of(ICMP_ECHO, id, seq)};

	put_packet(o, &p, sizeof(p));
	expect_verdict(o, o->last_packet, NF_DROP, 0);
}

/* The request that left next, to dest: on which socket. */
static int requested(struct out_world *o, uint32_t dest, uint16_t seq)
{
	struct sim_datagram d;
	struct echo e;

	assert_true(sim_datagram_out(o->x.sim, &d));
	assert_int_equal(d.len, sizeof(e));
	memcpy(&e, d.data, sizeof(e));
	assert_int_equal(e.icmp.type, ICMP_ECHO);
	assert_int_equal(ntohs(e.icmp.un.echo.sequence), seq);
	assert_int_equal(ntohl(d.to.sin_addr.s_addr), dest);
	return d.fd;
}

static void pong(struct out_world *o, int fd, uint8_t type, uint16_t seq)
{
	struct echo e = echo_of(type, KERNELS_ID, seq);

	sim_ping_answer(o->x.sim, fd, &e, sizeof(e));
	settle(&o->x);
}

/* What the client gets. */
static void expect_pong(struct out_world *o, uint32_t from, uint16_t id, uint16_t seq)
{
	struct {
		struct iphdr ip;
		struct echo echo;
	} p;
	struct sim_datagram d;

	assert_true(sim_datagram_out(o->x.sim, &d));
	assert_int_equal(d.fd, o->raw);
	assert_int_equal(d.len, sizeof(p));
	memcpy(&p, d.data, sizeof(p));
	assert_int_equal(ntohl(p.ip.saddr), from);
	assert_int_equal(ntohl(p.ip.daddr), INSIDE);
	assert_int_equal(p.echo.icmp.type, ICMP_ECHOREPLY);
	assert_int_equal(ntohs(p.echo.icmp.un.echo.id), id);
	assert_int_equal(ntohs(p.echo.icmp.un.echo.sequence), seq);
	assert_string_equal(p.echo.text, "abcdefg");
}

static void test_answers_have_the_clients_id(void **state)
{
	struct out_world o;
	int first, second;

	(void)state;
	out_world_open(&o);
	ping(&o, SERVER, 7, 1);
	ping(&o, SERVER, 8, 1);
	first = requested(&o, SERVER, 1);
	second = requested(&o, SERVER, 1);
	assert_int_not_equal(first, second);
	pong(&o, second, ICMP_ECHOREPLY, 1);
	expect_pong(&o, SERVER, 8, 1);
	pong(&o, first, ICMP_ECHOREPLY, 1);
	expect_pong(&o, SERVER, 7, 1);
	/* The next request of a client has the same socket, one to elsewhere another. */
	ping(&o, SERVER, 7, 2);
	assert_int_equal(requested(&o, SERVER, 2), first);
	ping(&o, SERVER + 1, 7, 3);
	assert_int_not_equal(requested(&o, SERVER + 1, 3), first);
	assert_int_equal(o.x.stats.out_pings, 4);
	assert_int_equal(o.x.stats.out_pings_answered, 2);
	out_world_close(&o);
}

static void test_answers_alone_are_passed_on(void **state)
{
	struct out_world o;
	int fd;

	(void)state;
	out_world_open(&o);
	ping(&o, SERVER, 7, 1);
	fd = requested(&o, SERVER, 1);
	pong(&o, fd, ICMP_ECHO, 1);
	expect_nothing_sent(&o);
	pong(&o, fd, ICMP_ECHOREPLY, 1);
	expect_pong(&o, SERVER, 7, 1);
	out_world_close(&o);
}

/* The router's own addresses are answered by its kernel, before the queue. */
static void test_nowhere_but_the_world(void **state)
{
	struct out_world o;

	(void)state;
	out_world_open(&o);
	ping(&o, INADDR_LOOPBACK, 7, 1);
	ping(&o, GATEWAY, 7, 1);
	ping(&o, DNS, 7, 1);
	expect_nothing_sent(&o);
	out_world_close(&o);
}

static void test_sockets_expire(void **state)
{
	struct out_world o;
	int fd;

	(void)state;
	out_world_open(&o);
	ping(&o, SERVER, 7, 1);
	fd = requested(&o, SERVER, 1);
	pass(&o.x, 9000 * MS_NS);
	ping(&o, SERVER, 7, 2); /* in use */
	assert_int_equal(requested(&o, SERVER, 2), fd);
	pass(&o.x, 9000 * MS_NS);
	pong(&o, fd, ICMP_ECHOREPLY, 2);
	expect_pong(&o, SERVER, 7, 2);
	pass(&o.x, 2000 * MS_NS);
	assert_int_equal(o.x.w->out.fds, 0);
	out_world_close(&o);
}

/* When all places are taken, the socket that was unused for longest makes room. */
static void test_flood_gives_way(void **state)
{
	struct out_world o;
	int newest = -1;

	(void)state;
	out_world_open_with(&o, 1, 0, 2 * LIMIT_OUT_PINGS, true);
	for (uint16_t id = 0; id < LIMIT_OUT_PINGS; id++) {
		ping(&o, SERVER, id, 1);
		newest = requested(&o, SERVER, 1);
	}
	assert_int_equal(o.x.w->out.fds, LIMIT_OUT_PINGS);
	/* The first request finds no place yet: a slot is free once its operation has ended. */
	ping(&o, SERVER, 1000, 1);
	expect_nothing_sent(&o);
	ping(&o, SERVER, 1000, 2);
	requested(&o, SERVER, 2);
	assert_int_equal(o.x.w->out.fds, LIMIT_OUT_PINGS);
	pong(&o, newest, ICMP_ECHOREPLY, 1);
	expect_pong(&o, SERVER, LIMIT_OUT_PINGS - 1, 1);
	out_world_close(&o);
}

/* Pings leave published ports their descriptors. */
static void test_descriptors_run_out(void **state)
{
	struct out_world o;

	(void)state;
	out_world_open(&o);
	while (out_has_fds(o.x.w, 2))
		o.x.w->config.out.fds_max--;
	ping(&o, SERVER, 7, 1);
	requested(&o, SERVER, 1);
	ping(&o, SERVER, 8, 1);
	expect_nothing_sent(&o);
	assert_int_equal(o.x.w->out.fds, 1);
	out_world_close(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers_have_the_clients_id),
		cmocka_unit_test(test_answers_alone_are_passed_on),
		cmocka_unit_test(test_nowhere_but_the_world),
		cmocka_unit_test(test_sockets_expire),
		cmocka_unit_test(test_flood_gives_way),
		cmocka_unit_test(test_descriptors_run_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
