/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends UDP datagrams at a given rate, and counts how many arrive.
 *
 * Each datagram carries its flow, its number in the flow, and the time at which the kernel got it.
 * The receiver marks each number in a bitmap, so that a datagram that arrives twice counts once.
 * The sender ends with a few "fin" datagrams, some time apart. The receiver stops at the first of
 * them, or after a second without any datagram.
 */
#include "hist.h"
#include "program.h"
#include "util.h"

#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define UDP_MAGIC	  0x72696e67u
#define UDP_FLOWS_MAX	  256u
#define UDP_BATCH	  64u
#define UDP_DATAGRAM	  65507u
#define UDP_FIN_COUNT	  8
#define UDP_SEQ_MAX	  (UINT64_C(1) << 26)
#define UDP_SILENCE_MS	  1000
#define UDP_IDLE_SLEEP_NS 50000

struct header {
	uint32_t magic;
	uint16_t flow;
	uint16_t fin;
	uint64_t seq;
	uint64_t sent_ns;
};

static struct {
	const char *host;
	uint16_t port;
	size_t size;
	uint64_t rate; /* datagrams a second; 0: as many as possible */
	uint32_t flows;
	uint32_t rcvbuf;
	bool listens;
	bool gso;
	uint64_t duration_ns; /* of sending; a receiver waits so long for the first datagram */
} cfg = {.host = "127.0.0.1",
	 .port = 10005,
	 .size = 1400,
	 .flows = 1,
	 .duration_ns = UTIL_NSEC_PER_SEC};

/* --- the receiver --- */

struct rx_flow {
	uint64_t highest;
	uint8_t *seen;
};

struct rx {
	struct rx_flow flow[UDP_FLOWS_MAX];
	uint64_t received, bytes, doubled, reordered, damaged;
	uint64_t first_ns, last_ns;
	bool over;
	struct hist latency;
};

static void rx_count(struct rx *rx, const struct header *head, size_t len, uint64_t now)
{
	struct rx_flow *flow = &rx->flow[head->flow % UDP_FLOWS_MAX];
	const uint64_t seq = head->seq % UDP_SEQ_MAX;
	const uint8_t bit = (uint8_t)(1u << (seq % 8));

	if (!flow->seen)
		flow->seen = calloc(1, UDP_SEQ_MAX / 8);
	if (!flow->seen)
		die("out of memory");
	if (flow->seen[seq / 8] & bit) {
		rx->doubled++;
		return;
	}
	flow->seen[seq / 8] |= bit;
	if (seq < flow->highest)
		rx->reordered++;
	else
		flow->highest = seq;
	if (!rx->received++)
		rx->first_ns = now;
	rx->last_ns = now;
	rx->bytes += len;
	hist_add(&rx->latency, now > head->sent_ns ? now - head->sent_ns : 0);
}

static void rx_take(struct rx *rx, const void *buf, size_t len, uint64_t now)
{
	struct header head;

	if (len < sizeof(head)) {
		rx->damaged++;
		return;
	}
	memcpy(&head, buf, sizeof(head));
	if (head.magic != UDP_MAGIC || (!head.fin && len != cfg.size))
		rx->damaged++;
	else if (head.fin)
		rx->over = true;
	else
		rx_count(rx, &head, len, now);
}

static void rx_print(const struct rx *rx)
{
	printf("{\"received\": %llu, \"bytes\": %llu, \"doubled\": %llu, \"reordered\": %llu, "
	       "\"damaged\": %llu, \"seconds\": %.4f, ",
	       (unsigned long long)rx->received, (unsigned long long)rx->bytes,
	       (unsigned long long)rx->doubled, (unsigned long long)rx->reordered,
	       (unsigned long long)rx->damaged, (double)(rx->last_ns - rx->first_ns) / 1e9);
	hist_print_json(&rx->latency);
	printf("}\n");
}

