/* SPDX-License-Identifier: Apache-2.0 */
/* An answer of rtnetlink(7) about a route. It is understood as a route, or it is an error. */
#include <string.h>

#include "fuzz.h"
#include "ns/route.h"

/* The input must be aligned like the buffer that the kernel's answers are read into. */
union answer {
	char bytes[4096];
	long align;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	union answer *answer = malloc(sizeof(*answer));
	struct route route;

	fuzz_assert(answer);
	size = size < sizeof(*answer) ? size : sizeof(*answer);
	if (size)
		memcpy(answer->bytes, data, size);
	fuzz_assert(route_read(answer->bytes, size, &route) <= 0);
	free(answer);
	return 0;
}
