/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/*
 * A well-behaved client and its servers, for tests that ask how long a request takes while others
 * attack. Each is a process of its own and does one thing at a time, so that what it measures is
 * not its own work.
 *
 *   steady serve KIND PORT...   servers on 127.0.0.1: echo, pour (sends without an end, reads
 *                               nothing), udp (sends back), sink (reads datagrams)
 *   steady probe TCP UDP        a request to 127.0.0.1 every few milliseconds, in turn three by TCP
 *                               and one by UDP; a line for each on standard output. "watch PID..."
 *                               on standard input names processes to watch. The probe ends
 *                               when standard input does.
 *
 * A line has the kind of the request, its start (CLOCK_MONOTONIC) and duration in us, how much of
 * that the connect took, the number of tries, and 0 or an error number. Then follows for how long
 * each of the watched processes, and last the probe itself, waited for a CPU in that time.
 */

#define PAUSE_US    5000
#define RESEND_MS   1000 /* for a datagram that was lost */
#define TCP_MAX_MS  40000
#define TRIES_MAX   20
#define WATCHED_MAX 8
#define POUR_BYTES  (1 << 16)
#define SERVER_FDS  (1 << 16)

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static struct sockaddr_in loopback(const char *port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* Servers */

enum kind { ECHO = 1, POUR, UDP, SINK };

static uint8_t kind_of[SERVER_FDS]; /* of each descriptor */
static bool listens[SERVER_FDS];

static enum kind kind_named(const char *name)
{
	const char *const names[] = {
		[ECHO] = "echo", [POUR] = "pour", [UDP] = "udp", [SINK] = "sink"};

	for (unsigned i = ECHO; i <= SINK; i++)
		if (strcmp(name, names[i]) == 0)
			return i;
	errno = EINVAL;
	die(name);
	return 0;
}

static void watch(int epoll, int fd, enum kind kind, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.fd = fd};

	if (fd >= SERVER_FDS || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) < 0) {
		close(fd);
		return;
	}
	kind_of[fd] = (uint8_t)kind;
}

static void serve(int epoll, enum kind kind, const char *port)
{
	bool stream = kind == ECHO || kind == POUR;
	struct sockaddr_in addr = loopback(port);
	int one = 1, bytes = 4 << 20,
	    fd = socket(AF_INET, (stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK, 0);

	if (fd < 0 ||
	    setsockopt(fd, SOL_SOCKET, stream ? SO_REUSEADDR : SO_RCVBUF, stream ? &one : &bytes,
		       sizeof(int)) < 0 ||
	    bind(fd, (void *)&addr, sizeof(addr)) < 0 || (stream && listen(fd, 4096) < 0))
		die(port);
	listens[fd] = stream;
	watch(epoll, fd, kind, EPOLLIN);
}

static void take(int epoll, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);

	if (fd >= 0)
		watch(epoll, fd, kind_of[listener], kind_of[listener] == ECHO ? EPOLLIN : EPOLLOUT);
}

/* Returns whether the connection goes on. An answer that does not fit is dropped: requests are
 * small, and so are answers. */
static bool serve_stream(int fd)
{
	static uint8_t buf[POUR_BYTES];
	ssize_t n;

	if (kind_of[fd] == POUR) {
		n = send(fd, buf, sizeof(buf), MSG_NOSIGNAL);
		return n > 0 || errno == EAGAIN;
	}
	n = recv(fd, buf, sizeof(buf), 0);
	if (n > 0)
		n = send(fd, buf, (size_t)n, MSG_NOSIGNAL);
	return n > 0 || (n < 0 && errno == EAGAIN);
}

static void serve_datagrams(int fd)
{
	static uint8_t buf[POUR_BYTES];
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	ssize_t n;

	while ((n = recvfrom(fd, buf, sizeof(buf), 0, (void *)&from, &len)) >= 0)
		if (kind_of[fd] == UDP)
			sendto(fd, buf, (size_t)n, 0, (void *)&from, len);
}

static void serve_all(char **args)
{
	struct rlimit limit;
	int epoll = epoll_create1(0);

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	for (; args[0] && args[1]; args += 2)
		serve(epoll, kind_named(args[0]), args[1]);
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct epoll_event ev[64];
		int n = epoll_wait(epoll, ev, 64, -1);

		for (int i = 0; i < n; i++) {
			int fd = ev[i].data.fd;

			if (listens[fd])
				take(epoll, fd);
			else if (kind_of[fd] >= UDP)
				serve_datagrams(fd);
			else if (!serve_stream(fd))
				close(fd);
		}
	}
}

/* The probe */

static int watched[WATCHED_MAX], n_watched;

/* How long the threads of a process have waited for a CPU so far, in us. */
static uint64_t waited_us(int pid)
{
	char path[64], text[96];
	uint64_t total = 0;

	/* The threads of a process that has just been made mostly have the numbers after its own.
	 * Those of a data plane do, and trying a few numbers is cheaper than reading a directory.
	 */
	for (int tid = pid; tid < pid + 4; tid++) {
		unsigned long long ran, waited;
		ssize_t n;
		int fd;

		snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", pid, tid);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
		text[n > 0 ? n : 0] = 0;
		/* NOLINTNEXTLINE(cert-err34-c): the kernel's own numbers */
		if (sscanf(text, "%llu %llu", &ran, &waited) == 2)
			total += waited / 1000;
	}
	return total;
}

