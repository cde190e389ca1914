/* SPDX-License-Identifier: Apache-2.0 */
#include "util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void complain(const char *fmt, va_list args, int code) __attribute__((format(printf, 1, 0)));

static void complain(const char *fmt, va_list args, int code)
{
	char text[512];

	vsnprintf(text, sizeof(text), fmt, args);
	if (code)
		fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, text,
			strerror(code));
	else
		fprintf(stderr, "%s: %s\n", program_invocation_short_name, text);
}

void die(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	complain(fmt, args, 0);
	va_end(args);
	exit(1);
}

void die_errno(const char *fmt, ...)
{
	const int code = errno;
	va_list args;

	va_start(args, fmt);
	complain(fmt, args, code);
	va_end(args);
	exit(1);
}

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UTIL_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

uint64_t parse_number(const char *option, const char *text, uint64_t min, uint64_t max)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || *end || end == text || *text == '-' || value < min || value > max)
		die("--%s=%s: expected a number from %llu to %llu", option, text,
		    (unsigned long long)min, (unsigned long long)max);
	return value;
}

uint64_t parse_seconds(const char *option, const char *text)
{
	double value;
	char *end;

	value = strtod(text, &end);
	if (*end || end == text || !(value > 0 && value <= 3600))
		die("--%s=%s: expected seconds, above 0 and at most 3600", option, text);
	return (uint64_t)(value * 1e9);
}

size_t nofile_raise(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		die_errno("getrlimit");
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		die_errno("setrlimit");
	return limit.rlim_cur;
}

static socklen_t parse_address(const char *host, uint16_t port, struct sockaddr_storage *addr)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)addr;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)addr;

	memset(addr, 0, sizeof(*addr));
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		return sizeof(*v4);
	}
	if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		return sizeof(*v6);
	}
	die("--host=%s: expected an IPv4 or IPv6 address", host);
}

static void set_nodelay(int fd)
{
	const int on = 1;

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
		die_errno("TCP_NODELAY");
}

int net_connect_try(const char *host, uint16_t port, int type)
{
	struct sockaddr_storage addr;
	socklen_t len = parse_address(host, port, &addr);
	int fd, rc;

	fd = socket(addr.ss_family, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if ((type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) == SOCK_STREAM)
		set_nodelay(fd);
	if (!connect(fd, (struct sockaddr *)&addr, len) || errno == EINPROGRESS)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

int net_connect(const char *host, uint16_t port, int type)
{
	int fd = net_connect_try(host, port, type);

	if (fd < 0) {
		errno = -fd;
		die_errno("connect to %s port %u", host, port);
	}
	return fd;
}

int net_listen(const char *host, uint16_t port, int type)
{
	struct sockaddr_storage addr;
	socklen_t len = parse_address(host, port, &addr);
	const int on = 1;
	int fd;

	fd = socket(addr.ss_family, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die_errno("socket");
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)))
		die_errno("SO_REUSEADDR");
	if (bind(fd, (struct sockaddr *)&addr, len))
		die_errno("bind to %s port %u", host, port);
	if ((type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) == SOCK_STREAM && listen(fd, 4096))
		die_errno("listen on %s port %u", host, port);
	return fd;
}

int stream_write_all(int fd, const void *buf, size_t len)
{
	const char *at = buf;

	while (len) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int stream_read_all(int fd, void *buf, size_t len)
{
	char *at = buf;

	while (len) {
		ssize_t n = recv(fd, at, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EPIPE;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

void announce_ready(void)
{
	fputs("ready\n", stderr);
	fflush(stderr);
}
