/* SPDX-License-Identifier: Apache-2.0 */
#include "out_world.h"

#include "cmocka_all.h"

#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <string.h>

#include "base/limits.h"

/* Pings on their way out, against the simulated kernel: a client inside, the worker's ping sockets,
 * and the answers to them. */

/* The id in a ping socket's messages is the kernel's own, not the client's. */
#define KERNELS_ID 999

struct echo {
	struct icmphdr icmp;
	char text[8];
};

enum kind { REQUEST, REPLY };

/* The type of an echo message, which has the same layout in both families. */
static uint8_t type_of(const struct out_world *o, enum kind kind)
{
	if (o->x.family == AF_INET6)
		return kind == REQUEST ? ICMP6_ECHO_REQUEST : ICMP6_ECHO_REPLY;
	return kind == REQUEST ? ICMP_ECHO : ICMP_ECHOREPLY;
}

static struct echo echo_of(uint8_t type, uint16_t id, uint16_t seq)
{
	struct echo e = {
		.icmp = {.type = type, .un.echo = {.id = htons(id), .sequence = htons(seq)}},
		.text = "abcdefg"};

	return e;
}

/* A client's request comes by the queue. The packet itself is dropped. */
static void ping(struct out_world *o, uint32_t dest, uint16_t id, uint16_t seq)
{
	union sock_addr to = out_addr(o, dest, 0);
	struct echo e = echo_of(type_of(o, REQUEST), id, seq);

	put_ip_packet(o, &to, o->x.family == AF_INET6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, &e,
		      sizeof(e));
	expect_verdict(o, o->last_packet, NF_DROP, 0);
}

/* Expects that a request to dest has left. Returns the socket. */
static int requested(struct out_world *o, uint32_t dest, uint16_t seq)
{
	struct sim_datagram d;
	struct echo e;

	assert_true(sim_datagram_out(o->x.sim, &d));
	assert_int_equal(d.len, sizeof(e));
	memcpy(&e, d.data, sizeof(e));
	assert_int_equal(e.icmp.type, type_of(o, REQUEST));
	assert_int_equal(ntohs(e.icmp.un.echo.sequence), seq);
	expect_addr(o, &d.to, dest, 0);
	return d.fd;
}

static void pong(struct out_world *o, int fd, enum kind kind, uint16_t seq)
{
	struct echo e = echo_of(type_of(o, kind), KERNELS_ID, seq);

	sim_ping_answer(o->x.sim, fd, &e, sizeof(e));
	settle(&o->x);
}

/* Checks the packet's addresses. Returns the length of its IP header. */
static size_t expect_header(const struct out_world *o, const struct sim_datagram *d, uint32_t from)
{
	union sock_addr source = out_addr(o, 0, 0), dest = source;
	struct ip6_hdr ip6;
	struct iphdr ip4;

	if (o->x.family == AF_INET6) {
		memcpy(&ip6, d->data, sizeof(ip6));
		source.in6.sin6_addr = ip6.ip6_src;
		dest.in6.sin6_addr = ip6.ip6_dst;
		assert_int_equal(ip6.ip6_nxt, IPPROTO_ICMPV6);
	} else {
		memcpy(&ip4, d->data, sizeof(ip4));
		source.in4.sin_addr.s_addr = ip4.saddr;
		dest.in4.sin_addr.s_addr = ip4.daddr;
		assert_int_equal(ip4.protocol, IPPROTO_ICMP);
	}
	expect_addr(o, &source, from, 0);
	expect_addr(o, &dest, INSIDE, 0);
	return o->x.family == AF_INET6 ? sizeof(ip6) : sizeof(ip4);
}

/* The client gets this answer. */
static void expect_pong(struct out_world *o, uint32_t from, uint16_t id, uint16_t seq)
{
	struct sim_datagram d;
	struct echo e;
	size_t header;

	assert_true(sim_datagram_out(o->x.sim, &d));
	assert_int_equal(d.fd, out_of_family(o, o->raw));
	expect_checksum(o, &d);
	header = expect_header(o, &d, from);
	assert_int_equal(d.len, header + sizeof(e));
	memcpy(&e, d.data + header, sizeof(e));
	assert_int_equal(e.icmp.type, type_of(o, REPLY));
	assert_int_equal(ntohs(e.icmp.un.echo.id), id);
	assert_int_equal(ntohs(e.icmp.un.echo.sequence), seq);
	assert_string_equal(e.text, "abcdefg");
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
	pong(&o, second, REPLY, 1);
	expect_pong(&o, SERVER, 8, 1);
	pong(&o, first, REPLY, 1);
	expect_pong(&o, SERVER, 7, 1);
	/* A client's next request has the same socket, and one to another host another socket. */
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
	pong(&o, fd, REQUEST, 1);
	expect_nothing_sent(&o);
	pong(&o, fd, REPLY, 1);
	expect_pong(&o, SERVER, 7, 1);
	out_world_close(&o);
}

/* The router's kernel answers for the router's own addresses, before the queue. */
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
	ping(&o, SERVER, 7, 2); /* the socket is in use */
	assert_int_equal(requested(&o, SERVER, 2), fd);
	pass(&o.x, 9000 * MS_NS);
	pong(&o, fd, REPLY, 2);
	expect_pong(&o, SERVER, 7, 2);
	pass(&o.x, 2000 * MS_NS);
	assert_int_equal(o.x.w->out.fds, 0);
	out_world_close(&o);
}

/* When all slots are taken, the socket that was unused for longest makes room. */
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
	/* The first request finds no slot yet, since one is free only when its operation has ended.
	 */
	ping(&o, SERVER, 1000, 1);
	expect_nothing_sent(&o);
	ping(&o, SERVER, 1000, 2);
	requested(&o, SERVER, 2);
	assert_int_equal(o.x.w->out.fds, LIMIT_OUT_PINGS);
	pong(&o, newest, REPLY, 1);
	expect_pong(&o, SERVER, LIMIT_OUT_PINGS - 1, 1);
	out_world_close(&o);
}

/* Pings take no descriptors from published ports. */
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

	return WORLD_RUN_BOTH_FAMILIES(tests);
}
