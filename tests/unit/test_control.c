/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/fdpass.h"
#include "dataplane/control/control_internal.h"

/*
 * The parent's half of the data plane, with workers and a broker that the test plays: real sockets
 * and channels, but no processes. What process.c does is replaced below.
 */

#define WORKERS	  2
#define PORTS_MAX 64

static struct {
	int control[WORKERS]; /* the workers' ends */
	int broker;	      /* the broker's end of its boot channel */
	unsigned gave_up, hung_up;
} far;

static void on_broker(void *arg, uint32_t events)
{
	(void)events;
	dp_inside_answers(arg);
}

static int pair(int *ours)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	*ours = fds[0];
	return fds[1];
}

static int socket_of(int family, int type)
{
	return socket(family, type | SOCK_CLOEXEC, 0);
}

static uint64_t own_cookie(void)
{
	auto_fd int fd = socket_of(AF_INET, SOCK_DGRAM);
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	/* Linux before 5.14 has none. */
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) < 0)
		assert_int_equal(errno, ENOPROTOOPT);
	return cookie;
}

static void plane_up(struct dataplane *dp)
{
	int ours[WORKERS];

	for (unsigned i = 0; i < WORKERS; i++)
		far.control[i] = pair(&ours[i]);
	assert_int_equal(dp_channels_open(dp->channels, dp, ours), 0);
	dp->plane.state = DP_CHILD_UP;
}

static void plane_down(struct dataplane *dp, bool hopeless)
{
	dp->plane.state = DP_CHILD_DOWN;
	dp_channels_close(dp->channels, dp->workers);
	for (unsigned i = 0; i < WORKERS; i++)
		close_fd(&far.control[i]);
	dp_ports_plane_died(dp, hopeless);
}

int dp_children_start(struct dataplane *dp, struct err *e)
{
	(void)e;
	memset(&far, 0, sizeof(far));
	dp->plane.name = "data plane";
	dp->broker.name = "socket broker";
	dp->broker.cookie = own_cookie();
	dp->stats_fd = memfd_create("stats", MFD_CLOEXEC);
	assert_int_equal(ftruncate(dp->stats_fd, (off_t)(dp->workers * STATS_STRIDE)), 0);
	far.broker = pair(&dp->broker.boot_fd);
	dp->broker.state = DP_CHILD_UP;
	dp->broker.boot_src = loop_add_fd(dp->loop, dp->broker.boot_fd, EPOLLIN, on_broker, dp);
	plane_up(dp);
	return 0;
}

void dp_children_end(struct dataplane *dp)
{
	dp_channels_close(dp->channels, dp->workers);
	loop_remove(dp->broker.boot_src);
	close_fd(&dp->broker.boot_fd);
	close_fd(&dp->stats_fd);
	for (unsigned i = 0; i < WORKERS; i++)
		close_fd(&far.control[i]);
	close_fd(&far.broker);
}

void dp_child_init(struct dataplane *dp, struct dp_child *child, enum role role, const char *name,
		   int netns_fd)
{
	(void)role;
	*child = (struct dp_child){.dp = dp, .name = name, .boot_fd = -1, .netns_fd = netns_fd};
	dp_fds_init(child->channels, LIMIT_WORKERS);
}

void dp_child_clear(struct dp_child *child)
{
	close_fd(&child->boot_fd);
	child->state = DP_CHILD_DOWN;
}

bool dp_has_router(const struct dataplane *dp)
{
	return dp->config.outward != NULL;
}

int dp_child_start_next(struct dp_child *child, struct err *e)
{
	(void)child;
	return err_set(e, -ENOSYS, "no processes here");
}

int dp_plane_boot_next(struct dataplane *dp)
{
	(void)dp;
	return -ENOSYS;
}

int dp_child_adopt(struct dp_child *to, struct dp_child *from)
{
	(void)to;
	(void)from;
	return -ENOSYS;
}

void dp_child_give_up(struct dp_child *child, const char *why)
{
	(void)child;
	(void)why;
	far.gave_up++;
}

void dp_child_hung_up(struct dp_child *child)
{
	(void)child;
	far.hung_up++;
}

/* The world */

struct world {
	struct loop *loop;
	struct dataplane *dp;
	uint16_t port;
	unsigned fds; /* open ones before the test */
};

struct outcome {
	unsigned calls;
	enum port_settler by;
	int err;
};

