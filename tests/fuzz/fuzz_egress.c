/* SPDX-License-Identifier: Apache-2.0 */
/* A rule of --egress-deny, or a resolv.conf. The first byte says which. */
#include <string.h>

#include "drivers/net/builtin_internal.h"
#include "drivers/net/egress.h"
#include "fuzz.h"

static void fuzz_rule(const char *text)
{
	struct dp_outward_rule r;
	struct err e = {.code = 0};

	if (egress_parse(text, true, &r, &e))
		return;
	fuzz_assert(r.prefix_len <= (r.family == AF_INET ? 32 : 128));
	fuzz_assert(r.port_first <= r.port_last);
}

static void fuzz_resolvers(const char *text)
{
	union sock_addr a[DP_RESOLVERS];
	unsigned n = builtin_resolvers(text, a);

	fuzz_assert(n >= 1 && n <= DP_RESOLVERS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size < 1)
		return 0;
	text = malloc(size);
	fuzz_assert(text);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	if (data[0] == 'r')
		fuzz_resolvers(text);
	else
		fuzz_rule(text);
	free(text);
	return 0;
}
