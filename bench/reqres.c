/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to the echo server: N connections, each with one request under way at a time.
 *
 * Connections are kept. With --reconnect each request has a connection of its own, and waits for
 * the server's end of stream, so that the latency is that of connect, request, reply and close. The
 * first byte of each request is a counter, which the reply must repeat.
 */
#include "hist.h"
#include "program.h"
#include "util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQRES_SIZE_MAX (1u << 20)
#define PATIENCE_NS	(10 * UTIL_NSEC_PER_SEC)

struct conn {
	int fd;
	uint8_t serial;
	bool connecting;
	size_t received;
	uint64_t started_ns;
};

static struct {
	const char *host;
	uint16_t port;
	size_t conns;
	size_t size;
	bool reconnect;
	uint64_t warmup_ns;
	uint64_t duration_ns;
} cfg = {"127.0.0.1", 10002, 1, 64, false, UTIL_NSEC_PER_SEC / 20, UTIL_NSEC_PER_SEC};

static int epoll_fd = -1;
static uint64_t count_from_ns;
static uint64_t count_until_ns;
static uint64_t failures;
static uint64_t stuck;
static struct hist latency;
static char request[REQRES_SIZE_MAX];

static void conn_watch(struct conn *conn, int op, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = conn};

	if (epoll_ctl(epoll_fd, op, conn->fd, &event))
		die_errno("epoll_ctl");
}

/* Sends a request. Returns false while the connection is still being made: call it again when the
 * socket is writable. */
static bool conn_request(struct conn *conn)
{
	ssize_t n;

	request[0] = (char)(conn->serial + 1);
	n = send(conn->fd, request, cfg.size, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN && conn->connecting)
		return false;
	conn->serial++;
	conn->received = 0;
	/* The socket is empty, so a short send means that its buffer is smaller than the request.
	 */
	if (n >= 0 && (size_t)n < cfg.size)
		die("the socket took %zd of %zu bytes; use a smaller --size", n, cfg.size);
	if (n < 0 && !cfg.reconnect)
		die_errno("send");
	/* After a failed send the next recv() returns what has become of the connection. */
	return true;
}

/* A run without an answer goes on, but not for ever: a forwarder that starts two programs for a
 * connection may need longer for it, on a busy machine, than a short run takes. */
static bool run_is_over(uint64_t now)
{
	while (now >= count_until_ns) {
		if (latency.count > 0 || count_until_ns - count_from_ns >= PATIENCE_NS)
			return true;
		count_until_ns += cfg.duration_ns;
	}
	return false;
}

/* Opens the connection and sends at once. On loopback the handshake is mostly over when connect()
 * returns, although that returns EINPROGRESS. When the handshake takes longer, because the
 * listener's backlog is full, the other connections go on. */
static void conn_open(struct conn *conn)
{
	conn->started_ns = now_ns();
	conn->fd = net_connect(cfg.host, cfg.port, SOCK_STREAM | SOCK_NONBLOCK);
	conn->connecting = true;
	if (conn_request(conn)) {
		conn->connecting = false;
		conn_watch(conn, EPOLL_CTL_ADD, EPOLLIN | EPOLLRDHUP);
	} else {
		conn_watch(conn, EPOLL_CTL_ADD, EPOLLOUT);
	}
}

static void conn_done(struct conn *conn)
{
	const uint64_t now = now_ns();
	const bool over = run_is_over(now);

	if (conn->started_ns >= count_from_ns && now <= count_until_ns)
		hist_add(&latency, now - conn->started_ns);
	if (over)
		return;
	if (cfg.reconnect) {
		conn_open(conn);
		return;
	}
	conn->started_ns = now;
	conn_request(conn);
}

static void conn_lost(struct conn *conn)
{
	failures++;
	if (!cfg.reconnect)
		die("a kept connection ended early: %s", strerror(errno));
	close(conn->fd);
	if (!run_is_over(now_ns()))
		conn_open(conn);
}

static void conn_handle(struct conn *conn)
{
	static char buf[256 * 1024];
	ssize_t n;

	if (conn->connecting) {
		if (!conn_request(conn))
			return;
		conn->connecting = false;
		conn_watch(conn, EPOLL_CTL_MOD, EPOLLIN | EPOLLRDHUP);
		return;
	}
	n = recv(conn->fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		if (n || !cfg.reconnect || conn->received < cfg.size) {
			conn_lost(conn);
			return;
		}
		close(conn->fd);
		conn_done(conn);
		return;
	}
	if (!conn->received && (uint8_t)buf[0] != conn->serial)
		die("the reply does not belong to the request");
	conn->received += (size_t)n;
	if (conn->received > cfg.size)
		die("the reply is longer than the request");
	if (conn->received == cfg.size && !cfg.reconnect)
		conn_done(conn);
}

/* Counts requests that have waited for half of the run or longer. Without them the latencies would
 * be too good: each counts with the time that it has waited, and as stuck. */
static void count_stuck(const struct conn *conns)
{
	for (size_t i = 0; i < cfg.conns; i++) {
		if (conns[i].started_ns + (count_until_ns - count_from_ns) / 2 > count_until_ns)
			continue;
		stuck++;
		hist_add(&latency, count_until_ns - conns[i].started_ns);
	}
}

static void run(void)
{
	struct conn *conns = calloc(cfg.conns, sizeof(*conns));
	struct epoll_event events[256];

	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0 || !conns)
		die_errno("epoll");
	count_until_ns = UINT64_MAX;
	count_from_ns = UINT64_MAX;
	for (size_t i = 0; i < cfg.conns; i++)
		conn_open(&conns[i]);
	count_from_ns = now_ns() + cfg.warmup_ns;
	count_until_ns = count_from_ns + cfg.duration_ns;
	while (!run_is_over(now_ns())) {
		int n = epoll_wait(epoll_fd, events, 256, 100);

		for (int i = 0; i < n; i++)
			conn_handle(events[i].data.ptr);
	}
	count_stuck(conns);
	free(conns);
}

static void print_result(void)
{
	const uint64_t requests = latency.count - stuck;
	const double seconds = (double)(count_until_ns - count_from_ns) / 1e9;

	printf("{\"conns\": %zu, \"size\": %zu, \"seconds\": %.4f, \"requests\": %llu, "
	       "\"failures\": %llu, \"stuck\": %llu, \"rps\": %.1f, ",
	       cfg.conns, cfg.size, seconds, (unsigned long long)requests,
	       (unsigned long long)failures, (unsigned long long)stuck, (double)requests / seconds);
	hist_print_json(&latency);
	printf("}\n");
}

static void measure(char **words, size_t nofile)
{
	(void)words;
	(void)nofile;
	run();
	print_result();
}

static const struct setting settings[] = {
	TEXT("host", cfg.host),
	NUMBER("port", cfg.port, 1, 65535),
	NUMBER("conns", cfg.conns, 1, 100000),
	NUMBER("size", cfg.size, 1, REQRES_SIZE_MAX),
	SECONDS("seconds", cfg.duration_ns),
	SECONDS("warmup", cfg.warmup_ns),
	FLAG("reconnect", cfg.reconnect),
	{.name = NULL},
};

const struct program program = {
	.usage = "reqres [--host=A] [--port=P] [--conns=N] [--size=BYTES] "
		 "[--seconds=S] [--warmup=S] [--reconnect]",
	.settings = settings,
	.run = measure,
};
