/* SPDX-License-Identifier: Apache-2.0 */
/* Both back ends on the real kernel. */
#include "cmocka_all.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fdpass.h"
#include "dataplane/io/handle.h"
#include "dataplane/io/io.h"
#include "loopback.h"

#define SOON_NS 5000000000ull

static const struct io_config config = {.entries = 16, .n_bufs = 4, .buf_size = 2048};

static uint32_t held[4];

static struct io *open_io(bool uring)
{
	struct io *io = NULL;
	int code = uring ? io_uring_open(&config, &io) : io_epoll_open(&config, &io);

	if (code < 0) {
		print_message("no io_uring as of Linux 6.1: %s\n", strerror(-code));
		skip();
	}
	for (unsigned kind = 0; kind < IO_ACCEPTS; kind++)
		io->accepts_left[kind] = 1000;
	memset(held, 0, sizeof(held));
	io->accepts_held = held;
	return io;
}

static int client(const struct sockaddr_in *addr)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (const struct sockaddr *)addr, sizeof(*addr)), 0);
	return fd;
}

static uint64_t accept_handle(uint32_t gen)
{
	return handle_pack(HANDLE_ACCEPT, 0, gen, 3);
}

/* Waits for n events, for as long as SOON_NS. Returns how many came. */
static unsigned next_events(struct io *io, struct io_event *events, unsigned n)
{
	uint64_t end_ns = io->ops->now_ns(io) + SOON_NS;
	unsigned got = 0;

	memset(events, 0, n * sizeof(*events));
	while (got < n && io->ops->now_ns(io) < end_ns) {
		int code = io->ops->wait(io, events + got, n - got, end_ns);

		assert_true(code >= 0);
		got += (unsigned)code;
	}
	return got;
}

/* Submits what has been started. Nothing completes yet. */
static void submit(struct io *io)
{
	struct io_event ev;

	assert_int_equal(io->ops->wait(io, &ev, 1, 0), 0);
}

static void assert_accepted(struct io *io, const struct io_event *ev, uint64_t handle)
{
	assert_true(ev->handle == handle);
	assert_true(ev->more);
	assert_true(ev->res >= 0);
	io->ops->close_fd(io, ev->res);
}

/* A data plane that was killed leaves its operations in the kernel for a while. The next one has
 * the same listening socket, and must hear of each connection all the same. */
static void accept_beside_one_that_is_gone(bool uring)
{
	struct sockaddr_in addr;
	int fd = listener_on_loopback(&addr);
	struct io *gone = open_io(uring), *io = open_io(uring);
	struct io_event ev;

	gone->ops->accept(gone, fd, accept_handle(1));
	submit(gone);
	io->ops->accept(io, fd, accept_handle(1));
	submit(io);
	for (int i = 0; i < 3; i++) {
		int c = client(&addr);

		assert_int_equal(next_events(io, &ev, 1), 1);
		assert_accepted(io, &ev, accept_handle(1));
		close(c);
	}
	io->ops->close(io);
	gone->ops->close(gone);
	close(fd);
}

/* More connections come than events fit. Then the operation is cancelled, and its end comes once,
 * whether connections wait or not. */
static void accept_until_cancelled(bool uring)
{
	struct sockaddr_in addr;
	int fd = listener_on_loopback(&addr), clients[5];
	struct io *io = open_io(uring);
	struct io_event events[4];

	io->ops->accept(io, fd, accept_handle(1));
	submit(io);
	for (int i = 0; i < 5; i++)
		clients[i] = client(&addr);
	for (unsigned at = 0; at < 5;) {
		unsigned n = next_events(io, events, at < 4 ? 2 : 1);

		assert_true(n > 0);
		for (unsigned i = 0; i < n; i++, at++)
			assert_accepted(io, &events[i], accept_handle(1));
	}
	submit(io);
	io->ops->cancel(io, fd, accept_handle(1));
	assert_int_equal(next_events(io, events, 1), 1);
	assert_false(events[0].more);
	assert_int_equal(events[0].res, -ECANCELED);
	submit(io);
	/* The next port in the same slot. */
	io->ops->accept(io, fd, accept_handle(2));
	submit(io);
	close(clients[0]);
	clients[0] = client(&addr);
	io->ops->cancel(io, fd, accept_handle(2));
	for (bool more = true; more;) {
		assert_int_equal(next_events(io, events, 1), 1);
		more = events[0].more;
		if (more)
			assert_accepted(io, &events[0], accept_handle(2));
		else
			assert_int_equal(events[0].res, -ECANCELED);
	}
	submit(io);
	for (int i = 0; i < 5; i++)
		close(clients[i]);
	io->ops->close(io);
	close(fd);
}

