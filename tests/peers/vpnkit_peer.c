/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stand-in for VPNKit, which Debian does not have. On the socket it speaks VPNKit's protocol, as
 * recorded from the real one. Behind that is libslirp's network: gateway and name server are
 * 192.168.65.1, DHCP gives addresses from 192.168.65.3 on, and 192.168.65.2 is this host's
 * loopback, unless --host-ip 0.0.0.0 is given.
 *
 *   vpnkit --ethernet SOCKET --mtu N [--host-ip ADDRESS]
 *
 * VPNKIT_PEER_FAULT in the environment makes it fail: see handshake() and main().
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <slirp/libslirp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define INIT_BYTES    49
#define COMMAND_BYTES 41
#define ANSWER_BYTES  258
#define POLLS_MAX     1024
#define TIMERS_MAX    8

struct timer {
	SlirpTimerCb cb;
	void *arg;
	int64_t at_ms; /* -1: off */
};

static struct pollfd polls[POLLS_MAX];
static int n_polls;
static struct timer timers[TIMERS_MAX];
static int client = -1;
static const char *fault = "";

static void die(const char *what)
{
	fprintf(stderr, "vpnkit peer: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int is_fault(const char *name)
{
	return fault && !strcmp(fault, name);
}

/* VPNKit waits for another client then, and so does this. */
static _Noreturn void client_gone(void)
{
	for (;;)
		pause();
}

static void read_all(void *buf, size_t len)
{
	char *p = buf;

	while (len) {
		ssize_t n = read(client, p, len);

		if (n <= 0)
			client_gone();
		p += n;
		len -= (size_t)n;
	}
}

static void write_all(const void *buf, size_t len)
{
	const char *p = buf;

	while (len) {
		ssize_t n = write(client, p, len);

		if (n <= 0)
			client_gone();
		p += n;
		len -= (size_t)n;
	}
}

/* What libslirp calls */

static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
	unsigned char header[2] = {(unsigned char)len, (unsigned char)(len >> 8)};

	(void)opaque;
	write_all(header, sizeof(header));
	write_all(buf, len);
	return (ssize_t)len;
}

static void guest_error(const char *msg, void *opaque)
{
	(void)opaque;
	fprintf(stderr, "vpnkit peer: %s\n", msg);
}

static int64_t now_ns(void *opaque)
{
	struct timespec t;

	(void)opaque;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void *timer_new(SlirpTimerCb cb, void *arg, void *opaque)
{
	(void)opaque;
	for (int i = 0; i < TIMERS_MAX; i++) {
		if (timers[i].cb)
			continue;
		timers[i] = (struct timer){cb, arg, -1};
		return &timers[i];
	}
	abort();
}

static void timer_free(void *timer, void *opaque)
{
	(void)opaque;
	memset(timer, 0, sizeof(struct timer));
}

static void timer_mod(void *timer, int64_t at_ms, void *opaque)
{
	(void)opaque;
	((struct timer *)timer)->at_ms = at_ms;
}

static void ignore_fd(int fd, void *opaque)
{
	(void)fd;
	(void)opaque;
}

static void ignore(void *opaque)
{
	(void)opaque;
}

static const SlirpCb callbacks = {
	.send_packet = send_packet,
	.guest_error = guest_error,
	.clock_get_ns = now_ns,
	.timer_new = timer_new,
	.timer_free = timer_free,
	.timer_mod = timer_mod,
	.register_poll_fd = ignore_fd,
	.unregister_poll_fd = ignore_fd,
	.notify = ignore,
};

static Slirp *network(int mtu, const char *host_ip)
{
	SlirpConfig c = {.version = 1, .in_enabled = true};

	inet_pton(AF_INET, "192.168.65.0", &c.vnetwork);
	inet_pton(AF_INET, "255.255.255.0", &c.vnetmask);
	inet_pton(AF_INET, "192.168.65.2", &c.vhost);
	inet_pton(AF_INET, "192.168.65.3", &c.vdhcp_start);
	inet_pton(AF_INET, "192.168.65.1", &c.vnameserver);
	c.if_mtu = c.if_mru = (size_t)mtu;
	c.disable_host_loopback = !strcmp(host_ip, "0.0.0.0");
	return slirp_new(&c, &callbacks, NULL);
}

static int add_poll(int fd, int events, void *opaque)
{
	(void)opaque;
	if (n_polls == POLLS_MAX)
		return -1;
	polls[n_polls] = (struct pollfd){
		.fd = fd,
		.events = (short)((events & SLIRP_POLL_IN ? POLLIN : 0) |
				  (events & SLIRP_POLL_OUT ? POLLOUT : 0) |
				  (events & SLIRP_POLL_PRI ? POLLPRI : 0)),
	};
	return n_polls++;
}

static int get_revents(int i, void *opaque)
{
	short r = i < 0 ? 0 : polls[i].revents;

	(void)opaque;
	return (r & POLLIN ? SLIRP_POLL_IN : 0) | (r & POLLOUT ? SLIRP_POLL_OUT : 0) |
	       (r & POLLPRI ? SLIRP_POLL_PRI : 0) | (r & POLLERR ? SLIRP_POLL_ERR : 0) |
	       (r & POLLHUP ? SLIRP_POLL_HUP : 0);
}

static void run_timers(void)
{
	int64_t now_ms = now_ns(NULL) / 1000000;

	for (int i = 0; i < TIMERS_MAX; i++) {
		if (!timers[i].cb || timers[i].at_ms < 0 || timers[i].at_ms > now_ms)
			continue;
		timers[i].at_ms = -1;
		timers[i].cb(timers[i].arg);
	}
}

/* Whether the frame is a DHCP message. Those are kept from libslirp by a fault, and then there is
 * no address. */
static int is_dhcp(const unsigned char *f, size_t len)
{
	return len > 38 && f[12] == 8 && f[13] == 0 && f[23] == 17 && f[36] == 0 && f[37] == 67;
}

static void take_frame(Slirp *slirp)
{
	static unsigned char frame[65536];
	unsigned char header[2];
	size_t len;

	read_all(header, sizeof(header));
	len = (size_t)header[1] << 8 | header[0];
	read_all(frame, len);
	if (is_fault("die-on-dhcp") && is_dhcp(frame, len)) {
		fprintf(stderr, "no addresses today\n");
		exit(7);
	}
	if (!is_fault("no-dhcp") || !is_dhcp(frame, len))
		slirp_input(slirp, frame, (int)len);
}

static void serve(Slirp *slirp)
{
	for (;;) {
		uint32_t timeout_ms = 100;
		int n;

		polls[0] = (struct pollfd){.fd = client, .events = POLLIN};
		n_polls = 1;
		slirp_pollfds_fill(slirp, &timeout_ms, add_poll, NULL);
		n = poll(polls, (nfds_t)n_polls, timeout_ms < 100 ? (int)timeout_ms : 100);
		slirp_pollfds_poll(slirp, n < 0, get_revents, NULL);
		run_timers();
		if (n > 0 && polls[0].revents)
			take_frame(slirp);
	}
}

static void handshake(int mtu)
{
	unsigned char init[INIT_BYTES] = "VMN3T\x16", got[INIT_BYTES], command[COMMAND_BYTES];
	unsigned char answer[ANSWER_BYTES] = {1};
	static const unsigned char mac[] = {2, 0x50, 0, 0, 0, 1};

	read_all(got, sizeof(got));
	if (memcmp(got, init, 9)) {
		fprintf(stderr, "vpnkit peer: that is no VMN3T client of version 22\n");
		exit(5);
	}
	memset(init + 9, '0', INIT_BYTES - 9);
	if (is_fault("hang"))
		sleep(1000);
	if (is_fault("bad-magic"))
		memcpy(init, "HTTP/", 5);
	if (is_fault("bad-version"))
		init[5] = 1;
	if (is_fault("garbage"))
		memset(init, 0xff, sizeof(init));
	write_all(init, sizeof(init));
	read_all(command, sizeof(command));
	if (is_fault("close"))
		exit(6);
	if (command[0] != 1 || command[9] != '-' || command[37])
		exit(5);
	answer[1] = (unsigned char)mtu;
	answer[2] = (unsigned char)(mtu >> 8);
	answer[3] = (unsigned char)(mtu + 50);
	answer[4] = (unsigned char)((mtu + 50) >> 8);
	memcpy(answer + 5, mac, sizeof(mac));
	if (is_fault("bad-mac"))
		memset(answer + 5, 0xff, 6);
	if (is_fault("refuse")) {
		answer[0] = 2;
		answer[1] = 11;
		memcpy(answer + 2, "no\nvacancy!", 11);
	}
	write_all(answer, sizeof(answer));
}

static int listen_on(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(a.sun_path)) {
		errno = ENAMETOOLONG;
		die(path);
	}
	memcpy(a.sun_path, path, strlen(path));
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 8) < 0)
		die(path);
	return fd;
}

int main(int argc, char **argv)
{
	const char *path = NULL, *host_ip = "192.168.65.2";
	int mtu = 0, listener;

	if (getenv("VPNKIT_PEER_FAULT"))
		fault = getenv("VPNKIT_PEER_FAULT");
	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--ethernet"))
			path = argv[i + 1];
		else if (!strcmp(argv[i], "--mtu"))
			mtu = (int)strtol(argv[i + 1], NULL, 10);
		else if (!strcmp(argv[i], "--host-ip"))
			host_ip = argv[i + 1];
	}
	if (!path || mtu < 68 || mtu > 65521) {
		fprintf(stderr, "usage: vpnkit --ethernet SOCKET --mtu N [--host-ip ADDRESS]\n");
		return 2;
	}
	listener = listen_on(path);
	client = accept(listener, NULL, NULL);
	if (client < 0)
		die("accept");
	handshake(mtu);
	serve(network(mtu, host_ip));
}
