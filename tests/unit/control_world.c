/* SPDX-License-Identifier: Apache-2.0 */
#include "control_world.h"

#include "cmocka_all.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/fdpass.h"

struct control_far far;

/* What a worker has read, and not been asked about, by the descriptor of its end. */
static struct {
	struct dp_msg msgs[DP_MSGS_MAX];
	size_t at, n;
} inbox[256];

static struct loop *loop;

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
	assert_in_range(fds[1], 0, ARRAY_SIZE(inbox) - 1);
	inbox[fds[1]].at = inbox[fds[1]].n = 0;
	return fds[1];
}

int socket_of(int family, int type)
{
	return socket(family, type | SOCK_CLOEXEC, 0);
}

uint64_t own_cookie(void)
{
	auto_fd int fd = socket_of(AF_INET, SOCK_DGRAM);
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	/* Linux before 5.14 has none. */
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) < 0)
		assert_int_equal(errno, ENOPROTOOPT);
	return cookie;
}

void plane_up(struct dataplane *dp)
{
	int ours[WORKERS];

	for (unsigned i = 0; i < WORKERS; i++)
		far.control[i] = pair(&ours[i]);
	assert_int_equal(dp_channels_open(dp->channels, dp, ours), 0);
	dp->plane.state = DP_CHILD_UP;
}

void plane_down(struct dataplane *dp, bool hopeless)
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
	dp_fds_init(far.next, WORKERS);
	dp->plane.dp = dp->broker.dp = dp;
	dp->plane.boot_fd = -1;
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
	if (child == &child->dp->reload.plane)
		dp_fds_close(far.next, WORKERS);
}

bool dp_has_router(const struct dataplane *dp)
{
	return dp->config.outward != NULL;
}

int dp_child_start_next(struct dp_child *child, struct err *e)
{
	if (!far.may_start)
		return err_set(e, -ENOSYS, "no processes here");
	child->state = DP_CHILD_STARTING;
	return 0;
}

int dp_plane_boot_next(struct dataplane *dp)
{
	int ours[WORKERS];

	for (unsigned i = 0; i < WORKERS; i++)
		far.next[i] = pair(&ours[i]);
	return dp_channels_open(dp->reload.channels, dp, ours);
}

void dp_child_adopt(struct dp_child *to, struct dp_child *from)
{
	to->state = from->state;
	from->state = DP_CHILD_DOWN;
	for (unsigned i = 0; i < WORKERS && to == &to->dp->plane; i++) {
		close_fd(&far.control[i]);
		far.control[i] = steal_fd(&far.next[i]);
	}
}

void dp_child_start_over(struct dp_child *child)
{
	(void)child;
	far.started_over++;
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

/* The table's half: a port, and how it was settled. */
static struct port *table[PORTS_MAX];
static struct outcome *outcomes[PORTS_MAX];

static void on_settled(struct port *port, enum port_settler by, const struct err *e)
{
	struct outcome *o = outcomes[port->id];

	o->calls++;
	o->err = e ? e->code : 0;
	o->by = by;
	snprintf(o->message, sizeof(o->message), "%s", e ? e->msg : "");
}

struct port *port_of(int id, struct outcome *o)
{
	if (!table[id])
		table[id] = calloc(1, sizeof(struct port) + sizeof(struct dp_port));
	assert_non_null(table[id]);
	table[id]->id = id;
	table[id]->settled = on_settled;
	outcomes[id] = o;
	return table[id];
}

void take_away(struct world *x, int id, struct outcome *o)
{
	*o = (struct outcome){.calls = 0};
	dataplane_port_remove(x->dp, port_of(id, o));
}

unsigned open_fds(void)
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

void world_open(struct world *x)
{
	struct dataplane_config config = {.workers = WORKERS};

	x->fds = open_fds();
	assert_int_equal(loop_open(&x->loop), 0);
	loop = x->loop;
	memset(inbox, 0, sizeof(inbox));
	assert_int_equal(dataplane_open(x->loop, &config, &x->dp, NULL), 0);
}

void world_close(struct world *x)
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

void turns(struct world *x)
{
	for (int i = 0; i < 20; i++)
		assert_int_equal(loop_run_once(x->loop, 0), 0);
	usleep(1000);
	assert_int_equal(loop_run_once(x->loop, 0), 0);
}

struct port_route route_to(struct world *x, bool inside)
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

void add(struct world *x, int id, bool inside, struct outcome *o)
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

/* Reads what is sent at once. */
static void read_inbox(int end)
{
	struct dp_msg *msgs = inbox[end].msgs;
	int fds[DP_MSGS_MAX];
	size_t n_fds = DP_MSGS_MAX, brought = 0, n;
	ssize_t len = fdpass_recv(end, msgs, sizeof(inbox[end].msgs), fds, &n_fds, MSG_DONTWAIT);

	if (len == -EAGAIN)
		return;
	assert_true(len > 0 && (size_t)len % sizeof(*msgs) == 0);
	n = (size_t)len / sizeof(*msgs);
	for (size_t i = 0; i < n; i++) {
		bool brings = msgs[i].type == DP_MSG_ADD || msgs[i].type == DP_MSG_HAND_OVER ||
			      msgs[i].type == DP_MSG_TAKE_OVER || msgs[i].type == DP_MSG_NEW_BROKER;

		assert_int_equal(msgs[i].brings_fd, brings);
		brought += brings;
	}
	assert_int_equal(n_fds, brought);
	fdpass_close(fds, n_fds);
	inbox[end].at = 0;
	inbox[end].n = n;
}

struct dp_msg told_at(int end)
{
	assert_int_equal(loop_run_once(loop, 0), 0); /* what has been posted leaves */
	assert_in_range(end, 0, ARRAY_SIZE(inbox) - 1);
	if (inbox[end].at == inbox[end].n)
		read_inbox(end);
	if (inbox[end].at == inbox[end].n)
		return (struct dp_msg){.type = 0};
	return inbox[end].msgs[inbox[end].at++];
}

struct dp_msg told(unsigned worker)
{
	return told_at(far.control[worker]);
}

struct dp_msg expect_told(unsigned worker, enum dp_msg_type type, int id)
{
	struct dp_msg msg = told(worker);

	assert_int_equal(msg.type, type);
	assert_int_equal(msg.port_id, id);
	return msg;
}

void expect_silence(void)
{
	for (unsigned i = 0; i < WORKERS; i++)
		assert_int_equal(told(i).type, 0);
}

void answer(struct world *x, unsigned worker, const struct dp_msg *to, int err)
{
	struct dp_msg msg = {
		.type = DP_MSG_DONE, .seq = to->seq, .port_id = to->port_id, .err = err};

	assert_int_equal(fdpass_send(far.control[worker], &msg, sizeof(msg), NULL, 0, 0), 0);
	turns(x);
}

void expect_all(struct world *x, enum dp_msg_type type, int id, int err)
{
	for (unsigned i = 0; i < WORKERS; i++) {
		struct dp_msg msg = expect_told(i, type, id);

		answer(x, i, &msg, err);
	}
}

bool address_is_free(const struct world *x)
{
	auto_fd int fd = socket_of(AF_INET, SOCK_STREAM);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	a.sin_port = x->port;
	return bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
}

void add_live(struct world *x, int id)
{
	struct outcome o;

	add(x, id, false, &o);
	expect_all(x, DP_MSG_ADD, id, 0);
	assert_true(o.calls == 1 && o.err == 0);
	assert_int_equal(o.by, PORT_BY_WORKER);
}
