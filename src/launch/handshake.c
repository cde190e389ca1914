/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/handshake.h"

#include <errno.h>
#include <string.h>

#include "base/fdpass.h"

int hs_send(int sock, enum hs_kind kind)
{
	struct hs_simple msg = {.kind = kind};

	return fdpass_send(sock, &msg, sizeof(msg), NULL, 0, MSG_NOSIGNAL);
}

int hs_recv(int sock, enum hs_kind kind, void *buf, size_t size)
{
	size_t no_fds = 0;
	ssize_t n;
	uint32_t got;

	n = fdpass_recv(sock, buf, size, NULL, &no_fds, 0);
	if (n == 0)
		return -ECONNRESET;
	if (n < 0)
		return (int)n;
	if ((size_t)n != size)
		return -EPROTO;
	memcpy(&got, buf, sizeof(got));
	return got == (uint32_t)kind ? 0 : -EPROTO;
}
