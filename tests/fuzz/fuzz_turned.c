/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <string.h>

#include "ns/turned.h"

/* What a packet queue of the namespace shows: root there can put anything into it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int families[] = {AF_INET, AF_INET6};
	uint8_t *copy;

	size = size < 4096 ? size : 4096;
	copy = malloc(size ? size : 1); /* aligned, as netlink wants it, and no longer than it is */
	fuzz_assert(copy);
	if (size)
		memcpy(copy, data, size);
	for (unsigned i = 0; i < 2; i++) {
		union sock_addr to;
		uint32_t last;

		if (turned_find(copy, size, IPPROTO_TCP, families[i], 258, &to, &last))
			fuzz_assert(to.sa.sa_family == families[i] && to.in4.sin_port);
		if (turned_read(copy, size, IPPROTO_TCP, families[i], 258, &to))
			fuzz_assert(to.sa.sa_family == families[i] && to.in4.sin_port);
	}
	free(copy);
	return 0;
}