/* No more connections are accepted than there is room for. Room for the way out does not count. */
static void accept_as_many_as_may_be(bool uring)
{
	struct sockaddr_in addr;
	int fd = listener_on_loopback(&addr), clients[3];
	struct io *io = open_io(uring);
	struct io_event events[3];

	io->accepts_left[IO_ACCEPTS_PUBLISHED] = 2;
	io->accepts_left[IO_ACCEPTS_OUTWARD] = 0;
	io->ops->accept(io, fd, accept_handle(1));
	for (int i = 0; i < 3; i++)
		clients[i] = client(&addr);
	assert_int_equal(next_events(io, events, 3), 3);
	assert_accepted(io, &events[0], accept_handle(1));
	assert_accepted(io, &events[1], accept_handle(1));
	assert_int_equal(events[2].res, -EMFILE);
	assert_false(events[2].more);
	submit(io);
	/* The third connection still waits. */
	io->accepts_left[IO_ACCEPTS_PUBLISHED] = 1;
	io->ops->accept(io, fd, accept_handle(2));
	assert_int_equal(next_events(io, events, 1), 1);
	assert_accepted(io, &events[0], accept_handle(2));
	for (int i = 0; i < 3; i++)
		close(clients[i]);
	io->ops->close(io);
	close(fd);
}

/* A port that holds seven times what is left gets no more connections. Those that it has just got
 * count. */
static void accept_leaves_others_their_share(bool uring)
{
	struct sockaddr_in addr;
	int fd = listener_on_loopback(&addr), clients[2];
	struct io *io = open_io(uring);
	struct io_event events[2];

	io->accepts_left[IO_ACCEPTS_PUBLISHED] = 3;
	held[3] = 13;
	io->ops->accept(io, fd, accept_handle(1));
	for (int i = 0; i < 2; i++)
		clients[i] = client(&addr);
	assert_int_equal(next_events(io, events, 2), 2);
	assert_accepted(io, &events[0], accept_handle(1));
	assert_int_equal(events[1].res, -EDQUOT);
	assert_int_equal(held[3], 14);
	assert_int_equal(io->accepts_left[IO_ACCEPTS_PUBLISHED], 2);
	held[3] = 13;
	io->ops->accept(io, fd, accept_handle(2));
	assert_int_equal(next_events(io, events, 1), 1);
	assert_accepted(io, &events[0], accept_handle(2));
	for (int i = 0; i < 2; i++)
		close(clients[i]);
	io->ops->close(io);
	close(fd);
}

/* A socket that cannot accept makes one event, which says so. */
static void accept_fails(bool uring)
{
	struct io *io = open_io(uring);
	struct sockaddr_in addr;
	int fd = listener_on_loopback(&addr), c;
	struct io_event ev;

	c = client(&addr);
	io->ops->accept(io, c, accept_handle(1));
	shutdown(c, SHUT_RDWR); /* readable, but no listening socket */
	assert_int_equal(next_events(io, &ev, 1), 1);
	assert_false(ev.more);
	assert_int_equal(ev.res, -EINVAL);
	io->ops->close(io);
	close(c);
	close(fd);
}

