/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holds many idle connections to the echo server. Each first carries one byte there and back, which
 * shows that the forwarder has connected to the server. The program prints its line, and holds the
 * connections until stdin ends.
 */
#include "program.h"
#include "util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static const char *host = "127.0.0.1";
static uint16_t port = 10002;
static size_t conns = 1000;
static size_t sources = 1;

/* Connects from one of many addresses of loopback, since an address has 65,535 ports at most.
 * Returns the descriptor or -errno. */
static int connect_from(size_t number)
{
	const int on = 1;
	struct sockaddr_in from = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 16 + (uint32_t)(number % sources))};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd;

	if (sources == 1)
		return net_connect_try(host, port, SOCK_STREAM);
	if (inet_pton(AF_INET, host, &to.sin_addr) != 1)
		die("--host=%s: with --sources an IPv4 address is expected", host);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) ||
	    bind(fd, (struct sockaddr *)&from, sizeof(from)) ||
	    connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		close(fd);
		return -errno;
	}
	return fd;
}

static bool open_one(size_t number)
{
	const struct timeval patience = {.tv_sec = 5};
	int fd = connect_from(number);
	char byte = 'x';

	if (fd < 0)
		return false;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    stream_write_all(fd, &byte, 1) || stream_read_all(fd, &byte, 1)) {
		close(fd);
		return false;
	}
	return true; /* held until the process ends */
}

static void run(char **words, size_t nofile)
{
	size_t held = 0, failed = 0;
	uint64_t start_ns;
	char drain[64];

	(void)words;
	if (nofile < conns + 16)
		die("the descriptor limit does not allow %zu connections", conns);
	start_ns = now_ns();
	/* A forwarder that is full fails each further connection after a time-out: ten are enough.
	 */
	for (size_t i = 0; i < conns && failed < 10; i++) {
		if (open_one(i))
			held++;
		else
			failed++;
	}
	printf("{\"conns\": %zu, \"held\": %zu, \"failed\": %zu, \"seconds\": %.4f}\n", conns, held,
	       failed, (double)(now_ns() - start_ns) / 1e9);
	fflush(stdout);
	while (read(STDIN_FILENO, drain, sizeof(drain)) > 0)
		;
}

static const struct setting settings[] = {
	TEXT("host", host),
	NUMBER("port", port, 1, 65535),
	NUMBER("conns", conns, 1, 1000000),
	NUMBER("sources", sources, 1, 200),
	{.name = NULL},
};

const struct program program = {
	.usage = "idle [--host=A] [--port=P] [--conns=N] [--sources=N] <STDIN",
	.settings = settings,
	.run = run,
};
