/* SPDX-License-Identifier: Apache-2.0 */
/* ns/turned.c in a user and network namespace of the test's own: where rules turn what comes in. */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/netfilter.h>
#include <netpacket/packet.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "netns_box.h"
#include "ns/netif.h"
#include "ns/nfqueue.h"
#include "ns/nft.h"
#include "ns/turned.h"

#define LACKS  77
#define NO_NFT 78

static void run(int (*fn)(void *arg))
{
	int code = shared_box_run(fn, NULL);

	if (code == LACKS) {
		print_message("the kernel has no packet sockets, or no packet queues\n");
		skip();
	}
	if (code == NO_NFT) {
		print_message("nft(8) is missing, or the kernel has no nft_nat\n");
		skip();
	}
	assert_int_equal(code, 0);
}

static union sock_addr address(const char *text, uint16_t port)
{
	union sock_addr a = {.sa.sa_family = AF_UNSPEC};

	if (inet_pton(AF_INET, text, &a.in4.sin_addr) == 1)
		a.in4.sin_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &a.in6.sin6_addr) == 1)
		a.in6.sin6_family = AF_INET6;
	a.in4.sin_port = htons(port); /* an IPv6 port is at the same place */
	return a;
}

static const struct {
	const char *ip;
	int proto;
} kinds[] = {{"127.0.0.1", IPPROTO_TCP},
	     {"127.0.0.1", IPPROTO_UDP},
	     {"::1", IPPROTO_TCP},
	     {"::1", IPPROTO_UDP}};

/* Sum of 16-bit words, with the carries; 0xffff: the checksum is right. */
static uint32_t sum_of(const uint8_t *data, size_t len, uint32_t so_far)
{
	for (size_t i = 0; i < len; i++)
		so_far += i % 2 ? data[i] : (uint32_t)data[i] << 8;
	while (so_far >> 16)
		so_far = (so_far & 0xffff) + (so_far >> 16);
	return so_far;
}

static void test_packets(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		union sock_addr at = address(kinds[i].ip, 18080), to;
		int family = at.sa.sa_family, proto = kinds[i].proto;
		size_t header = family == AF_INET ? 20 : 40, addresses = family == AF_INET ? 12 : 8;
		uint8_t buf[TURNED_PACKET_BYTES];
		size_t len = turned_packet(buf, proto, &at, 7);

		assert_int_equal(len, header + (proto == IPPROTO_TCP ? 20 : 8));
		if (family == AF_INET)
			assert_int_equal(sum_of(buf, header, 0), 0xffff);
		assert_int_equal(sum_of(buf + addresses, len - addresses,
					(uint32_t)proto + (uint32_t)(len - header)),
				 0xffff);
		assert_true(turned_read(buf, len, proto, family, 7, &to));
		assert_true(sockaddr_same(&at, &to));
		/* Of another question, of nobody's, and cut short. */
		assert_false(turned_read(buf, len, proto, family, 8, &to));
		assert_false(turned_read(buf, len, proto == IPPROTO_TCP ? IPPROTO_UDP : IPPROTO_TCP,
					 family, 7, &to));
		assert_false(turned_read(buf, len, proto, family == AF_INET ? AF_INET6 : AF_INET, 7,
					 &to));
		assert_false(turned_read(buf, header + 3, proto, family, 7, &to));
		assert_false(turned_read(buf, header - 1, proto, family, 7, &to));
		assert_false(turned_read(buf, 0, proto, family, 7, &to));
		buf[addresses]++; /* another sender */
		assert_false(turned_read(buf, len, proto, family, 7, &to));
	}
}

/* A namespace of this process's own, in the box, with sockets to ask by. 0, LACKS, or a number. */
static int enter(struct turned *t)
{
	union sock_addr at = address("127.0.0.1", 9), to;
	struct err e = {.code = 0};

	if (unshare(CLONE_NEWNET) < 0 || netif_loopback_up(&e) < 0)
		return 2;
	if (turned_open(t, &e) < 0) {
		fprintf(stderr, "%s\n", e.msg);
		return LACKS;
	}
	return turned_ask(t, IPPROTO_TCP, &at, &to) == -ENOSYS ? LACKS : 0;
}

