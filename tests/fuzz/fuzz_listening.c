/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <string.h>

#include "ns/listening.h"

static void look(void *arg, const struct listening *l)
{
	(void)arg;
	fuzz_assert(l->addr.sa.sa_family == AF_INET || l->addr.sa.sa_family == AF_INET6);
	fuzz_assert(l->addr.in4.sin_port != 0 && l->proto == IPPROTO_TCP);
}

/* A part of the kernel's list of sockets (sock_diag(7)). */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *dump;

	size = size < 32768 ? size : 32768;
	dump = malloc(size ? size
			   : 1); /* netlink messages are aligned; a read past the end must show */
	fuzz_assert(dump);
	if (size)
		memcpy(dump, data, size);
	fuzz_assert(listening_parse(dump, size, 1, IPPROTO_TCP, look, NULL) <= 1);
	free(dump);
	return 0;
}
