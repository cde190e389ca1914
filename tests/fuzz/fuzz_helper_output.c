/* SPDX-License-Identifier: Apache-2.0 */
/* What helper programs write: lines, the --help of slirp4netns, and pasta's answer to an option
 * that it lacks. Lines come in pieces of the size that the first byte says. */
#include <string.h>

#include "drivers/net/helper_output.h"
#include "drivers/net/pasta_internal.h"
#include "drivers/net/slirp4netns_internal.h"
#include "fuzz.h"

static void check_tail(const char *tail)
{
	fuzz_assert(strlen(tail) < sizeof(((struct helper_output *)NULL)->tail));
	for (const char *c = tail; *c; c++)
		fuzz_assert(*c >= ' ' && *c < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct helper_output out = HELPER_OUTPUT_NONE;
	struct slirp4netns_features features;
	size_t step = size ? (size_t)data[0] + 1 : 1;
	char *copy = malloc(size + 1);

	fuzz_assert(copy);
	for (size_t i = 0; i < size; i++)
		copy[i] = (char)data[i];
	copy[size] = '\0';
	out.name = "fuzz";
	out.noise = "Failed to send ";
	for (size_t at = 0; at < size; at += step) {
		helper_output_feed(&out, copy + at, size - at < step ? size - at : step);
		if (at % 7 == 0)
			check_tail(helper_output_tail(&out));
	}
	check_tail(helper_output_tail(&out));
	slirp4netns_parse_help(copy, &features);
	if (pasta_lacks_option(copy))
		fuzz_assert(!strstr(copy, "Usage:"));
	free(copy);
	return 0;
}