/* The time in the backlog begins with the handshake, whatever the client sends meanwhile. */
static void backlog_time(bool uring)
{
	struct io *io = open_io(uring);
	struct sockaddr_in addr;
	int l = listener_on_loopback(&addr), c, fd;
	uint64_t begun_ns = io->ops->now_ns(io), connected_ns;
	int64_t ms;

	c = client(&addr);
	connected_ns = io->ops->now_ns(io);
	while (io->ops->now_ns(io) - connected_ns < 100 * 1000000ull) {
		poll(NULL, 0, 30);
		assert_int_equal(send(c, "x", 1, 0), 1);
	}
	fd = accept4(l, NULL, NULL, SOCK_CLOEXEC);
	ms = io->ops->backlog_ms(io, fd);
	/* The time is exact to a tick, of at most 10 ms. In an emulated machine ticks come late and
	 * in bunches. */
	assert_in_range(ms, 90, (io->ops->now_ns(io) - begun_ns) / 1000000 + 100);
	assert_true(io->ops->backlog_ms(io, -1) < 0);
	close(fd);
	close(c);
	close(l);
	io->ops->close(io);
}

/* Each back end has all calls, since a worker does not ask whether a call exists. */
static void has_every_call(bool uring)
{
	struct io *io = open_io(uring);
	void *const *calls = (void *const *)io->ops;

	for (size_t i = 0; i < sizeof(*io->ops) / sizeof(void *); i++)
		assert_non_null(calls[i]);
	io->ops->close(io);
}

/* A channel's events: it is readable, a message is read, it is full, it has room again. */
static void channel(bool uring)
{
	struct io *io = open_io(uring);
	uint64_t in = handle_pack(HANDLE_CONTROL, 0, 0, 0);
	uint64_t out = handle_pack(HANDLE_ANSWERS, 0, 0, 0);
	int fds[2], got[2];
	size_t n = 2;
	bool lost;
	struct io_event ev;
	char buf[2048] = "";

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	io->ops->poll(io, fds[0], POLLIN, in);
	submit(io);
	assert_int_equal(fdpass_send(fds[1], "hello", 5, &fds[1], 1, 0), 0);
	assert_int_equal(next_events(io, &ev, 1), 1);
	assert_true(ev.handle == in && ev.res & POLLIN);
	assert_int_equal(io->ops->msg_recv(io, fds[0], buf, sizeof(buf), got, &n, &lost), 5);
	assert_int_equal(n, 1);
	assert_false(lost);
	io->ops->close_fd(io, got[0]);
	n = 2;
	assert_int_equal(io->ops->msg_recv(io, fds[0], buf, sizeof(buf), got, &n, &lost), -EAGAIN);
	while (io->ops->msg_send(io, fds[0], buf, sizeof(buf)) == 0)
		;
	assert_int_equal(io->ops->msg_send(io, fds[0], buf, sizeof(buf)), -EAGAIN);
	io->ops->poll(io, fds[0], POLLIN, in);
	io->ops->poll(io, fds[0], POLLOUT, out);
	submit(io);
	while (recv(fds[1], buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
	assert_int_equal(next_events(io, &ev, 1), 1);
	assert_true(ev.handle == out && ev.res & POLLOUT);
	close(fds[1]);
	assert_int_equal(next_events(io, &ev, 1), 1);
	assert_true(ev.handle == in);
	n = 2;
	assert_int_equal(io->ops->msg_recv(io, fds[0], buf, sizeof(buf), got, &n, &lost), 0);
	io->ops->close_fd(io, fds[0]);
	io->ops->close(io);
}

static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	/* Linux before 5.14 has no cookie. */
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) < 0)
		assert_int_equal(errno, ENOPROTOOPT);
	return cookie;
}

