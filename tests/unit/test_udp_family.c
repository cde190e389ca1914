/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <string.h>

#include "udp_world.h"

/* UDP ports where IPv4 and IPv6 differ: link-local addresses, multicast, dual-stack ports. */

static union sock_addr addr6(const char *text, uint16_t port, uint32_t scope)
{
	union sock_addr a = {
		.in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_scope_id = scope}};

	assert_int_equal(inet_pton(AF_INET6, text, &a.in6.sin6_addr), 1);
	return a;
}

static void open_port(struct world *x, bool dual)
{
	struct dp_msg msg;

	world_open(x, 1, 0);
	x->family = AF_INET6;
	msg = port_msg(x, PORT_UDP, 0);
	x->listener = dual ? sim_listener_dual(x->sim) : sim_listener(x->sim, AF_INET6);
	ask_add(x, &msg, x->listener);
	expect_answer(x, x->port_id, x->seq, 0);
	settle(x);
}

/* The client asks, and the server answers. Returns what the client gets. */
static struct sim_datagram exchange(struct world *x, const union sock_addr *client,
				    const union sock_addr *local)
{
	struct sim_datagram d;
	int fd;

	assert_true(sim_datagram_in(x->sim, x->listener, client, local, "ask", 3, 0));
	settle(x);
	fd = udp_expect_sent(x, "ask");
	assert_true(udp_server_sends(x, fd, "answer"));
	settle(x);
	assert_true(sim_datagram_out(x->sim, &d));
	assert_int_equal(d.fd, x->listener);
	return d;
}

/* Two clients with one address, on different links: each is answered on its own. */
static void test_link_local_clients(void **state)
{
	struct world x;

	(void)state;
	open_port(&x, false);
	for (uint32_t link = 3; link < 5; link++) {
		union sock_addr client = addr6("fe80::9", 4000, link);
		union sock_addr local = addr6("fe80::1", 0, link);
		struct sim_datagram d = exchange(&x, &client, &local);

		assert_true(sockaddr_same_host(&d.to, &client));
		assert_int_equal(d.to.in6.sin6_scope_id, link);
		assert_int_equal(d.to.in6.sin6_port, client.in6.sin6_port);
		assert_true(sockaddr_same_host(&d.from, &local));
		assert_int_equal(d.from.in6.sin6_scope_id, link);
	}
	assert_int_equal(x.stats.udp_flows, 2);
	assert_int_equal(x.stats.udp_dropped, 0);
	world_close(&x);
}

/* An answer to a global address does not depend on the interface that the datagram came by. */
static void test_global_client_by_any_link(void **state)
{
	union sock_addr client = addr6("2001:db8::9", 4000, 0);
	struct world x;

	(void)state;
	open_port(&x, false);
	for (uint32_t link = 3; link < 5; link++) {
		union sock_addr local = addr6("2001:db8::1", 0, link);
		struct sim_datagram d = exchange(&x, &client, &local);

		assert_true(sockaddr_same_host(&d.from, &local));
		assert_int_equal(d.from.in6.sin6_scope_id, 0);
	}
	assert_int_equal(x.stats.udp_flows, 1);
	world_close(&x);
}

/* Nobody can answer from a multicast address: the kernel chooses one. */
static void test_multicast(void **state)
{
	union sock_addr client = addr6("fe80::9", 4000, 3), group = addr6("ff02::fb", 0, 3);
	struct sim_datagram d;
	struct world x;

	(void)state;
	open_port(&x, false);
	d = exchange(&x, &client, &group);
	assert_int_equal(d.from.sa.sa_family, AF_UNSPEC);
	assert_int_equal(d.to.in6.sin6_scope_id, 3);
	world_close(&x);
}

/* IPv4 clients of a dual-stack port are answered by mapped addresses, those of IPv6 by theirs. */
static void test_dual_stack(void **state)
{
	union sock_addr client4 = sim_addr(AF_INET, 0x0a000001, 4000);
	union sock_addr local4 = sim_addr(AF_INET, 0x0a000002, 0);
	union sock_addr client6 = sim_addr(AF_INET6, 0x0a000001, 4000);
	union sock_addr local6 = sim_addr(AF_INET6, 0x0a000002, 0);
	struct sim_datagram d;
	struct world x;

	(void)state;
	open_port(&x, true);
	d = exchange(&x, &client4, &local4);
	assert_true(IN6_IS_ADDR_V4MAPPED(&d.to.in6.sin6_addr));
	assert_true(IN6_IS_ADDR_V4MAPPED(&d.from.in6.sin6_addr));
	sockaddr_unmap(&d.to);
	sockaddr_unmap(&d.from);
	assert_true(sockaddr_same_host(&d.to, &client4));
	assert_true(sockaddr_same_host(&d.from, &local4));
	d = exchange(&x, &client6, &local6);
	assert_true(sockaddr_same_host(&d.to, &client6));
	assert_true(sockaddr_same_host(&d.from, &local6));
	assert_int_equal(x.stats.udp_flows, 2);
	world_close(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_link_local_clients),
		cmocka_unit_test(test_global_client_by_any_link),
		cmocka_unit_test(test_multicast),
		cmocka_unit_test(test_dual_stack),
	};

	/* The ports are of IPv6. The servers may be of either. */
	return WORLD_RUN_BOTH_FAMILIES(tests);
}