/* The table's half: a port, and how it was settled. */
static struct port *table[PORTS_MAX];
static struct outcome *outcomes[PORTS_MAX];

static void on_settled(struct port *port, enum port_settler by, const struct err *e)
{
	struct outcome *o = outcomes[port->id];

	o->calls++;
	o->err = e ? e->code : 0;
	o->by = by;
}

static struct port *port_of(int id, struct outcome *o)
{
	if (!table[id])
		table[id] = calloc(1, sizeof(struct port) + sizeof(struct dp_port));
	assert_non_null(table[id]);
	table[id]->id = id;
	table[id]->settled = on_settled;
	outcomes[id] = o;
	return table[id];
}

static void take_away(struct world *x, int id, struct outcome *o)
{
	*o = (struct outcome){.calls = 0};
	dataplane_port_remove(x->dp, port_of(id, o));
}

static unsigned open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static uint16_t free_port(void)
{
	auto_fd int fd = socket_of(AF_INET, SOCK_STREAM);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	return a.sin_port;
}

static void world_open(struct world *x)
{
	struct dataplane_config config = {.workers = WORKERS};

	x->fds = open_fds();
	assert_int_equal(loop_open(&x->loop), 0);
	assert_int_equal(dataplane_open(x->loop, &config, &x->dp, NULL), 0);
}

/* The workers are gone, so that nobody waits for their answers. */
static void world_close(struct world *x)
{
	x->dp->plane.state = DP_CHILD_DOWN;
	dataplane_close(x->dp);
	for (int id = 0; id < PORTS_MAX; id++) {
		free(table[id]);
		table[id] = NULL;
	}
	loop_close(x->loop);
	assert_int_equal(open_fds(), x->fds);
}

static void turns(struct world *x)
{
	for (int i = 0; i < 20; i++)
		assert_int_equal(loop_run_once(x->loop, 0), 0);
	usleep(1000);
	assert_int_equal(loop_run_once(x->loop, 0), 0);
}

static struct port_route route_to(struct world *x, bool inside)
{
	struct port_route route = {.proto = PORT_TCP};
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	a.sin_port = x->port;
	memcpy(&route.listen, &a, sizeof(a));
	memcpy(&route.target, &a, sizeof(a));
	if (inside)
		memcpy(&route.inside, &a, sizeof(a));
	return route;
}

/* Adds a port at an address that is free. */
static void add(struct world *x, int id, bool inside, struct outcome *o)
{
	*o = (struct outcome){.err = -EADDRINUSE};
	for (int i = 0; i < 20 && o->err == -EADDRINUSE; i++) {
		struct port_route route;

		x->port = free_port();
		route = route_to(x, inside);
		*o = (struct outcome){.calls = 0};
		dataplane_port_add(x->dp, port_of(id, o), &route);
	}
	assert_int_equal(o->err, 0);
	assert_int_equal(o->calls, 0);
}

/* What a worker is told next; type 0: nothing. Its socket is closed, and had to be there or not. */
static struct dp_msg told(unsigned worker)
{
	struct dp_msg msg;
	int fd = -1;
	size_t n = 1;
	ssize_t len = fdpass_recv(far.control[worker], &msg, sizeof(msg), &fd, &n, MSG_DONTWAIT);

	if (len == -EAGAIN)
		return (struct dp_msg){.type = 0};
	assert_int_equal(len, sizeof(msg));
	assert_int_equal(n, msg.type == DP_MSG_ADD);
	close_fd(&fd);
	return msg;
}

static struct dp_msg expect_told(unsigned worker, enum dp_msg_type type, int id)
{
	struct dp_msg msg = told(worker);

	assert_int_equal(msg.type, type);
	assert_int_equal(msg.port_id, id);
	return msg;
}

static void expect_silence(void)
{
	for (unsigned i = 0; i < WORKERS; i++)
		assert_int_equal(told(i).type, 0);
}

static void answer(struct world *x, unsigned worker, const struct dp_msg *to, int err)
{
	struct dp_msg msg = {
		.type = DP_MSG_DONE, .seq = to->seq, .port_id = to->port_id, .err = err};

	assert_int_equal(fdpass_send(far.control[worker], &msg, sizeof(msg), NULL, 0, 0), 0);
	turns(x);
}

