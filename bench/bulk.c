/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bulk TCP: how many bytes a second go through, one direction or both, in one flow or many.
 *
 * A flow: the client sends a struct bulk_order; then the ordered directions run for the ordered
 * time and each sender shuts down its half. When the server has both sent and received
 * everything, it ends with a struct bulk_count. What a figure counts has therefore arrived, and a
 * byte lost or doubled on the way fails the run.
 */
#include "util.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BULK_UP = 1, BULK_DOWN = 2 };

#define BULK_MAGIC 0x62756c6b

struct bulk_order {
	uint32_t magic;
	uint32_t directions;
	uint64_t duration_ns;
};

/* Filled in by the server; carried at the very end of its stream. */
struct bulk_count {
	uint64_t received;
	uint64_t sent;
};

struct flow {
	int fd;
	struct bulk_order order;
	uint64_t sent;
	uint64_t received;
	struct bulk_count server; /* of a client: what the server said at the end */
	pthread_t thread;
	const char *failure;
};

static size_t chunk_size = 256 * 1024;

static void *chunk_new(void)
{
	void *chunk = malloc(chunk_size);

	if (!chunk)
		die("out of memory");
	memset(chunk, 0x5a, chunk_size);
	return chunk;
}

/* Sends for the ordered time. Returns 0 or -errno. */
static int send_for_a_while(struct flow *flow)
{
	const uint64_t end_ns = now_ns() + flow->order.duration_ns;
	void *chunk = chunk_new();
	int rc = 0;

	while (!rc && now_ns() < end_ns) {
		rc = stream_write_all(flow->fd, chunk, chunk_size);
		if (!rc)
			flow->sent += chunk_size;
	}
	free(chunk);
	return rc;
}

/* Receives to the end of the stream. Returns 0 or -errno; *tail gets the last bytes. */
static int receive_to_end(struct flow *flow, struct bulk_count *tail)
{
	const size_t keep = sizeof(*tail);
	char *chunk = chunk_new();
	char last[sizeof(*tail)] = {0};
	ssize_t n;

	while ((n = recv(flow->fd, chunk, chunk_size, 0)) != 0) {
		size_t len = (size_t)n;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			free(chunk);
			return -errno;
		}
		flow->received += len;
		if (len < keep) {
			memmove(last, last + len, keep - len);
			memcpy(last + keep - len, chunk, len);
		} else {
			memcpy(last, chunk + len - keep, keep);
		}
	}
	free(chunk);
	memcpy(tail, last, keep);
	return 0;
}

static void *server_receive(void *arg)
{
	struct bulk_count ignored;
	struct flow *flow = arg;

	receive_to_end(flow, &ignored);
	return NULL;
}

static void *server_flow(void *arg)
{
	struct flow *flow = arg;
	pthread_t receiver;

	if (stream_read_all(flow->fd, &flow->order, sizeof(flow->order)) ||
	    flow->order.magic != BULK_MAGIC)
		goto out;
	if (pthread_create(&receiver, NULL, server_receive, flow))
		die("out of threads");
	if (flow->order.directions & BULK_DOWN)
		send_for_a_while(flow);
	pthread_join(receiver, NULL);
	struct bulk_count count = {.received = flow->received, .sent = flow->sent};

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

	if ((flow->order.directions & BULK_UP) && send_for_a_while(flow))
		flow->failure = "upload was cut";
	shutdown(flow->fd, SHUT_WR);
	return NULL;
}

static void *client_flow(void *arg)
{
	struct flow *flow = arg;
	pthread_t sender;

	if (stream_write_all(flow->fd, &flow->order, sizeof(flow->order))) {
		flow->failure = "order was refused";
		return NULL;
	}
	if (pthread_create(&sender, NULL, client_send, flow))
		die("out of threads");
	if (receive_to_end(flow, &flow->server))
		flow->failure = "download was cut";
	pthread_join(sender, NULL);
	if (flow->failure)
		return NULL;
	if (flow->received < sizeof(flow->server)) {
		flow->failure = "the server's count did not arrive";
		return NULL;
	}
	flow->received -= sizeof(flow->server);
	if (flow->server.received != flow->sent || flow->server.sent != flow->received)
		flow->failure = "bytes were lost or doubled";
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

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"listen", no_argument, NULL, 'l'},	 {"host", required_argument, NULL, 'h'},
		{"port", required_argument, NULL, 'p'},	 {"mode", required_argument, NULL, 'm'},
		{"flows", required_argument, NULL, 'f'}, {"seconds", required_argument, NULL, 's'},
		{"chunk", required_argument, NULL, 'c'}, {0},
	};
	struct bulk_order order = {BULK_MAGIC, BULK_UP, UTIL_NSEC_PER_SEC};
	const char *host = "127.0.0.1";
	uint16_t port = 10001;
	bool listens = false;
	size_t flows = 1;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'l':
			listens = true;
			break;
		case 'h':
			host = optarg;
			break;
		case 'p':
			port = (uint16_t)parse_number("port", optarg, 1, 65535);
			break;
		case 'm':
			order.directions = parse_mode(optarg);
			break;
		case 'f':
			flows = parse_number("flows", optarg, 1, 1024);
			break;
		case 's':
			order.duration_ns = parse_seconds("seconds", optarg);
			break;
		case 'c':
			chunk_size = parse_number("chunk", optarg, 64, 1 << 24);
			break;
		default:
			die("usage: bulk --listen [--host=A] [--port=P], or bulk --host=A "
			    "--port=P [--mode=up|down|both] [--flows=N] [--seconds=S]");
		}
	}
	nofile_raise();
	if (listens)
		serve(host, port);
	run_client(host, port, &order, flows);
	return 0;
}