static void receive(void)
{
	const int fd = net_listen(cfg.host, cfg.port, SOCK_DGRAM);
	struct rx *rx = calloc(1, sizeof(*rx));
	char *space = malloc((size_t)UDP_BATCH * UDP_DATAGRAM);
	struct mmsghdr msgs[UDP_BATCH] = {0};
	struct iovec iov[UDP_BATCH];
	struct pollfd pollfd = {.fd = fd, .events = POLLIN};
	int patience_ms = (int)(cfg.duration_ns / 1000000);

	if (!rx || !space)
		die("out of memory");
	/* SO_RCVBUFFORCE may exceed net.core.rmem_max, but only root may use it. */
	if (cfg.rcvbuf &&
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &cfg.rcvbuf, sizeof(cfg.rcvbuf)) &&
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &cfg.rcvbuf, sizeof(cfg.rcvbuf)))
		die_errno("SO_RCVBUF");
	for (uint32_t i = 0; i < UDP_BATCH; i++) {
		iov[i] = (struct iovec){space + (size_t)i * UDP_DATAGRAM, UDP_DATAGRAM};
		msgs[i].msg_hdr.msg_iov = &iov[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
	}
	announce_ready();
	while (!rx->over && poll(&pollfd, 1, patience_ms) > 0) {
		int n = recvmmsg(fd, msgs, UDP_BATCH, MSG_DONTWAIT, NULL);
		uint64_t now = now_ns();

		for (int i = 0; i < n; i++)
			rx_take(rx, iov[i].iov_base, msgs[i].msg_len, now);
		patience_ms = UDP_SILENCE_MS;
	}
	rx_print(rx);
}

/* --- the sender --- */

struct tx {
	int fd[UDP_FLOWS_MAX];
	uint64_t seq[UDP_FLOWS_MAX];
	uint64_t sent, refused, full;
	char *space;
	uint32_t batch;
};

/* Puts the flow's next datagrams into tx->space, one behind the other. */
static void tx_fill(struct tx *tx, uint32_t flow, uint32_t count)
{
	struct header head = {.magic = UDP_MAGIC, .flow = (uint16_t)flow, .sent_ns = now_ns()};

	for (uint32_t i = 0; i < count; i++) {
		head.seq = tx->seq[flow] + i;
		memcpy(tx->space + i * cfg.size, &head, sizeof(head));
	}
}

