/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of a hand-over that make no sense are refused, and their descriptors are closed. */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>

#include "base/array.h"
#include "dataplane/dataplane.h"
#include "dataplane/worker/client_address.h"
#include "dataplane/worker/handover_record.h"
#include "handover_world.h"
#include "ports/route.h"

static void take(struct world *x, struct other *o, const void *msg, size_t len, const int *fds,
		 size_t n_fds)
{
	exchange(x, o);
	sim_channel_put(x->sim, o->to, msg, len, fds, n_fds);
	for (unsigned i = 0; i < 20; i++)
		turn(x);
	exchange(x, o);
}

static int outcome(struct world *x, struct other *o, struct dp_msg *answer)
{
	if (!sim_channel_get(x->sim, o->control, answer, sizeof(*answer)))
		return 1;
	assert_int_equal(answer->port_id, 0);
	return answer->err;
}

static void begin_taking(struct world *x, struct other *o, struct dp_msg *msg)
{
	open_world(x, 30, PORT_TCP, msg);
	begin_other(x, o, NULL);
	offer(x, o, *msg, x->listener);
	o->to = sim_channel(x->sim);
	tell(x, o->control, DP_MSG_TAKE_OVER, o->to);
	exchange(x, o);
	turn(x);
	turn(x);
	exchange(x, o);
}

static void end_taking(struct world *x, struct other *o)
{
	exchange(x, o);
	kill(x);
	exchange(x, o);
	world_close(x);
}

struct one_flow {
	struct handover_head head;
	struct handover_tcp t;
};

static struct one_flow open_flow(const struct dp_msg *msg)
{
	return (struct one_flow){
		.head = {.type = HANDOVER_TCP, .count = 1, .size = sizeof(struct handover_tcp)},
		.t = {.port_id = msg->port_id,
		      .state = TCP_FLOW_OPEN,
		      .fds = HANDOVER_CLIENT | HANDOVER_SERVER}};
}

static void test_refused(void **state)
{
	static const struct handover_head odd[] = {
		{.type = 77, .count = 0, .size = 0},
		{.type = HANDOVER_TCP, .count = 1, .size = 8},
		{.type = HANDOVER_TCP, .count = 0, .size = sizeof(struct handover_tcp)},
		{.type = HANDOVER_TCP, .count = 3, .size = sizeof(struct handover_tcp)},
		{.type = HANDOVER_END, .count = 1, .size = 0},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(odd); i++) {
		struct dp_msg msg, answer;
		struct other o;
		struct world x;
		int fds[2];

		begin_taking(&x, &o, &msg);
		fds[0] = sim_socket(x.sim, false);
		fds[1] = sim_socket(x.sim, false);
		take(&x, &o, &odd[i], sizeof(odd[i]), fds, 2);
		assert_int_equal(outcome(&x, &o, &answer), -EPROTO);
		end_taking(&x, &o);
	}
}

/* A message that has more or fewer descriptors than it says. */
static void test_descriptors_do_not_fit(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 4; n++) {
		struct dp_msg msg, answer;
		struct other o;
		struct world x;
		struct one_flow m;
		int fds[4];

		begin_taking(&x, &o, &msg);
		m = open_flow(&msg);
		for (unsigned i = 0; i < n; i++)
			fds[i] = sim_socket(x.sim, false);
		take(&x, &o, &m, sizeof(m), fds, n);
		assert_int_equal(outcome(&x, &o, &answer), n == 2 ? 1 : -EPROTO);
		assert_int_equal(o.stats.tcp_flows, n >= 2);
		end_taking(&x, &o);
	}
}

/* A flow of an unknown port is lost, and reported as lost. Other flows are taken over. */
static void test_port_is_not_there(void **state)
{
	struct handover_head end = {.type = HANDOVER_END};
	struct dp_msg msg, answer;
	struct other o;
	struct world x;
	struct one_flow m;
	int fds[2];

	(void)state;
	begin_taking(&x, &o, &msg);
	for (int i = 0; i < 3; i++) {
		m = open_flow(&msg);
		m.t.port_id += i == 1;
		fds[0] = sim_socket(x.sim, false);
		fds[1] = sim_socket(x.sim, false);
		take(&x, &o, &m, sizeof(m), fds, 2);
	}
	take(&x, &o, &end, sizeof(end), NULL, 0);
	assert_int_equal(outcome(&x, &o, &answer), 0);
	assert_int_equal(answer.flows, 2);
	assert_int_equal(answer.lost, 1);
	end_taking(&x, &o);
}

