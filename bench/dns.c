/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Name server queries: N under way at a time, each from a socket of its own, as a resolver library
 * sends them. The server (--listen) answers that no name exists. That answer has the query's size.
 */
#include "hist.h"
#include "program.h"
#include "util.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define DNS_HEADER   12
#define DNS_SIZE     31 /* bytes of the query for bench.example, type A */
#define DNS_WAIT_MS  1000
#define DNS_NXDOMAIN 3

static struct {
	const char *host;
	uint16_t port;
	size_t queries;
	bool listens;
	uint64_t duration_ns;
} cfg = {.host = "127.0.0.1", .port = 53, .queries = 16, .duration_ns = UTIL_NSEC_PER_SEC};

/* --- the server --- */

static void serve(void)
{
	const int fd = net_listen(cfg.host, cfg.port, SOCK_DGRAM);
	struct sockaddr_storage from;
	uint8_t buf[512];

	announce_ready();
	for (;;) {
		socklen_t from_len = sizeof(from);
		ssize_t n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &from_len);

		if (n < DNS_HEADER || buf[2] & 0x80)
			continue;
		buf[2] |= 0x80;
		buf[3] = 0x80 | DNS_NXDOMAIN;
		sendto(fd, buf, (size_t)n, 0, (struct sockaddr *)&from, from_len);
	}
}

/* --- the client --- */

struct query {
	int fd;
	uint16_t id;
	uint64_t sent_ns;
};

static int epoll_fd = -1;
static uint64_t until_ns;
static uint64_t lost;
static uint16_t last_id;
static struct hist latency;

static void query_send(struct query *query)
{
	static const uint8_t name[] = "\5bench\7example"; /* its zero ends the name */
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = query};
	uint8_t text[DNS_SIZE] = {0};
	const size_t len = DNS_HEADER + sizeof(name) + 4;

	static_assert(DNS_HEADER + sizeof(name) + 4 == sizeof(text), "the size of the query");
	query->id = ++last_id;
	query->sent_ns = now_ns();
	query->fd = net_connect(cfg.host, cfg.port, SOCK_DGRAM | SOCK_NONBLOCK);
	text[0] = (uint8_t)(query->id >> 8);
	text[1] = (uint8_t)query->id;
	text[2] = 1; /* recursion desired */
	text[5] = 1; /* one question */
	memcpy(text + DNS_HEADER, name, sizeof(name));
	text[len - 3] = 1; /* type A */
	text[len - 1] = 1; /* class IN */
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, query->fd, &event))
		die_errno("epoll_ctl");
	/* A query that cannot be sent is found by the time-out, like one that is lost on the way.
	 */
	(void)send(query->fd, text, len, MSG_NOSIGNAL);
}

static void query_again(struct query *query)
{
	close(query->fd);
	query_send(query);
}

static void query_answer(struct query *query)
{
	const uint64_t now = now_ns();
	uint8_t buf[512];
	ssize_t n = recv(query->fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == ECONNREFUSED))
		return;
	if (n < DNS_HEADER || buf[0] != query->id >> 8 || buf[1] != (query->id & 0xff) ||
	    !(buf[2] & 0x80))
		die("the answer is not that to the query");
	if ((buf[3] & 15) != DNS_NXDOMAIN)
		lost++; /* a forwarder on the way has refused the query */
	else if (now <= until_ns)
		hist_add(&latency, now - query->sent_ns);
	query_again(query);
}

static void ask(void)
{
	struct query *queries = calloc(cfg.queries, sizeof(*queries));
	struct epoll_event events[256];

	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0 || !queries)
		die_errno("epoll");
	until_ns = now_ns() + cfg.duration_ns;
	for (size_t i = 0; i < cfg.queries; i++)
		query_send(&queries[i]);
	while (now_ns() < until_ns) {
		int n = epoll_wait(epoll_fd, events, 256, 100);

		for (int i = 0; i < n; i++)
			query_answer(events[i].data.ptr);
		for (size_t i = 0; n <= 0 && i < cfg.queries; i++) {
			if (now_ns() - queries[i].sent_ns < DNS_WAIT_MS * UINT64_C(1000000))
				continue;
			lost++;
			query_again(&queries[i]);
		}
	}
	/* A query that has waited for half of the run counts as lost, since the latencies lack it.
	 */
	for (size_t i = 0; i < cfg.queries; i++)
		if (queries[i].sent_ns + cfg.duration_ns / 2 < until_ns)
			lost++;
	free(queries);
	printf("{\"queries\": %zu, \"seconds\": %.4f, \"requests\": %llu, \"failures\": %llu, "
	       "\"rps\": %.1f, ",
	       cfg.queries, (double)cfg.duration_ns / 1e9, (unsigned long long)latency.count,
	       (unsigned long long)lost, (double)latency.count * 1e9 / (double)cfg.duration_ns);
	hist_print_json(&latency);
	printf("}\n");
}

static void run(char **words, size_t nofile)
{
	(void)words;
	(void)nofile;
	if (cfg.listens)
		serve();
	else
		ask();
}

static const struct setting settings[] = {
	FLAG("listen", cfg.listens),	     TEXT("host", cfg.host),
	NUMBER("port", cfg.port, 1, 65535),  NUMBER("queries", cfg.queries, 1, 1000),
	SECONDS("seconds", cfg.duration_ns), {.name = NULL},
};

const struct program program = {
	.usage = "dns --listen [--host=A] [--port=P], or "
		 "dns --host=A [--port=P] [--queries=N] [--seconds=S]",
	.settings = settings,
	.run = run,
};