static int ask_each(struct turned *t, const char *where4, const char *where6)
{
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		union sock_addr at = address(kinds[i].ip, 18080), to;
		union sock_addr want = address(at.sa.sa_family == AF_INET ? where4 : where6, 18080);
		int code = turned_ask(t, kinds[i].proto, &at, &to);

		if (code || !sockaddr_same(&to, &want)) {
			char text[SOCKADDR_TEXT_BYTES];

			fprintf(stderr, "kind %u: %d, %s\n", i, code,
				code ? "" : sockaddr_format(&to.sa, text));
			return 3;
		}
	}
	return 0;
}

static int not_turned(void *arg)
{
	struct turned t;
	int code = enter(&t);

	(void)arg;
	if (!code)
		code = ask_each(&t, "127.0.0.1", "::1");
	turned_close(&t);
	return code;
}

static void test_not_turned(void **state)
{
	(void)state;
	run(not_turned);
}

/* Somebody's rules, where those that turn connections are. 0, or the code to end with. */
static int add_turn(void)
{
	static const char rules[] =
		"add table ip others\n"
		"add chain ip others turn { type nat hook prerouting priority -100; }\n"
		"add rule ip others turn ip daddr 127.0.0.1 dnat to 172.17.0.2\n"
		"add table ip6 others\n"
		"add chain ip6 others turn { type nat hook prerouting priority -100; }\n"
		"add rule ip6 others turn ip6 daddr ::1 dnat to fd00:17::2";
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		execlp("nft", "nft", rules, (char *)NULL);
		_exit(NO_NFT);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 ? 0 : NO_NFT;
}

static int add_drop(void)
{
	auto_free struct nft_batch *b = nft_batch_new("others");
	struct err e = {.code = 0};

	if (!b)
		return -ENOMEM;
	nft_chain(b, "turn", -100);
	for (unsigned ipv6 = 0; ipv6 < 2; ipv6++) {
		struct nft_rule r = nft_rule_begin(b, "turn", "nf_tables");

		nft_is_loopback(&r, ipv6, false);
		nft_verdict(&r, NF_DROP);
		nft_rule_end(&r);
	}
	if (nft_commit(b, &e) == 0)
		return 0;
	fprintf(stderr, "%s\n", e.msg);
	return 4;
}

static int turned(void *arg)
{
	struct turned t;
	int code = enter(&t);

	(void)arg;
	if (!code)
		code = add_turn();
	if (!code)
		code = ask_each(&t, "172.17.0.2", "fd00:17::2");
	/* Numbers begin again, and no packet stays in the queue. */
	t.number = UINT16_MAX - 100;
	for (unsigned i = 0; i < 5000 && !code; i++) {
		union sock_addr at = address("127.0.0.1", 18080), to;

		code = turned_ask(&t, IPPROTO_TCP, &at, &to) ? 5 : 0;
	}
	turned_close(&t);
	return code;
}

static void test_turned(void **state)
{
	(void)state;
	run(turned);
}

static int dropped(void *arg)
{
	union sock_addr at = address("127.0.0.1", 18080), to;
	struct turned t;
	int code = enter(&t);

	(void)arg;
	if (!code)
		code = add_drop();
	if (!code && turned_ask(&t, IPPROTO_TCP, &at, &to) != -ETIMEDOUT)
		code = 6;
	turned_close(&t);
	return code;
}

static void test_dropped(void **state)
{
	(void)state;
	run(dropped);
}

/* A later keeper finds the rule there, and waits for the end of this one. */
static int asked_again(void *arg)
{
	union sock_addr at = address("127.0.0.1", 18080), to;
	struct turned t, again;
	int code = enter(&t);

	(void)arg;
	if (!code && turned_open(&again, &(struct err){.code = 0}) < 0)
		code = 7;
	if (!code && turned_ask(&again, IPPROTO_TCP, &at, &to) != -EAGAIN)
		code = 8;
	turned_close(&t);
	if (!code) {
		code = ask_each(&again, "127.0.0.1", "::1");
		turned_close(&again);
	}
	return code;
}

static void test_asked_by_the_next(void **state)
{
	(void)state;
	run(asked_again);
}

static bool repeated;	       /* the last message comes again and again */
static const int *bind_errors; /* with which the next calls of nfqueue_bind() fail; then 0 */

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): the linker's names */
ssize_t __real_netlink_receive(struct mnl_socket *nl, void *buf, size_t size);
ssize_t __wrap_netlink_receive(struct mnl_socket *nl, void *buf, size_t size);

