/* SPDX-License-Identifier: Apache-2.0 */
/* An answer that comes over slirp4netns's API socket. The first byte says to which request. */
#include <string.h>

#include "drivers/port/slirp4netns_answer.h"
#include "fuzz.h"

static void check_answer(enum slirp4netns_request request, const struct slirp4netns_answer *a)
{
	for (const char *c = a->refused; *c; c++)
		fuzz_assert(*c >= ' ' && *c < 0x7f);
	fuzz_assert((a->ids != NULL) == (a->n_ids > 0));
	if (a->refused[0])
		fuzz_assert(!a->id && !a->n_ids);
	else if (request == SLIRP4NETNS_ADD)
		fuzz_assert(a->id > 0 && !a->n_ids);
	for (size_t i = 0; i < a->n_ids; i++)
		fuzz_assert(a->ids[i] > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum slirp4netns_request request = size ? (enum slirp4netns_request)(data[0] % 3) : 0;
	const char *text = size ? (const char *)data + 1 : "";
	struct slirp4netns_answer answer;
	struct err e = {.code = 0};

	if (slirp4netns_answer_parse(request, text, size ? size - 1 : 0, &answer, &e) == 0) {
		check_answer(request, &answer);
	} else {
		fuzz_assert(e.code < 0 && e.msg[0]);
		fuzz_assert(!answer.ids && !answer.refused[0]);
		for (const char *c = e.msg; *c; c++)
			fuzz_assert(*c >= ' ' && *c < 0x7f);
	}
	slirp4netns_answer_free(&answer);
	return 0;
}
