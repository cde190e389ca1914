/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

/* The functions of this file are static, since nobody calls a broker. */
#include "../../src/dataplane/broker/main.c" /* NOLINT(bugprone-suspicious-include): see above */

/* A worker's request to the socket broker. The broker sends as many sockets as were asked for and
 * the channel stays open, or the channel is closed. No descriptor is left behind. The first byte
 * says how many descriptors come with the request; a worker sends none. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct broker broker = {.keeper = {.fd = -1, .turned_fd = -1}};
	int pair[2], fds[FDPASS_MAX], sent[4], lowest, again;
	struct broker_request req = {.family = 0};
	struct broker_reply reply;
	size_t n = FDPASS_MAX;
	bool goes_on;

	if (!size || size > 4096)
		return 0;
	fuzz_assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	for (size_t i = 0; i < 4; i++)
		sent[i] = pair[0];
	fuzz_assert(fdpass_send(pair[1], data + 1, size - 1, sent, data[0] >> 6, 0) == 0);
	lowest = dup(pair[0]);
	close(lowest);
	broker.n = CHANNELS_AT;
	add_channels(&broker, pair, 1);
	goes_on = serve_channel(&broker, CHANNELS_AT);
	fuzz_assert(!broker.broken && !broker.owed[CHANNELS_AT].family);
	if (size - 1 == sizeof(req))
		memcpy(&req, data + 1, sizeof(req));
	fuzz_assert(goes_on == request_is_valid(&req));
	if (fdpass_recv(pair[1], &reply, sizeof(reply), fds, &n, MSG_DONTWAIT) == sizeof(reply)) {
		fuzz_assert(goes_on && n == reply.count && reply.err <= 0);
		fuzz_assert(reply.err || n == req.count);
		fdpass_close(fds, n);
	} else {
		fuzz_assert(!goes_on);
	}
	again = dup(pair[0]);
	fuzz_assert(again == lowest);
	close(again);
	close(pair[0]);
	close(pair[1]);
	return 0;
}
