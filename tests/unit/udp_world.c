/* SPDX-License-Identifier: Apache-2.0 */
#include "udp_world.h"

#include "cmocka_all.h"

#include <arpa/inet.h>
#include <string.h>

const struct in_addr udp_local = {.s_addr = 0x0100000a};

struct sockaddr_in udp_client(unsigned n)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons((uint16_t)(20000 + n)),
				    .sin_addr.s_addr = htonl(0x0a000001)};
}

bool udp_client_sends(struct world *x, unsigned n, const char *text, uint16_t segment)
{
	struct sockaddr_in client = udp_client(n);

	return sim_datagram_in(x->sim, x->listener, &client, &udp_local, text, strlen(text),
			       segment);
}

/* The next datagram that the worker has sent is this. Returns the descriptor that it left on. */
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

/* Opens the flow of client n. Returns its socket. */
int udp_flow_open(struct world *x, unsigned n)
{
	assert_true(udp_client_sends(x, n, "hello", 0));
	settle(x);
	return udp_expect_sent(x, "hello");
}

bool udp_server_sends(struct world *x, int fd, const char *text)
{
	struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(80)};

	return sim_datagram_in(x->sim, fd, &server, &udp_local, text, strlen(text), 0);
}