static int tx_send_gso(struct tx *tx, uint32_t flow, uint32_t count)
{
	union {
		char buf[CMSG_SPACE(sizeof(uint16_t))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {tx->space, count * cfg.size};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.buf,
			     .msg_controllen = sizeof(control.buf)};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	const uint16_t segment = (uint16_t)cfg.size;

	cmsg->cmsg_level = SOL_UDP;
	cmsg->cmsg_type = UDP_SEGMENT;
	cmsg->cmsg_len = CMSG_LEN(sizeof(segment));
	memcpy(CMSG_DATA(cmsg), &segment, sizeof(segment));
	return sendmsg(tx->fd[flow], &msg, 0) < 0 ? -errno : (int)count;
}

static int tx_send_plain(struct tx *tx, uint32_t flow, uint32_t count)
{
	struct mmsghdr msgs[UDP_BATCH] = {0};
	struct iovec iov[UDP_BATCH];
	int n;

	for (uint32_t i = 0; i < count; i++) {
		iov[i] = (struct iovec){tx->space + i * cfg.size, cfg.size};
		msgs[i].msg_hdr.msg_iov = &iov[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
	}
	n = sendmmsg(tx->fd[flow], msgs, count, 0);
	return n < 0 ? -errno : n;
}

static void tx_batch(struct tx *tx, uint32_t flow, uint64_t due)
{
	const uint32_t count = due < tx->batch ? (uint32_t)due : tx->batch;
	int n;

	tx_fill(tx, flow, count);
	n = cfg.gso ? tx_send_gso(tx, flow, count) : tx_send_plain(tx, flow, count);
	if (n == -ECONNREFUSED) {
		tx->refused++;
	} else if (n == -ENOBUFS || n == -EAGAIN) {
		tx->full++;
	} else if (n < 0) {
		errno = -n;
		die_errno("send");
	} else {
		tx->seq[flow] += (uint64_t)n;
		tx->sent += (uint64_t)n;
		if (tx->seq[flow] >= UDP_SEQ_MAX)
			die("more datagrams than the receiver can tell apart");
	}
}

static void tx_fin(struct tx *tx)
{
	const struct header fin = {.magic = UDP_MAGIC, .fin = 1};
	const struct timespec gap = {.tv_nsec = 10 * 1000 * 1000};

	for (int i = 0; i < UDP_FIN_COUNT; i++) {
		/* Queues on the way empty meanwhile, so that a fin does not overtake payload. */
		nanosleep(&gap, NULL);
		if (send(tx->fd[0], &fin, sizeof(fin), 0) < 0 && errno != ECONNREFUSED)
			die_errno("send");
	}
}

static void tx_open(struct tx *tx)
{
	tx->batch = UDP_BATCH;
	if (cfg.gso && tx->batch > UDP_DATAGRAM / cfg.size)
		tx->batch = (uint32_t)(UDP_DATAGRAM / cfg.size);
	tx->space = calloc(UDP_BATCH, cfg.size);
	if (!tx->space)
		die("out of memory");
	for (uint32_t i = 0; i < cfg.flows; i++)
		tx->fd[i] = net_connect(cfg.host, cfg.port, SOCK_DGRAM);
}

static void transmit(void)
{
	const struct timespec nap = {.tv_nsec = UDP_IDLE_SLEEP_NS};
	struct tx tx = {0};
	uint64_t start_ns, passed_ns;
	uint32_t flow = 0;

	tx_open(&tx);
	start_ns = now_ns();
	while ((passed_ns = now_ns() - start_ns) < cfg.duration_ns) {
		uint64_t due = UINT64_MAX;

		if (cfg.rate) {
			/* With nanoseconds the product would not fit into 64 bits. */
			due = cfg.rate * (passed_ns / 1000) / 1000000;
			if (due <= tx.sent) {
				nanosleep(&nap, NULL);
				continue;
			}
			due -= tx.sent;
		}
		tx_batch(&tx, flow, due);
		flow = (flow + 1) % cfg.flows;
	}
	tx_fin(&tx);
	printf("{\"size\": %zu, \"gso\": %s, \"flows\": %u, \"seconds\": %.4f, \"sent\": %llu, "
	       "\"refused\": %llu, \"full\": %llu}\n",
	       cfg.size, cfg.gso ? "true" : "false", cfg.flows, (double)passed_ns / 1e9,
	       (unsigned long long)tx.sent, (unsigned long long)tx.refused,
	       (unsigned long long)tx.full);
}

static void run(char **words, size_t nofile)
{
	(void)words;
	(void)nofile;
	if (cfg.listens)
		receive();
	else
		transmit();
}

static const struct setting settings[] = {
	FLAG("listen", cfg.listens),
	TEXT("host", cfg.host),
	NUMBER("port", cfg.port, 1, 65535),
	NUMBER("size", cfg.size, sizeof(struct header), UDP_DATAGRAM),
	NUMBER("rate", cfg.rate, 0, 100000000),
	NUMBER("flows", cfg.flows, 1, UDP_FLOWS_MAX),
	SECONDS("seconds", cfg.duration_ns),
	FLAG("gso", cfg.gso),
	NUMBER("rcvbuf", cfg.rcvbuf, 0, 1 << 30),
	{.name = NULL},
};

const struct program program = {
	.usage = "udp --listen [--host=A] [--port=P] [--size=BYTES] "
		 "[--seconds=S], or udp --host=A --port=P [--size=BYTES] [--rate=N] "
		 "[--flows=N] [--gso] [--seconds=S]",
	.settings = settings,
	.run = run,
};
