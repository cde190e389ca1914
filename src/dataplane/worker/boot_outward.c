/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/boot_outward.h"

#include <errno.h>

#include "base/fdpass.h"

/* Receives a message of exactly this length. *n: first the room in fds, then the number received.
 */
static int receive(int boot_fd, void *msg, size_t len, int *fds, size_t *n)
{
	ssize_t got = fdpass_recv(boot_fd, msg, len, fds, n, 0);

	if (got < 0)
		return (int)got;
	return got == (ssize_t)len ? 0 : -EPROTO;
}

static int receive_policy(int boot_fd, struct boot_outward *out)
{
	int fds[FDPASS_MAX];
	size_t n = FDPASS_MAX;
	int code = receive(boot_fd, &out->policy, sizeof(out->policy), fds, &n);

	if (code)
		return code;
	if (n != (out->policy.ipv6 ? 2 : 1) || out->policy.n_rules > DP_OUTWARD_RULES ||
	    out->policy.n_resolvers > DP_RESOLVERS)
		return -EPROTO;
	out->raw4 = fds[0];
	out->raw6 = n > 1 ? fds[1] : -1;
	return 0;
}

static int receive_worker(int boot_fd, uint32_t number, int *out)
{
	struct dp_outward_worker msg;
	int fds[FDPASS_MAX];
	size_t n = FDPASS_MAX, next = 0;
	int code = receive(boot_fd, &msg, sizeof(msg), fds, &n);

	if (code)
		return code;
	if (msg.number != number || n != (size_t)__builtin_popcount(msg.has) ||
	    msg.has >= 1u << DP_OUTWARD_FDS)
		return -EPROTO;
	for (unsigned i = 0; i < DP_OUTWARD_FDS; i++)
		out[i] = msg.has & 1u << i ? fds[next++] : -1;
	return 0;
}

int boot_outward_receive(int boot_fd, unsigned workers, struct boot_outward *out)
{
	int code = receive_policy(boot_fd, out);

	for (unsigned i = 0; i < workers && !code; i++)
		code = receive_worker(boot_fd, i, out->fds[i]);
	return code;
}
