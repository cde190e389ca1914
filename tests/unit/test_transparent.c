/* SPDX-License-Identifier: Apache-2.0 */
/* ns/transparent.c in a user and network namespace of the test's own.
 * tests/integration/test_transparent.py shows that packets go where they should. */
#include "cmocka_all.h"

#include <cap-ng.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "netns_box.h"
#include "ns/netlink.h"
#include "ns/nft.h"
#include "ns/transparent.h"

#define LOOPBACK4 TRANSPARENT_BIT(TRANSPARENT_LOOPBACK, false)

static void run(int (*fn)(void *arg))
{
	assert_int_equal(shared_box_run(fn, NULL), 0);
}

static int say(const struct err *why, uint32_t works)
{
	fprintf(stderr, "mask %x, %s\n", works, why->code ? why->msg : "no failure");
	return 1;
}

static int set_up(void *arg)
{
	struct err why = {.code = 0};
	uint32_t works = transparent_set_up("", &why);

	(void)arg;
	/* What else works depends on the machine. If something does not, there is a reason. */
	if (!(works & LOOPBACK4) || (works != 0x3f && !why.code) || (works == 0x3f && why.code))
		return say(&why, works);
	return 0;
}

static void test_set_up(void **state)
{
	(void)state;
	run(set_up);
	run(set_up); /* a set-up that is there already is no failure */
}

/* Takes the place of libmnl's function. When this is not 0, the request of that number, from now
 * on, is not sent. */
static unsigned fail_at;

ssize_t mnl_socket_sendto(const struct mnl_socket *nl, const void *req, size_t siz)
{
	static const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

	if (fail_at && --fail_at == 0) {
		errno = ENOBUFS;
		return -1;
	}
	return sendto(mnl_socket_get_fd(nl), req, siz, 0, (const struct sockaddr *)&kernel,
		      sizeof(kernel));
}

/* Each request fails once. What does not work then has a reason. */
static int each_request_fails(void *arg)
{
	auto_netlink struct mnl_socket *route = netlink_open(NETLINK_ROUTE);
	auto_netlink struct mnl_socket *nft = netlink_open(NETLINK_NETFILTER);
	unsigned failed = 0;

	(void)arg;
	for (unsigned i = 0; i < 2; i++)
		for (unsigned n = 1;; n++) {
			struct err e = {.code = 0};

			fail_at = n;
			if (i == 0 && transparent_set_up("", &e) != 0x3f && !e.code)
				return say(&e, n);
			if (i == 1 && transparent_put_back(route, nft, true, "", &e) && !e.code)
				return say(&e, n);
			if (e.code && (e.code > 0 || !e.msg[0]))
				return say(&e, n);
			failed += e.code == -ENOBUFS;
			if (fail_at)
				break; /* there were fewer requests */
		}
	fail_at = 0;
	return failed >= 6 ? 0 : 2;
}

static void test_each_request_fails(void **state)
{
	(void)state;
	run(each_request_fails);
}

static int without_rights(void *arg)
{
	struct err why = {.code = 0};
	uint32_t works;

	(void)arg;
	capng_clear(CAPNG_SELECT_BOTH);
	if (capng_apply(CAPNG_SELECT_CAPS) < 0)
		return 2;
	works = transparent_set_up("", &why);
	return works == 0 && why.code ? 0 : say(&why, works);
}

static void test_without_rights(void **state)
{
	(void)state;
	run(without_rights);
}

static int marks_are_inherited(void *arg)
{
	struct err why = {.code = 0};
	uint32_t works;

	/* The sysctl of the earlier namespace stays as it was set, so this needs a namespace of its
	 * own. */
	(void)arg;
	if (unshare(CLONE_NEWNET) < 0)
		return 2;
	works = transparent_set_up("", &why);
	if (!(works & LOOPBACK4))
		return say(&why, works);
	return access("/proc/sys/net/ipv4/tcp_fwmark_accept", W_OK) == 0 &&
			       !(works & TRANSPARENT_BIT(TRANSPARENT_OWN, false))
		       ? say(&why, works)
		       : 0;
}

static void test_marks(void **state)
{
	(void)state;
	run(marks_are_inherited);
}

/* Adds a rule that uses connection tracking, in another table, as somebody else would. */
static int track_connections(void)
{
	auto_free struct nft_batch *b = nft_batch_new("others");
	struct nft_rule r;

	if (!b)
		return -ENOMEM;
	nft_chain(b, "any", 0);
	r = nft_rule_begin(b, "any", "nft_ct");
	nft_compare_connection_mark(&r, 1);
	nft_rule_end(&r);
	return nft_commit(b, NULL);
}

