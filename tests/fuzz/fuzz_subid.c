/* SPDX-License-Identifier: Apache-2.0 */
/* The files of sub-ids, and the output of getsubids(1). The ranges that come out can stand in one
 * id map. */
#include <string.h>

#include "fuzz.h"
#include "ns/idmap.h"
#include "ns/subid.h"

static void check(const struct id_ranges *r)
{
	fuzz_assert(r->n <= SUBID_RANGES_MAX);
	for (size_t i = 0; i < r->n; i++) {
		const struct id_range *a = &r->range[i];

		/* The largest number of 32 bits is no id (user_namespaces(7)). */
		fuzz_assert(a->count > 0 && a->start + a->count <= 0xffffffffUL);
		for (size_t k = 0; k < i; k++) {
			const struct id_range *b = &r->range[k];

			fuzz_assert(a->start >= b->start + b->count ||
				    b->start >= a->start + a->count);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct id_ranges files, getsubids;
	char *text = malloc(size + 1), **args;

	fuzz_assert(text);
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	files.n = getsubids.n = 0;
	(void)subid_parse(text, "me", 1000, &files);
	(void)subid_parse_getsubids(text, &getsubids);
	check(&files);
	check(&getsubids);
	args = idmap_args("newuidmap", 1, 1000, &files);
	fuzz_assert(args);
	idmap_args_free(args);
	free(text);
	return 0;
}
