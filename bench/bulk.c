/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bulk TCP: how many bytes a second go through, in one direction or both, in one flow or many.
 *
 * In each flow the client sends a struct bulk_order. Then the ordered directions run for the
 * ordered time, in chunks whose first byte says whether a chunk is the last one. When the server
 * has sent and received everything, it ends with a struct bulk_count. So only bytes that have
 * arrived are counted, and a byte that is lost or doubled on the way fails the run. The flow does
 * not depend on half-closes, so that forwarders without them can be measured, too.
 */
#include "program.h"
#include "util.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BULK_UP = 1, BULK_DOWN = 2 };

#define BULK_MAGIC     0x62756c6b
#define CHUNK_SIZE_MIN 64u
#define CHUNK_SIZE_MAX (1u << 24)

enum { CHUNK_MORE = 0x5a, CHUNK_LAST = 0xa5 };

struct bulk_order {
	uint32_t magic;
	uint32_t directions;
	uint64_t duration_ns;
	uint64_t chunk_size;
};

/* The server's counts, which are the end of its stream. */
struct bulk_count {
	uint64_t received;
	uint64_t sent;
};

struct flow {
	int fd;
	struct bulk_order order;
	uint64_t sent;
	uint64_t received;
	struct bulk_count server; /* of a client: the server's counts */
	pthread_t thread;
	const char *failure;
};

static void *chunk_new(size_t size)
{
	void *chunk = malloc(size);

	if (!chunk)
		die("out of memory");
	memset(chunk, CHUNK_MORE, size);
	return chunk;
}

/* Sends for the ordered time. Returns 0 or -errno. */
static int send_for_a_while(struct flow *flow)
{
	const uint64_t end_ns = now_ns() + flow->order.duration_ns;
	const size_t size = flow->order.chunk_size;
	unsigned char *chunk = chunk_new(size);
	int rc = 0;

	while (!rc && chunk[0] != CHUNK_LAST) {
		if (now_ns() >= end_ns)
			chunk[0] = CHUNK_LAST;
		rc = stream_write_all(flow->fd, chunk, size);
		if (!rc)
			flow->sent += size;
	}
	free(chunk);
	return rc;
}

/* Returns where in the buffer the last chunk begins; len: not in this buffer. The buffer's first
 * byte is number `from` of the stream. */
static size_t find_last_chunk(const unsigned char *buf, size_t len, uint64_t from, size_t size)
{
	size_t at = (size - from % size) % size;

	while (at < len && buf[at] != CHUNK_LAST)
		at += size;
	return at < len ? at : len;
}

/* Receives until the end of the last chunk. Bytes behind it, at most *rest_len, are put into rest.
 * Returns 0 or -errno; -EPIPE for an early end of the stream, -EPROTO for too many bytes behind it.
 */
static int receive_chunks(struct flow *flow, void *rest, size_t *rest_len)
{
	const size_t size = flow->order.chunk_size;
	unsigned char *buf = chunk_new(size);
	uint64_t end = UINT64_MAX, got = 0;
	size_t behind;
	ssize_t n = 0;
	int rc = 0;

	while (got < end) {
		n = recv(flow->fd, buf, size, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			rc = n ? -errno : -EPIPE;
			goto out;
		}
		if (end == UINT64_MAX) {
			size_t at = find_last_chunk(buf, (size_t)n, got, size);

			if (at < (size_t)n)
				end = got + at + size;
		}
		got += (size_t)n;
	}
	behind = (size_t)(got - end);
	if (behind > *rest_len) {
		rc = -EPROTO;
		goto out;
	}
	memcpy(rest, buf + (size_t)n - behind, behind);
	*rest_len = behind;
	got = end;
out:
	flow->received = got;
	free(buf);
	return rc;
}

static void *server_receive(void *arg)
{
	struct flow *flow = arg;
	size_t none = 0;
	char nothing;

	if (receive_chunks(flow, &nothing, &none))
		flow->failure = "upload was cut";
	return NULL;
}

static bool order_read(struct flow *flow)
{
	return !stream_read_all(flow->fd, &flow->order, sizeof(flow->order)) &&
	       flow->order.magic == BULK_MAGIC && flow->order.chunk_size >= CHUNK_SIZE_MIN &&
	       flow->order.chunk_size <= CHUNK_SIZE_MAX;
}

static void *server_flow(void *arg)
{
	struct flow *flow = arg;
	struct bulk_count count;
	pthread_t receiver;
	bool receives;

	if (!order_read(flow))
		goto out;
	receives = flow->order.directions & BULK_UP;
	if (receives && pthread_create(&receiver, NULL, server_receive, flow))
		die("out of threads");
	if (flow->order.directions & BULK_DOWN)
		send_for_a_while(flow);
	if (receives)
		pthread_join(receiver, NULL);
	count = (struct bulk_count){.received = flow->received, .sent = flow->sent};
	if (!flow->failure)
		stream_write_all(flow->fd, &count, sizeof(count));
out:
	close(flow->fd);
	free(flow);
	return NULL;
}

