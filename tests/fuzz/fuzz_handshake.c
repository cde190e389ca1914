/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fdpass.h"
#include "launch/handshake.h"

/* How many descriptors come with the message. */
static size_t fds_of(uint8_t first, int fds[4], int fd)
{
	size_t n = first >> 6;

	for (size_t i = 0; i < n; i++)
		fds[i] = fd;
	return n;
}

/* What parent and child read from each other. Reading ends with the message that was waited for,
 * whole, or with an error. No descriptor is left behind. The first byte says which message is
 * waited for. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum hs_kind kinds[] = {HS_MAPPED, HS_NETNS, HS_SETUP, HS_READY, HS_RUN};
	static struct hs_setup setup;
	int pair[2], fds[4], lowest, code;
	enum hs_kind kind;
	size_t want;

	if (!size || size > 65536)
		return 0;
	kind = kinds[data[0] % 5];
	want = kind == HS_SETUP ? sizeof(setup) : sizeof(struct hs_simple);
	fuzz_assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	fuzz_assert(fdpass_send(pair[1], data + 1, size - 1, fds, fds_of(data[0], fds, pair[0]),
				0) == 0);
	close(pair[1]);
	lowest = dup(pair[0]);
	close(lowest);
	code = hs_recv(pair[0], kind, &setup, want);
	if (code == 0) {
		fuzz_assert(size - 1 == want);
		fuzz_assert(setup.kind == (uint32_t)kind);
	} else {
		fuzz_assert(code == -EPROTO || code == -ECONNRESET || code == -EMSGSIZE);
	}
	code = dup(pair[0]);
	fuzz_assert(code == lowest);
	close(code);
	close(pair[0]);
	return 0;
}