/* Both workers are told the same, and answer. */
static void expect_all(struct world *x, enum dp_msg_type type, int id, int err)
{
	for (unsigned i = 0; i < WORKERS; i++) {
		struct dp_msg msg = expect_told(i, type, id);

		answer(x, i, &msg, err);
	}
}

static bool address_is_free(const struct world *x)
{
	auto_fd int fd = socket_of(AF_INET, SOCK_STREAM);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	a.sin_port = x->port;
	return bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
}

static void add_live(struct world *x, int id)
{
	struct outcome o;

	add(x, id, false, &o);
	expect_all(x, DP_MSG_ADD, id, 0);
	assert_true(o.calls == 1 && o.err == 0);
	assert_int_equal(o.by, PORT_BY_WORKER);
}

/* An address that is taken: settled at once, by the parent, and nothing is left of the port. */
static void test_taken_address(void **state)
{
	struct port_route route;
	struct outcome first, o = {.calls = 0};
	struct world x;

	(void)state;
	world_open(&x);
	add(&x, 1, false, &first);
	expect_all(&x, DP_MSG_ADD, 1, 0);
	route = route_to(&x, false);
	dataplane_port_add(x.dp, port_of(2, &o), &route);
	assert_true(o.calls == 1 && o.err == -EADDRINUSE);
	assert_int_equal(o.by, PORT_BY_PARENT);
	expect_silence();
	world_close(&x);
}

/* Ports */

static void test_port_is_there_when_all_have_it(void **state)
{
	struct dp_msg first, second;
	struct outcome o;
	struct world x;

	(void)state;
	world_open(&x);
	add(&x, 1, false, &o);
	first = expect_told(0, DP_MSG_ADD, 1);
	second = expect_told(1, DP_MSG_ADD, 1);
	assert_int_equal(first.seq, second.seq);
	assert_false(address_is_free(&x));
	answer(&x, 0, &first, 0);
	assert_int_equal(o.calls, 0);
	answer(&x, 1, &second, 0);
	assert_true(o.calls == 1 && o.err == 0);
	expect_silence();
	world_close(&x);
}

/* One worker refuses: the others give it up, and then the reason is told. */
static void test_refused_port_is_undone(void **state)
{
	static const struct {
		int said, told;
	} cases[] = {{-EMFILE, -EMFILE}, {EMFILE, -EPROTO}, {INT32_MIN, -EPROTO}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct dp_msg msg;
		struct outcome o;
		struct world x;

		world_open(&x);
		add(&x, 1, false, &o);
		msg = expect_told(0, DP_MSG_ADD, 1);
		answer(&x, 0, &msg, cases[i].said);
		msg = expect_told(1, DP_MSG_ADD, 1);
		answer(&x, 1, &msg, 0);
		assert_int_equal(o.calls, 0);
		expect_all(&x, DP_MSG_REMOVE, 1, 0);
		assert_true(o.calls == 1 && o.err == cases[i].told);
		assert_int_equal(o.by, PORT_BY_WORKER);
		assert_true(address_is_free(&x));
		world_close(&x);
	}
}

static void test_removed_port_is_free(void **state)
{
	struct outcome o = {.calls = 0};
	struct dp_msg msg;
	struct world x;

	(void)state;
	world_open(&x);
	add_live(&x, 1);
	take_away(&x, 1, &o);
	msg = expect_told(0, DP_MSG_REMOVE, 1);
	answer(&x, 0, &msg, 0);
	assert_int_equal(o.calls, 0);
	msg = expect_told(1, DP_MSG_REMOVE, 1);
	answer(&x, 1, &msg, 0);
	assert_true(o.calls == 1 && o.err == 0);
	assert_true(address_is_free(&x));
	world_close(&x);
}

/* Answers about ports that there are not, to questions that were asked before, or once too often.
 */
static void test_stray_answers_count_for_nothing(void **state)
{
	struct dp_msg msg, stray;
	struct outcome o;
	struct world x;

	(void)state;
	world_open(&x);
	add(&x, 1, false, &o);
	msg = stray = expect_told(0, DP_MSG_ADD, 1);
	stray.seq++;
	answer(&x, 0, &stray, 0);
	answer(&x, 0, &stray, -EIO);
	stray = msg;
	stray.port_id = 77;
	answer(&x, 0, &stray, 0);
	stray.port_id = INT32_MIN;
	answer(&x, 0, &stray, 0);
	answer(&x, 0, &msg, 0);
	assert_int_equal(o.calls, 0);
	msg = expect_told(1, DP_MSG_ADD, 1);
	answer(&x, 1, &msg, 0);
	answer(&x, 1, &msg, -EIO);
	assert_true(o.calls == 1 && o.err == 0);
	world_close(&x);
}

