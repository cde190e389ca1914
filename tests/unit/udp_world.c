/* SPDX-License-Identifier: Apache-2.0 */
#include "udp_world.h"

#include "cmocka_all.h"

#include <netinet/in.h>
#include <string.h>

#define CLIENTS 0x0a000001 /* their host */
#define LOCAL	0x0a000002

union sock_addr udp_local(const struct world *x)
{
	return sim_addr(x->family, LOCAL, 0);
}

union sock_addr udp_client(const struct world *x, unsigned n)
{
	return sim_addr(x->family, CLIENTS, (uint16_t)(20000 + n));
}

bool udp_client_sends(struct world *x, unsigned n, const char *text, uint16_t segment)
{
	union sock_addr client = udp_client(x, n), local = udp_local(x);

	return sim_datagram_in(x->sim, x->listener, &client, &local, text, strlen(text), segment);
}

int udp_expect_sent(struct world *x, const char *text)
{
	struct sim_datagram d;

	assert_true(sim_datagram_out(x->sim, &d));
	assert_int_equal(d.len, strlen(text));
	assert_memory_equal(d.data, text, d.len);
	return d.fd;
}

void udp_expect_nothing_sent(struct world *x)
{
	struct sim_datagram d;

	assert_false(sim_datagram_out(x->sim, &d));
}

void udp_world_open(struct world *x)
{
	world_open(x, 1, 0);
	add_port(x, PORT_UDP, 0);
	settle(x);
}

int udp_flow_open(struct world *x, unsigned n)
{
	assert_true(udp_client_sends(x, n, "hello", 0));
	settle(x);
	return udp_expect_sent(x, "hello");
}

bool udp_server_sends(struct world *x, int fd, const char *text)
{
	union sock_addr server = sim_addr(x->target_family, INADDR_LOOPBACK, 80);
	union sock_addr local = sim_addr(x->target_family, LOCAL, 0);

	return sim_datagram_in(x->sim, fd, &server, &local, text, strlen(text), 0);
}
