/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <string.h>

#include "ns/netlink.h"

/* The kernel's acknowledgement of a request. It is understood as one, or it is an error. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *answer;

	size = size < NETLINK_ANSWER_BYTES ? size : NETLINK_ANSWER_BYTES;
	answer = malloc(size ? size
			     : 1); /* netlink messages are aligned; a read past the end must show */
	fuzz_assert(answer);
	if (size)
		memcpy(answer, data, size);
	fuzz_assert(netlink_check_ack(answer, size, 1, 0) <= 0);
	free(answer);
	return 0;
}