/* A worker that says what no worker says: the data plane is ended. */
static void test_nonsense_ends_the_data_plane(void **state)
{
	struct dp_msg wrong = {.type = DP_MSG_ADD};
	struct world x;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		size_t lengths[] = {sizeof(wrong), 3, 0};

		world_open(&x);
		if (lengths[i])
			assert_int_equal(
				fdpass_send(far.control[1], &wrong, lengths[i], NULL, 0, 0), 0);
		else
			close_fd(&far.control[1]);
		turns(&x);
		assert_int_equal(far.hung_up, 1);
		world_close(&x);
	}
}

/* A worker that does not read now gets everything later, in order. */
static void test_full_channel_keeps_order(void **state)
{
	enum { PORTS = 40 };
	static struct outcome o[PORTS];
	struct dp_msg first[WORKERS];
	int small = 1;
	struct world x;

	(void)state;
	world_open(&x);
	for (unsigned i = 0; i < WORKERS; i++)
		setsockopt(x.dp->channels[i].fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	for (int id = 1; id < PORTS; id++)
		add(&x, id, false, &o[id - 1]);
	assert_non_null(x.dp->channels[0].queue);
	/* One that comes when there is room again must not overtake those that wait. */
	for (unsigned i = 0; i < WORKERS; i++)
		first[i] = expect_told(i, DP_MSG_ADD, 1);
	add(&x, PORTS, false, &o[PORTS - 1]);
	for (unsigned i = 0; i < WORKERS; i++)
		answer(&x, i, &first[i], 0);
	for (int id = 2; id <= PORTS; id++) {
		for (unsigned i = 0; i < WORKERS; i++) {
			struct dp_msg msg = expect_told(i, DP_MSG_ADD, id);

			answer(&x, i, &msg, 0);
		}
		assert_true(o[id - 1].calls == 1 && o[id - 1].err == 0);
	}
	assert_null(x.dp->channels[0].queue);
	expect_silence();
	world_close(&x);
}

/* Death of the data plane */

static void test_next_data_plane_gets_all_ports(void **state)
{
	struct outcome adding, removing = {.calls = 0};
	struct world x;

	(void)state;
	world_open(&x);
	add_live(&x, 1);
	add_live(&x, 2);
	add(&x, 3, false, &adding);
	take_away(&x, 2, &removing);
	plane_down(x.dp, false);
	turns(&x);
	assert_true(removing.calls == 1 && removing.err == 0);
	assert_int_equal(adding.calls, 0);
	plane_up(x.dp);
	dp_ports_offer(x.dp);
	expect_all(&x, DP_MSG_ADD, 1, 0);
	expect_all(&x, DP_MSG_ADD, 3, 0);
	assert_true(adding.calls == 1 && adding.err == 0);
	expect_silence();
	/* One that it refuses stays, for the next one. */
	plane_down(x.dp, false);
	plane_up(x.dp);
	dp_ports_offer(x.dp);
	expect_all(&x, DP_MSG_ADD, 1, -EMFILE);
	expect_all(&x, DP_MSG_ADD, 3, 0);
	take_away(&x, 1, &removing);
	world_close(&x);
}

/* Data planes that die over a port: it is refused after some. */
static void test_deadly_port_is_refused(void **state)
{
	struct outcome o;
	struct world x;

	(void)state;
	world_open(&x);
	add(&x, 1, false, &o);
	plane_down(x.dp, false);
	turns(&x);
	assert_int_equal(o.calls, 0);
	plane_up(x.dp);
	dp_ports_offer(x.dp);
	plane_down(x.dp, false);
	turns(&x);
	assert_true(o.calls == 1 && o.err == -ECONNRESET);
	assert_int_equal(o.by, PORT_BY_DATA_PLANE);
	assert_true(address_is_free(&x));
	add(&x, 2, false, &o); /* one that nobody has been offered */
	plane_down(x.dp, true);
	turns(&x);
	assert_true(o.calls == 1 && o.err == -ECONNRESET);
	world_close(&x);
}

/* The socket in the namespace */

static struct broker_listen asked(void)
{
	struct broker_listen msg;

	assert_int_equal(recv(far.broker, &msg, sizeof(msg), MSG_DONTWAIT), sizeof(msg));
	return msg;
}

static void say(struct world *x, const struct broker_listen *to, int err, int fd)
{
	struct broker_listen_reply reply = {.port_id = to->port_id, .seq = to->seq, .err = err};

	assert_int_equal(fdpass_send(far.broker, &reply, sizeof(reply), &fd, fd >= 0, 0), 0);
	close_fd(&fd);
	turns(x);
}

static int listening(int family, int type)
{
	int fd = socket_of(family, type);

	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 1), 0);
	return fd;
}