static _Noreturn void serve(const char *host, uint16_t port)
{
	const int listener = net_listen(host, port, SOCK_STREAM);

	announce_ready();
	for (;;) {
		struct flow *flow = calloc(1, sizeof(*flow));

		if (!flow)
			die("out of memory");
		flow->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (flow->fd < 0) {
			free(flow);
			continue;
		}
		if (pthread_create(&flow->thread, NULL, server_flow, flow))
			die("out of threads");
		pthread_detach(flow->thread);
	}
}

static void *client_send(void *arg)
{
	struct flow *flow = arg;

	if (send_for_a_while(flow))
		flow->failure = "upload was cut";
	return NULL;
}

/* Receives the ordered bytes, and the server's counts. Returns what went wrong, or NULL. */
static const char *client_receive(struct flow *flow, pthread_t *sender)
{
	size_t have = 0;

	if (flow->order.directions & BULK_DOWN) {
		have = sizeof(flow->server);
		if (receive_chunks(flow, &flow->server, &have))
			return "download was cut";
	}
	if (sender)
		pthread_join(*sender, NULL);
	shutdown(flow->fd, SHUT_WR);
	if (stream_read_all(flow->fd, (char *)&flow->server + have, sizeof(flow->server) - have))
		return "the server's count did not arrive";
	if (flow->server.received != flow->sent || flow->server.sent != flow->received)
		return "bytes were lost or doubled";
	return NULL;
}

static void *client_flow(void *arg)
{
	struct flow *flow = arg;
	const bool sends = flow->order.directions & BULK_UP;
	const char *failure;
	pthread_t sender;

	if (stream_write_all(flow->fd, &flow->order, sizeof(flow->order))) {
		flow->failure = "order was refused";
		return NULL;
	}
	if (sends && pthread_create(&sender, NULL, client_send, flow))
		die("out of threads");
	failure = client_receive(flow, sends ? &sender : NULL);
	if (!flow->failure)
		flow->failure = failure;
	return NULL;
}

static void run_client(const char *host, uint16_t port, const struct bulk_order *order,
		       size_t count)
{
	struct flow *flows = calloc(count, sizeof(*flows));
	uint64_t sent = 0, received = 0;
	uint64_t start_ns, elapsed_ns;

	if (!flows)
		die("out of memory");
	for (size_t i = 0; i < count; i++) {
		flows[i].order = *order;
		flows[i].fd = net_connect(host, port, SOCK_STREAM);
	}
	start_ns = now_ns();
	for (size_t i = 0; i < count; i++) {
		if (pthread_create(&flows[i].thread, NULL, client_flow, &flows[i]))
			die("out of threads");
	}
	for (size_t i = 0; i < count; i++)
		pthread_join(flows[i].thread, NULL);
	elapsed_ns = now_ns() - start_ns;
	for (size_t i = 0; i < count; i++) {
		if (flows[i].failure)
			die("flow %zu: %s (sent %llu, received %llu, the server sent %llu, "
			    "received %llu bytes)",
			    i, flows[i].failure, (unsigned long long)flows[i].sent,
			    (unsigned long long)flows[i].received,
			    (unsigned long long)flows[i].server.sent,
			    (unsigned long long)flows[i].server.received);
		sent += flows[i].sent;
		received += flows[i].received;
	}
	printf("{\"flows\": %zu, \"seconds\": %.4f, \"up_bytes\": %llu, \"down_bytes\": %llu, "
	       "\"gbps\": %.4f}\n",
	       count, (double)elapsed_ns / 1e9, (unsigned long long)sent,
	       (unsigned long long)received, (double)(sent + received) * 8 / (double)elapsed_ns);
	free(flows);
}

static uint32_t parse_mode(const char *mode)
{
	if (!strcmp(mode, "up"))
		return BULK_UP;
	if (!strcmp(mode, "down"))
		return BULK_DOWN;
	if (!strcmp(mode, "both"))
		return BULK_UP | BULK_DOWN;
	die("--mode=%s: expected up, down or both", mode);
}

static struct bulk_order order = {BULK_MAGIC, BULK_UP, UTIL_NSEC_PER_SEC, 256 * 1024};
static const char *host = "127.0.0.1", *mode = "up";
static uint16_t port = 10001;
static bool listens;
static size_t flows = 1;

static void run(char **words, size_t nofile)
{
	(void)words;
	(void)nofile;
	order.directions = parse_mode(mode);
	if (listens)
		serve(host, port);
	run_client(host, port, &order, flows);
}

static const struct setting settings[] = {
	FLAG("listen", listens),
	TEXT("host", host),
	NUMBER("port", port, 1, 65535),
	TEXT("mode", mode),
	NUMBER("flows", flows, 1, 1024),
	SECONDS("seconds", order.duration_ns),
	NUMBER("chunk", order.chunk_size, CHUNK_SIZE_MIN, CHUNK_SIZE_MAX),
	{.name = NULL},
};

const struct program program = {
	.usage = "bulk --listen [--host=A] [--port=P], or bulk --host=A "
		 "--port=P [--mode=up|down|both] [--flows=N] [--seconds=S]",
	.settings = settings,
	.run = run,
};
