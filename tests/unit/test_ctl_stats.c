/* SPDX-License-Identifier: Apache-2.0 */
/* What "rootlessctl stats" prints. */
#include "cmocka_all.h"

#include "test_ctl_server.h"

#define TCP                                                                                        \
	"\"tcp\":{\"flows\":3,\"accepted\":1234,\"refused\":4,\"unreachable\":1,\"timedOut\":2,"   \
	"\"failed\":3,\"aborted\":5,\"transparent\":7,\"transparentLost\":8,"                      \
	"\"bytesIn\":1048576,\"bytesOut\":512}"
#define UDP                                                                                        \
	"\"udp\":{\"flows\":11,\"datagramsIn\":12,\"datagramsOut\":13,\"dropped\":14,"             \
	"\"refused\":15,\"evicted\":16}"
#define RESOURCES                                                                                  \
	"\"resources\":{\"listeners\":21,\"acceptPaused\":22,\"pipesOpen\":23,"                    \
	"\"pipesRefused\":24,\"socketPoolEmpty\":25}"
#define OUTWARD                                                                                    \
	"\"outward\":{\"tcpSyns\":90,\"tcpFlows\":31,\"tcpConnected\":32,\"tcpRefused\":33,"       \
	"\"tcpProhibited\":34,\"tcpUnreachable\":1,\"tcpTimedOut\":2,\"tcpFailed\":3,"             \
	"\"tcpDropped\":4,\"tcpEvicted\":5,\"tcpBytesUp\":2048,\"tcpBytesDown\":3,"                \
	"\"udpFlows\":41,\"udpDatagramsUp\":42,\"udpDatagramsDown\":43,\"udpDropped\":44,"         \
	"\"udpProhibited\":45,\"dnsQueries\":46,\"pings\":47,\"packetsRefused\":48}"
#define STATS(total)                                                                               \
	OK_JSON("{\"dataplane\":\"epoll\",\"starts\":1,\"workers\":[{},{}],\"total\":{" total      \
		"},\"ports\":[]}")

static void expect_begins(const char *answer, const char *want)
{
	struct ctl_result result = ctl_ask(answer, "stats", NULL);

	assert_int_equal(result.status, 0);
	assert_string_equal(result.err, "");
	if (strncmp(result.out, want, strlen(want)) != 0)
		fail_msg("this is not how it begins:\n%s", result.out);
	ctl_result_free(&result);
}

static void test_all_groups(void **state)
{
	(void)state;
	expect_begins(STATS(TCP "," UDP "," RESOURCES "," OUTWARD),
		      "- Data plane: epoll, workers: 2, starts: 1\n"
		      "- TCP connections now: 3, accepted: 1.2 k, refused: 4, failed: 6, "
		      "aborted: 5, transparent: 7, transparentLost: 8, in: 1.0 MiB, out: 512B\n"
		      "- UDP flows now: 11, datagrams in: 12, out: 13, dropped: 14, refused: 15, "
		      "evicted: 16\n"
		      "- Listeners: 21, accept paused: 22, pipes: 23, pipes refused: 24, "
		      "waited for a socket: 25\n"
		      "- Way out: TCP connections now: 31, connected: 32, refused: 33, "
		      "prohibited: 34, failed: 15, up: 2.0 kiB, down: 3B\n"
		      "- Way out: UDP mappings now: 41, datagrams up: 42, down: 43, dropped: 44, "
		      "prohibited: 45, DNS queries: 46, pings: 47, other protocols refused: 48\n"
		      "ID ");
}

/* A network without a way out has no lines about it, and an older server may lack whole groups. */
static void test_missing_groups(void **state)
{
	(void)state;
	expect_begins(STATS(RESOURCES ",\"outward\":{\"tcpSyns\":0,\"udpDatagramsUp\":0}"),
		      "- Data plane: epoll, workers: 2, starts: 1\n"
		      "- TCP connections now: 0, accepted: 0, refused: 0, failed: 0, aborted: 0, "
		      "transparent: 0, transparentLost: 0, in: 0B, out: 0B\n"
		      "- UDP flows now: 0, datagrams in: 0, out: 0, dropped: 0, refused: 0, "
		      "evicted: 0\n"
		      "- Listeners: 21, accept paused: 22, pipes: 23, pipes refused: 24, "
		      "waited for a socket: 25\n"
		      "ID ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_groups),
		cmocka_unit_test(test_missing_groups),
	};

	ctl_require();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