/* Where no socket can be told to be of the namespace, none listens there. */
static void needs_cookie(void)
{
	if (own_cookie() == 0) {
		print_message("no SO_NETNS_COOKIE: Linux before 5.14\n");
		skip();
	}
}

static void test_socket_inside_goes_to_one_worker(void **state)
{
	struct broker_listen msg;
	unsigned adds = 0, inside = 0;
	struct outcome o;
	struct world x;

	(void)state;
	needs_cookie();
	world_open(&x);
	add(&x, 1, true, &o);
	msg = asked();
	assert_int_equal(msg.port_id, 1);
	expect_silence(); /* before it is bound */
	say(&x, &msg, 0, listening(AF_INET, SOCK_STREAM));
	for (unsigned i = 0; i < WORKERS; i++) {
		struct dp_msg m;

		while ((m = told(i)).type) {
			assert_int_equal(m.type, DP_MSG_ADD);
			assert_int_equal(abs(m.port_id), 1);
			adds++;
			inside += m.port_id == -1;
			answer(&x, i, &m, 0);
		}
	}
	assert_int_equal(adds, WORKERS + 1);
	assert_int_equal(inside, 1);
	assert_true(o.calls == 1 && o.err == 0);
	world_close(&x);
}

/* A worker that does not take the port: that is no fault of the socket inside. */
static void test_refused_port_with_a_socket_inside(void **state)
{
	struct broker_listen msg;
	struct outcome o;
	struct world x;

	(void)state;
	needs_cookie();
	world_open(&x);
	add(&x, 1, true, &o);
	msg = asked();
	say(&x, &msg, 0, listening(AF_INET, SOCK_STREAM));
	for (int round = 0; round < 2; round++)
		for (unsigned i = 0; i < WORKERS; i++) {
			struct dp_msg m;

			while ((m = told(i)).type)
				answer(&x, i, &m, m.type == DP_MSG_ADD ? -ENOSPC : 0);
		}
	assert_true(o.calls == 1 && o.err == -ENOSPC);
	assert_int_equal(o.by, PORT_BY_WORKER);
	world_close(&x);
}

/* What the broker may send instead, and what becomes of the port. */
static void test_wrong_answers_of_the_broker(void **state)
{
	static const struct {
		int err, family, type; /* type 0: no socket */
		bool listens, foreign;
		int told;
	} cases[] = {
		{0, 0, 0, false, false, -EPROTO},
		{0, AF_INET, SOCK_STREAM, false, false, -EPROTO},
		{0, AF_INET, SOCK_DGRAM, false, false, -EPROTO},
		{0, AF_INET6, SOCK_STREAM, true, false, -EPROTO},
		{0, AF_UNIX, SOCK_STREAM, false, false, -EPROTO},
		{0, AF_INET, SOCK_STREAM, true, true, -EPROTO},
		{5, 0, 0, false, false, -EPROTO},
		{5, AF_INET, SOCK_STREAM, true, false, -EPROTO},
		{5, AF_INET, SOCK_DGRAM, false, false, -EPROTO},
		{INT32_MAX, 0, 0, false, false, -EPROTO},
		{INT32_MIN, 0, 0, false, false, -EPROTO},
		{-EADDRINUSE, 0, 0, false, false, -EADDRINUSE},
		{-EADDRINUSE, AF_INET, SOCK_STREAM, true, false, -EADDRINUSE},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct broker_listen msg;
		struct outcome o;
		struct world x;
		int fd = -1;

		print_message("case %zu\n", i);
		world_open(&x);
		add(&x, 1, true, &o);
		msg = asked();
		if (cases[i].listens)
			fd = listening(cases[i].family, cases[i].type);
		else if (cases[i].type)
			fd = socket_of(cases[i].family, cases[i].type);
		x.dp->broker.cookie += cases[i].foreign;
		say(&x, &msg, cases[i].err, fd);
		assert_int_equal(o.calls, 1);
		assert_int_equal(o.err, cases[i].told);
		assert_int_equal(o.by, PORT_BY_BROKER);
		expect_silence();
		assert_true(address_is_free(&x));
		world_close(&x);
	}
}

