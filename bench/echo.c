/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server of the request benchmarks: one epoll loop that sends back what it receives. With
 * --close-after=N it closes a connection after N bytes, before the client does, as an HTTP server
 * does on "Connection: close". The server then has the socket in TIME_WAIT, and a client can open
 * connections for ever without running out of local ports.
 */
#include "program.h"
#include "util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ECHO_BUF (64 * 1024)

struct conn {
	int fd;
	uint64_t echoed;
	/* Bytes that the client has not taken yet; NULL: there are none. */
	char *rest;
	size_t rest_len;
};

static int epoll_fd = -1;
static uint64_t close_after;

static void conn_close(struct conn *conn)
{
	close(conn->fd);
	free(conn->rest);
	free(conn);
}

static void conn_watch(struct conn *conn, int op, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = conn};

	if (epoll_ctl(epoll_fd, op, conn->fd, &event))
		die_errno("epoll_ctl");
}

/* Returns how many bytes were taken, or -1 when the connection is lost. */
static ssize_t conn_send(struct conn *conn, const char *buf, size_t len)
{
	ssize_t n = send(conn->fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN ? 0 : -1;
	conn->echoed += (uint64_t)n;
	return n;
}

/* Returns false when the connection is over. */
static bool conn_flush(struct conn *conn)
{
	ssize_t n = conn_send(conn, conn->rest, conn->rest_len);

	if (n < 0)
		return false;
	conn->rest_len -= (size_t)n;
	memmove(conn->rest, conn->rest + n, conn->rest_len);
	if (!conn->rest_len) {
		free(conn->rest);
		conn->rest = NULL;
		conn_watch(conn, EPOLL_CTL_MOD, EPOLLIN);
	}
	return true;
}

static void conn_keep_rest(struct conn *conn, const char *buf, size_t len)
{
	conn->rest = malloc(len);
	if (!conn->rest)
		die("out of memory");
	memcpy(conn->rest, buf, len);
	conn->rest_len = len;
	conn_watch(conn, EPOLL_CTL_MOD, EPOLLOUT);
}

static bool conn_echo(struct conn *conn)
{
	static char buf[ECHO_BUF];
	ssize_t n = recv(conn->fd, buf, sizeof(buf), MSG_DONTWAIT);
	ssize_t out;

	if (n < 0)
		return errno == EAGAIN;
	if (!n)
		return false;
	out = conn_send(conn, buf, (size_t)n);
	if (out < 0)
		return false;
	if (out < n)
		conn_keep_rest(conn, buf + out, (size_t)(n - out));
	return true;
}

static void conn_handle(struct conn *conn)
{
	bool alive = conn->rest ? conn_flush(conn) : conn_echo(conn);

	if (!alive || (close_after && conn->echoed >= close_after))
		conn_close(conn);
}

static void accept_all(int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct conn *conn = calloc(1, sizeof(*conn));

		if (!conn)
			die("out of memory");
		conn->fd = fd;
		conn_watch(conn, EPOLL_CTL_ADD, EPOLLIN);
	}
	if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
		die_errno("accept");
}

static _Noreturn void serve(int listener)
{
	struct epoll_event events[256];
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event))
		die_errno("epoll");
	announce_ready();
	for (;;) {
		int n = epoll_wait(epoll_fd, events, 256, -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr)
				conn_handle(events[i].data.ptr);
			else
				accept_all(listener);
		}
	}
}

static const char *host = "127.0.0.1";
static uint16_t port = 10002;

static void run(char **words, size_t nofile)
{
	(void)words;
	(void)nofile;
	serve(net_listen(host, port, SOCK_STREAM | SOCK_NONBLOCK));
}

static const struct setting settings[] = {
	TEXT("host", host),
	NUMBER("port", port, 1, 65535),
	NUMBER("close-after", close_after, 1, 1 << 30),
	{.name = NULL},
};

const struct program program = {
	.usage = "echo [--host=A] [--port=P] [--close-after=BYTES]",
	.settings = settings,
	.run = run,
};