/* Only a new socket of the wanted family, type, protocol and namespace passes. */
static void socket_check(bool uring)
{
	struct io *io = open_io(uring);
	struct sockaddr_in addr, any = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int server = listener_on_loopback(&addr), connected = client(&addr);
	struct io_sock tcp4 = {AF_INET, SOCK_STREAM, IPPROTO_TCP, cookie_of(fd)}, want = tcp4;

	assert_true(io->ops->sock_check(io, fd, &tcp4));
	assert_false(io->ops->sock_check(io, udp, &tcp4));
	assert_false(io->ops->sock_check(io, server, &tcp4));
	assert_false(io->ops->sock_check(io, connected, &tcp4));
	assert_false(io->ops->sock_check(io, -1, &tcp4));
	want.family = AF_INET6;
	assert_false(io->ops->sock_check(io, fd, &want));
	want = tcp4;
	want.protocol = IPPROTO_SCTP;
	assert_false(io->ops->sock_check(io, fd, &want));
	want = tcp4;
	want.netns_cookie++;
	assert_false(io->ops->sock_check(io, fd, &want));
	want.netns_cookie = 0;
	assert_true(io->ops->sock_check(io, fd, &want));
	assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof(any)), 0);
	assert_false(io->ops->sock_check(io, fd, &tcp4));
	want = (struct io_sock){AF_INET, SOCK_DGRAM, IPPROTO_UDP, tcp4.netns_cookie};
	assert_true(io->ops->sock_check(io, udp, &want));
	assert_int_equal(connect(udp, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_false(io->ops->sock_check(io, udp, &want));
	io->ops->close(io);
	close(fd);
	close(udp);
	close(server);
	close(connected);
}

/* A wait that looks before it sleeps sees what comes meanwhile and what was there, and heeds its
 * deadline. */
static void looks(bool uring)
{
	uint64_t handle = handle_pack(HANDLE_TCP_READ, 0, 1, 1), began_ns;
	struct io *io = open_io(uring);
	struct io_event ev;
	int fds[2], status;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
			 0);
	io->look_ns = UINT32_MAX; /* 4 s */
	io->ops->poll(io, fds[0], POLLIN, handle);
	began_ns = io->ops->now_ns(io);
	while (io->ops->now_ns(io) <
	       began_ns + 2000000) /* edges that are no event end waits, too */
		assert_int_equal(io->ops->wait(io, &ev, 1, began_ns + 2000000), 0);
	assert_true(io->ops->now_ns(io) - began_ns < 2000000000);
	pid = fork();
	if (pid == 0) {
		usleep(2000);
		_exit(write(fds[1], "x", 1) != 1);
	}
	assert_int_equal(next_events(io, &ev, 1), 1);
	assert_true(ev.handle == handle && ev.res & POLLIN);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	io->ops->poll(io, fds[0], POLLIN, handle);
	assert_int_equal(next_events(io, &ev, 1), 1);
	io->ops->close_fd(io, fds[0]);
	close(fds[1]);
	io->ops->close(io);
}

#define BOTH(name)                                                                                 \
	static void test_uring_##name(void **state)                                                \
	{                                                                                          \
		(void)state;                                                                       \
		name(true);                                                                        \
	}                                                                                          \
	static void test_epoll_##name(void **state)                                                \
	{                                                                                          \
		(void)state;                                                                       \
		name(false);                                                                       \
	}

BOTH(accept_beside_one_that_is_gone)
BOTH(accept_until_cancelled)
BOTH(accept_as_many_as_may_be)
BOTH(accept_leaves_others_their_share)
BOTH(accept_fails)
BOTH(backlog_time)
BOTH(has_every_call)
BOTH(channel)
BOTH(socket_check)
BOTH(looks)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_uring_accept_beside_one_that_is_gone),
		cmocka_unit_test(test_epoll_accept_beside_one_that_is_gone),
		cmocka_unit_test(test_uring_accept_until_cancelled),
		cmocka_unit_test(test_epoll_accept_until_cancelled),
		cmocka_unit_test(test_uring_accept_as_many_as_may_be),
		cmocka_unit_test(test_epoll_accept_as_many_as_may_be),
		cmocka_unit_test(test_uring_accept_leaves_others_their_share),
		cmocka_unit_test(test_epoll_accept_leaves_others_their_share),
		cmocka_unit_test(test_uring_accept_fails),
		cmocka_unit_test(test_epoll_accept_fails),
		cmocka_unit_test(test_uring_backlog_time),
		cmocka_unit_test(test_epoll_backlog_time),
		cmocka_unit_test(test_uring_has_every_call),
		cmocka_unit_test(test_epoll_has_every_call),
		cmocka_unit_test(test_uring_channel),
		cmocka_unit_test(test_epoll_channel),
		cmocka_unit_test(test_uring_socket_check),
		cmocka_unit_test(test_epoll_socket_check),
		cmocka_unit_test(test_uring_looks),
		cmocka_unit_test(test_epoll_looks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