/* Times of an attacker's choice: none, past, soon, never. */
static uint64_t odd_time(struct world *x)
{
	switch (sim_random(x->sim, 5)) {
	case 0:
		return 0;
	case 1:
		return UINT64_MAX - sim_random(x->sim, 2);
	case 2:
		return sim_now(x->sim) - sim_random(x->sim, 1000);
	default:
		return sim_now(x->sim) + sim_random(x->sim, 3000) * MS_NS;
	}
}

/* A flow as no worker has it, though each of its parts makes sense. It is not open: its sockets
 * have no peers. */
static struct one_flow odd_flow(struct world *x, const struct dp_msg *msg)
{
	struct one_flow m = open_flow(msg);
	bool ended;

	m.t.state = (uint8_t)(TCP_FLOW_WAITING + sim_random(x->sim, 3));
	m.t.flags = (uint16_t)sim_random(x->sim, HANDOVER_TCP_FLAGS + 1);
	if (m.t.state == TCP_FLOW_WAITING || m.t.state == TCP_FLOW_RETRYING)
		m.t.fds = HANDOVER_CLIENT;
	if (m.t.state != TCP_FLOW_CONNECTING)
		m.t.flags &= ~HANDOVER_CONNECT_ENDED;
	m.t.lost = (uint8_t)sim_random(x->sim, TCP_LOST_OFF + 1);
	m.t.tries = (uint8_t)sim_random(x->sim, 256);
	m.t.survivor = (uint8_t)sim_random(x->sim, 2);
	ended = m.t.flags & HANDOVER_CONNECT_ENDED;
	m.t.connect_res = ended && sim_random(x->sim, 2) ? -ECONNREFUSED : 0;
	m.t.timer_ns = odd_time(x);
	m.t.limit_ns = odd_time(x);
	m.t.end_ns = odd_time(x);
	m.t.silent_ns[0] = odd_time(x);
	m.t.silent_ns[1] = odd_time(x);
	for (unsigned d = 0; d < 2; d++)
		m.t.dir[d].flags = sim_random(x->sim, HANDOVER_DIR_FLAGS + 1);
	m.t.client =
		sim_addr(x->target_family, sim_random(x->sim, 2) ? INADDR_LOOPBACK : 0xc0000264u,
			 (uint16_t)sim_random(x->sim, 3));
	return m;
}

static void begin_odd(struct world *x, struct other *o, uint64_t seed, uint32_t proto,
		      struct dp_msg *msg)
{
	open_world(x, seed, proto, msg);
	msg->transparent = 1;
	if (seed % 3 == 0)
		msg->target2 = sim_addr(x->target_family, INADDR_LOOPBACK, 81);
	begin_other(x, o, NULL);
	o->w->config.transparent = 0x3f; /* everything works */
	offer(x, o, *msg, x->listener);
	o->to = sim_channel(x->sim);
	tell(x, o->control, DP_MSG_TAKE_OVER, o->to);
}

/* All has been sent: the worker serves what it has, until nothing is left to do. */
static void end_odd(struct world *x, struct other *o)
{
	struct handover_head end = {.type = HANDOVER_END};
	struct dp_msg answer;

	take(x, o, &end, sizeof(end), NULL, 0);
	assert_int_equal(outcome(x, o, &answer), 0);
	commit(x, o);
	pass(x, 2 * SECOND_NS);
	feed_pools(x);
	pass(x, 100 * SECOND_NS);
	/* No forged time keeps a flow that is not connected. */
	for (uint32_t i = 0; i < x->w->tcp.used; i++)
		assert_true(x->w->tcp.flows[i].state == TCP_FLOW_FREE ||
			    x->w->tcp.flows[i].state == TCP_FLOW_OPEN);
	assert_true(o->stats.connect_time_ns < 1000 * SECOND_NS);
	assert_int_equal(x->w->tcp.count, o->stats.tcp_flows);
	assert_int_equal(x->w->udp.count, o->stats.udp_flows);
	world_close(x);
}