/* A number that is no descriptor's business: the parent's own descriptors are what they were. */
static void test_positive_error_is_no_descriptor(void **state)
{
	auto_fd int mine = listening(AF_INET, SOCK_STREAM);
	struct broker_listen msg;
	struct outcome o;
	struct world x;

	(void)state;
	world_open(&x);
	add(&x, 1, true, &o);
	msg = asked();
	say(&x, &msg, mine, -1);
	assert_true(o.calls == 1 && o.err == -EPROTO);
	expect_silence();
	assert_int_equal(fcntl(mine, F_GETFD), FD_CLOEXEC);
	world_close(&x);
}

/* The namespace lacks the address: the port is served outside alone. */
static void test_address_that_is_not_inside(void **state)
{
	static const int errors[] = {-EADDRNOTAVAIL, -EAFNOSUPPORT};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		struct broker_listen msg;
		struct outcome o;
		struct world x;

		world_open(&x);
		add(&x, 1, true, &o);
		msg = asked();
		say(&x, &msg, errors[i], -1);
		expect_all(&x, DP_MSG_ADD, 1, 0);
		assert_true(o.calls == 1 && o.err == 0);
		world_close(&x);
	}
}

/* Sockets for ports that there are not, or for an earlier request: closed, nothing else. */
static void test_sockets_nobody_asked_for(void **state)
{
	struct broker_listen msg, stray;
	struct outcome o;
	struct world x;
	unsigned before;

	(void)state;
	world_open(&x);
	add(&x, 1, true, &o);
	msg = stray = asked();
	before = open_fds();
	stray.seq--;
	say(&x, &stray, 0, listening(AF_INET, SOCK_STREAM));
	stray = msg;
	stray.port_id = 9;
	say(&x, &stray, 0, listening(AF_INET, SOCK_STREAM));
	assert_int_equal(o.calls, 0);
	assert_int_equal(open_fds(), before);
	say(&x, &msg, 0, listening(AF_INET, SOCK_STREAM));
	before = open_fds();
	say(&x, &msg, 0, listening(AF_INET, SOCK_STREAM)); /* a second time */
	assert_int_equal(open_fds(), before);
	world_close(&x);
}

static void test_torn_answer_of_the_broker(void **state)
{
	struct broker_listen msg;
	struct outcome o;
	struct world x;
	int fd;

	(void)state;
	world_open(&x);
	add(&x, 1, true, &o);
	msg = asked();
	fd = listening(AF_INET, SOCK_STREAM);
	assert_int_equal(fdpass_send(far.broker, &msg, 5, &fd, 1, 0), 0);
	close(fd);
	turns(&x);
	assert_int_equal(far.hung_up, 1);
	assert_int_equal(o.calls, 0);
	/* The next broker is asked again. */
	dp_ports_ask_broker(x.dp, true);
	assert_int_equal(asked().port_id, 1);
	dp_ports_broker_hopeless(x.dp);
	turns(&x);
	assert_true(o.calls == 1 && o.err == -ECONNRESET);
	world_close(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_port_is_there_when_all_have_it),
		cmocka_unit_test(test_taken_address),
		cmocka_unit_test(test_refused_port_is_undone),
		cmocka_unit_test(test_removed_port_is_free),
		cmocka_unit_test(test_stray_answers_count_for_nothing),
		cmocka_unit_test(test_nonsense_ends_the_data_plane),
		cmocka_unit_test(test_full_channel_keeps_order),
		cmocka_unit_test(test_next_data_plane_gets_all_ports),
		cmocka_unit_test(test_deadly_port_is_refused),
		cmocka_unit_test(test_socket_inside_goes_to_one_worker),
		cmocka_unit_test(test_refused_port_with_a_socket_inside),
		cmocka_unit_test(test_wrong_answers_of_the_broker),
		cmocka_unit_test(test_positive_error_is_no_descriptor),
		cmocka_unit_test(test_address_that_is_not_inside),
		cmocka_unit_test(test_sockets_nobody_asked_for),
		cmocka_unit_test(test_torn_answer_of_the_broker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