ssize_t __wrap_netlink_receive(struct mnl_socket *nl, void *buf, size_t size)
{
	static char last[4096];
	static ssize_t last_len;
	ssize_t n = __real_netlink_receive(nl, buf, size);

	if (n > 0 && (size_t)n <= sizeof(last)) {
		memcpy(last, buf, (size_t)n);
		last_len = n;
	} else if (repeated && n == -EAGAIN && (size_t)last_len <= size) {
		memcpy(buf, last, (size_t)last_len);
		return last_len;
	}
	return n;
}

int __real_nfqueue_bind(struct mnl_socket *nl, uint16_t number, uint32_t copy_bytes,
			uint32_t packets);
int __wrap_nfqueue_bind(struct mnl_socket *nl, uint16_t number, uint32_t copy_bytes,
			uint32_t packets);

int __wrap_nfqueue_bind(struct mnl_socket *nl, uint16_t number, uint32_t copy_bytes,
			uint32_t packets)
{
	/* The queue is bound, and then something fails. */
	int code = __real_nfqueue_bind(nl, number, copy_bytes, packets);

	return bind_errors && *bind_errors ? *bind_errors++ : code;
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

/* Descriptors or memory are short for a moment: the next question is answered. */
static int short_for_a_moment(void *arg)
{
	static const int errors[] = {-ENOBUFS, -EMFILE, -ENFILE, -ENOMEM, 0};
	union sock_addr at = address("127.0.0.1", 18080), to;
	struct turned t;
	int code = enter(&t);

	(void)arg;
	turned_close(&t);
	if (!code && turned_open(&t, &(struct err){.code = 0}) < 0)
		code = 7;
	bind_errors = errors;
	for (unsigned i = 0; errors[i] && !code; i++)
		if (turned_ask(&t, IPPROTO_TCP, &at, &to) != errors[i])
			code = 8;
	if (!code)
		code = ask_each(&t, "127.0.0.1", "::1");
	turned_close(&t);
	return code;
}

/* Puts n packets with our mark on lo, as root of the namespace can. */
static int put_foreign(const struct turned *t, unsigned n)
{
	union sock_addr at = address("127.0.0.1", 9);
	struct sockaddr_ll lo = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETH_P_IP),
				 .sll_ifindex = 1,
				 .sll_halen = ETH_ALEN};
	uint8_t buf[TURNED_PACKET_BYTES];
	size_t len = turned_packet(buf, IPPROTO_UDP, &at, 0);

	for (unsigned i = 0; i < n; i++)
		if (sendto(t->packet_fd, buf, len, 0, (struct sockaddr *)&lo, sizeof(lo)) < 0)
			return 9;
	return 0;
}

/* Somebody else has filled the queue. That does not take the place of a question. */
static int full_queue(void *arg)
{
	struct turned t;
	int code = enter(&t);

	(void)arg;
	for (unsigned i = 0; i < 3 && !code; i++) {
		code = put_foreign(&t, 1000);
		if (!code)
			code = ask_each(&t, "127.0.0.1", "::1");
	}
	turned_close(&t);
	return code;
}

static void test_full_queue(void **state)
{
	(void)state;
	run(full_queue);
}

/* Such packets come all the time: the question ends, and somebody asks again later. */
static int flood(void *arg)
{
	union sock_addr at = address("127.0.0.1", 18080), to;
	struct turned t;
	int code = enter(&t);

	(void)arg;
	if (!code)
		code = put_foreign(&t, 10);
	repeated = true;
	if (!code && turned_ask(&t, IPPROTO_TCP, &at, &to) != -EAGAIN)
		code = 10;
	repeated = false;
	if (!code)
		code = ask_each(&t, "127.0.0.1", "::1");
	turned_close(&t);
	return code;
}

static void test_flood(void **state)
{
	(void)state;
	run(flood);
}

static void test_short_for_a_moment(void **state)
{
	(void)state;
	run(short_for_a_moment);
}

static void test_nothing_to_ask_with(void **state)
{
	union sock_addr at = address("127.0.0.1", 18080), to;
	struct turned t = {.packet_fd = -1};

	(void)state;
	assert_int_equal(turned_ask(&t, IPPROTO_TCP, &at, &to), -ENOSYS);
	turned_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_packets),
		cmocka_unit_test(test_not_turned),
		cmocka_unit_test(test_turned),
		cmocka_unit_test(test_dropped),
		cmocka_unit_test(test_asked_by_the_next),
		cmocka_unit_test(test_short_for_a_moment),
		cmocka_unit_test(test_full_queue),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_nothing_to_ask_with),
	};

	return cmocka_run_group_tests(tests, shared_box_open, shared_box_close);
}