/* What a data plane that was taken over may hand over does not end the next one. */
static void run_odd_flows(uint64_t seed)
{
	struct dp_msg msg;
	struct other o;
	struct world x;

	begin_odd(&x, &o, seed, PORT_TCP, &msg);
	for (int i = 0; i < 12; i++) {
		struct one_flow m = odd_flow(&x, &msg);
		size_t n = m.t.fds & HANDOVER_SERVER ? 2 : 1;
		int fds[2];

		assert_int_equal(handover_record_fds(HANDOVER_TCP, (uint8_t *)&m.t, 0), n);
		for (size_t k = 0; k < n; k++)
			fds[k] = sim_socket(x.sim, false);
		take(&x, &o, &m, sizeof(m), fds, n);
	}
	end_odd(&x, &o);
}

struct one_udp {
	struct handover_head head;
	struct handover_udp u;
};

struct one_datagram {
	struct handover_head head;
	struct handover_datagram d;
	uint8_t data[64];
};

static struct one_udp odd_udp(struct world *x, const struct dp_msg *msg, unsigned number)
{
	struct one_udp m = {
		.head = {.type = HANDOVER_UDP, .count = 1, .size = sizeof(struct handover_udp)},
		.u = {.port_id = msg->port_id, .client_scope = sim_random(x->sim, 2)}};

	m.u.flags = (uint8_t)sim_random(x->sim, HANDOVER_UDP_FLAGS + 1);
	m.u.last_ns = odd_time(x);
	/* Mapped addresses, an odd one, and some twice. */
	m.u.client.s6_addr32[2] = sim_random(x->sim, 4) ? htonl(0xffff) : 0;
	m.u.client.s6_addr32[3] = htonl(INADDR_LOOPBACK);
	m.u.client_port = htons((uint16_t)(5000 + number % 9));
	return m;
}

static struct one_datagram odd_datagram(struct world *x)
{
	struct one_datagram m = {
		.head = {.type = HANDOVER_DATAGRAM, .count = 1, .size = sizeof(m.d)}};

	m.d.len = sim_random(x->sim, sizeof(m.data));
	m.d.segment = (uint16_t)(m.d.len > 1 ? sim_random(x->sim, m.d.len) : 0);
	m.d.sent = (uint8_t)sim_random(x->sim, 256);
	return m;
}

static void run_odd_datagrams(uint64_t seed)
{
	struct dp_msg msg;
	struct other o;
	struct world x;

	begin_odd(&x, &o, seed, PORT_UDP, &msg);
	for (unsigned i = 0; i < 12; i++) {
		struct one_udp m = odd_udp(&x, &msg, i);
		size_t n = m.u.flags & HANDOVER_UDP_OPEN ? 1 : 0;
		int fd = n ? sim_socket(x.sim, true) : -1;

		take(&x, &o, &m, sizeof(m), &fd, n);
		for (unsigned k = sim_random(x.sim, 4); k > 0; k--) {
			struct one_datagram d = odd_datagram(&x);

			take(&x, &o, &d, sizeof(d) - sizeof(d.data) + d.d.len, NULL, 0);
		}
	}
	end_odd(&x, &o);
}

static void test_odd_flows(void **state)
{
	(void)state;
	world_for_each_seed(run_odd_flows);
	world_for_each_seed(run_odd_datagrams);
}

/* The giving worker dies before it has sent everything. */
static void test_channel_ends(void **state)
{
	struct dp_msg msg, answer;
	struct other o;
	struct world x;

	(void)state;
	begin_taking(&x, &o, &msg);
	sim_channel_end(x.sim, o.to);
	exchange(&x, &o);
	for (unsigned i = 0; i < 20; i++)
		turn(&x);
	exchange(&x, &o);
	assert_int_equal(outcome(&x, &o, &answer), -ECONNRESET);
	end_taking(&x, &o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_descriptors_do_not_fit),
		cmocka_unit_test(test_port_is_not_there),
		cmocka_unit_test(test_odd_flows),
		cmocka_unit_test(test_channel_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