/* Reads the words on standard input. Returns false when it has ended. */
static bool take_words(void)
{
	char text[256], *word;
	ssize_t n = read(STDIN_FILENO, text, sizeof(text) - 1);

	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	text[n] = 0;
	word = strrchr(text, 'w'); /* only the last line counts */
	n_watched = 0;
	for (word = word ? strtok(word, " \n") : NULL; (word = word ? strtok(NULL, " \n") : NULL);)
		if (n_watched < WATCHED_MAX)
			watched[n_watched++] = (int)strtol(word, NULL, 10);
	return true;
}

static int wait_until(int fd, short events, uint64_t end_us)
{
	struct pollfd p = {.fd = fd, .events = events};
	uint64_t now = now_us();
	int n = poll(&p, 1, now < end_us ? (int)((end_us - now) / 1000) + 1 : 0);

	return n > 0 ? 0 : n < 0 ? errno : ETIMEDOUT;
}

/* 0 or an error number. */
static int tcp_request(const struct sockaddr_in *to, const char *word, uint64_t *connected_us)
{
	size_t len = strlen(word), got = 0;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), err = 0;
	uint64_t start = now_us(), end = start + TCP_MAX_MS * 1000;
	socklen_t err_len = sizeof(err);
	char buf[64];

	if (fd < 0)
		return errno;
	if (connect(fd, (const void *)to, sizeof(*to)) < 0)
		err = errno == EINPROGRESS ? wait_until(fd, POLLOUT, end) : errno;
	if (!err)
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &err_len);
	*connected_us = now_us() - start;
	if (!err && send(fd, word, len, MSG_NOSIGNAL) < 0)
		err = errno;
	while (!err && got < len) {
		ssize_t n;

		err = wait_until(fd, POLLIN, end);
		n = err ? 0 : recv(fd, buf + got, sizeof(buf) - got, 0);
		if (!err && n <= 0)
			err = n < 0 ? errno : EPIPE;
		got += n > 0 ? (size_t)n : 0;
	}
	if (!err && memcmp(buf, word, len) != 0)
		err = EBADMSG;
	close(fd);
	return err;
}

static int udp_request(int fd, const char *word, unsigned *tries)
{
	char buf[64];
	int err = ETIMEDOUT;

	for (*tries = 1; *tries <= TRIES_MAX; (*tries)++) {
		uint64_t end = now_us() + RESEND_MS * 1000;

		/* The first send reports that an earlier datagram was refused, and sends nothing.
		 * NOLINTNEXTLINE(misc-redundant-expression): the second is another datagram */
		if (send(fd, word, strlen(word), 0) < 0 && send(fd, word, strlen(word), 0) < 0)
			return errno;
		while ((err = wait_until(fd, POLLIN, end)) == 0) {
			ssize_t n = recv(fd, buf, sizeof(buf), 0);

			if (n == (ssize_t)strlen(word) && memcmp(buf, word, (size_t)n) == 0)
				return 0;
		}
	}
	return err;
}

static void probe_one(unsigned number, const struct sockaddr_in *tcp, int udp)
{
	uint64_t before[WATCHED_MAX + 1], start, took, connected = 0;
	bool by_udp = number % 4 == 0;
	unsigned tries = 1;
	char word[32];
	int err;

	snprintf(word, sizeof(word), "request %u", number);
	for (int i = 0; i < n_watched; i++)
		before[i] = waited_us(watched[i]);
	before[n_watched] = waited_us(getpid());
	start = now_us();
	err = by_udp ? udp_request(udp, word, &tries) : tcp_request(tcp, word, &connected);
	took = now_us() - start;
	printf("%s %llu %llu %llu %u %d", by_udp ? "udp" : "tcp", (unsigned long long)start,
	       (unsigned long long)took, (unsigned long long)connected, tries, err);
	for (int i = 0; i < n_watched; i++) {
		uint64_t after = waited_us(watched[i]);

		printf(" %llu", (unsigned long long)(after > before[i] ? after - before[i] : 0));
	}
	printf(" %llu\n", (unsigned long long)(waited_us(getpid()) - before[n_watched]));
	fflush(stdout);
}

static void probe(char **args)
{
	struct sockaddr_in tcp = loopback(args[0]), udp = loopback(args[1]);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	if (fd < 0 || connect(fd, (void *)&udp, sizeof(udp)) < 0 ||
	    fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK) < 0)
		die("probe");
	for (unsigned number = 1; take_words(); number++) {
		probe_one(number, &tcp, fd);
		usleep(PAUSE_US);
	}
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	if (argc >= 4 && strcmp(argv[1], "serve") == 0)
		serve_all(argv + 2);
	if (argc != 4 || strcmp(argv[1], "probe") != 0) {
		fprintf(stderr, "usage: steady serve KIND PORT... | probe TCP UDP\n");
		return 2;
	}
	probe(argv + 2);
	return 0;
}