static int watch(void *arg)
{
	struct transparent_watch w, again;
	struct err e = {.code = 0};

	(void)arg;
	if (unshare(CLONE_NEWNET) < 0)
		return 2;
	transparent_set_up("", &e);
	if (transparent_watch_open(&w, &e) || transparent_watch_open(&again, &e))
		return say(&e, 0);
	e.code = 0;
	if (transparent_watch_look(&w, true, &e) || e.code)
		return 3;
	if (track_connections()) {
		fprintf(stderr, "no nft_ct\n");
		return 0;
	}
	w.next_ms = UINT64_MAX; /* so that it counts as having just looked */
	if (transparent_watch_look(&w, false, &e))
		return 4;
	if (!transparent_watch_look(&w, true, &e) || transparent_watch_look(&w, true, &e))
		return say(&e, 5);
	/* The next broker finds the rules there. */
	if (!transparent_watch_look(&again, false, &e) || e.code)
		return say(&e, 6);
	transparent_watch_close(&w);
	transparent_watch_close(&again);
	return 0;
}

static void test_watch(void **state)
{
	(void)state;
	run(watch);
}

static void commit_something(void)
{
	static unsigned n;
	auto_free struct nft_batch *b = NULL;
	char name[16];

	snprintf(name, sizeof(name), "others%u", n++);
	b = nft_batch_new(name);
	if (!b)
		return;
	nft_chain(b, "any", 0);
	nft_commit(b, NULL);
}

/* The first report of a burst is read at once, the others together when it rests no more. */
static int reports_of_a_burst(void *arg)
{
	struct transparent_repair r;
	struct err e = {.code = 0};
	int ms;

	(void)arg;
	if (unshare(CLONE_NEWNET) < 0)
		return 2;
	if (transparent_repair_open(&r, "", &e))
		return say(&e, 0);
	if (transparent_repair_fd(&r, 0) < 0 || transparent_repair_wait_ms(&r) != -1)
		return 3;
	commit_something();
	if (transparent_repair_look(&r, &e) || e.code || !transparent_repair_changed(&r))
		return 4;
	commit_something();
	ms = transparent_repair_wait_ms(&r);
	if (transparent_repair_fd(&r, 0) >= 0 || ms < 1)
		return 5;
	if (transparent_repair_look(&r, &e) || transparent_repair_changed(&r))
		return 6;
	usleep((unsigned)ms * 1000 + 2000);
	if (transparent_repair_fd(&r, 0) < 0 || transparent_repair_look(&r, &e) ||
	    !transparent_repair_changed(&r))
		return 7;
	/* What is lost is put back at the end of its own pause. */
	r.lost = true;
	r.next_ms = r.read_ms + 1000;
	ms = transparent_repair_wait_ms(&r);
	if (ms < 1 || ms > 100)
		return 8;
	r.read_ms = 0;
	ms = transparent_repair_wait_ms(&r);
	return ms > 500 && ms < 2000 ? 0 : 9;
}

static void test_reports_of_a_burst(void **state)
{
	(void)state;
	run(reports_of_a_burst);
}

/* A batch that fails has an error for each of its messages that fails, and an acknowledgement. None
 * of them may be taken for the answer to the next batch. */
static int answers_of_earlier_batches(void *arg)
{
	auto_netlink struct mnl_socket *nl = NULL;
	struct err e = {.code = 0};

	(void)arg;
	if (unshare(CLONE_NEWNET) < 0)
		return 2;
	nl = netlink_open(NETLINK_NETFILTER);
	if (!nl)
		return 3;
	if (transparent_mark_turned(nl, &e)) {
		fprintf(stderr, "no nft_ct: %s\n", e.msg);
		return 0;
	}
	/* What is there already is no failure, but the kernel says so. */
	for (int i = 0; i < 3; i++)
		if (transparent_mark_turned(nl, &e))
			return say(&e, 4);
	capng_clear(CAPNG_SELECT_BOTH);
	if (capng_apply(CAPNG_SELECT_CAPS) < 0)
		return 5;
	return transparent_mark_turned(nl, &e) == -EPERM ? 0 : say(&e, 6);
}

static void test_answers_of_earlier_batches(void **state)
{
	(void)state;
	run(answers_of_earlier_batches);
}

static int watch_without_rights(void *arg)
{
	struct transparent_watch w;
	struct err e = {.code = 0};

	(void)arg;
	if (unshare(CLONE_NEWNET) < 0)
		return 2;
	transparent_set_up("", &e);
	if (track_connections())
		return 0;
	capng_clear(CAPNG_SELECT_BOTH);
	if (capng_apply(CAPNG_SELECT_CAPS) < 0)
		return 3;
	e.code = 0;
	if (transparent_watch_open(&w, &e))
		return 4;
	/* The failure is told once, and then not tried again. */
	if (transparent_watch_look(&w, true, &e) || !e.code)
		return 5;
	e.code = 0;
	return transparent_watch_look(&w, true, &e) || e.code ? 6 : 0;
}

static void test_watch_without_rights(void **state)
{
	(void)state;
	run(watch_without_rights);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set_up),
		cmocka_unit_test(test_each_request_fails),
		cmocka_unit_test(test_without_rights),
		cmocka_unit_test(test_marks),
		cmocka_unit_test(test_watch),
		cmocka_unit_test(test_reports_of_a_burst),
		cmocka_unit_test(test_answers_of_earlier_batches),
		cmocka_unit_test(test_watch_without_rights),
	};

	return cmocka_run_group_tests(tests, shared_box_open, shared_box_close);
}
