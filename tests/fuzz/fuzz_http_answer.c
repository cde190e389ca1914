/* SPDX-License-Identifier: Apache-2.0 */
/* What an API answers to the docker proxy: a whole answer lies within what was read, and what is
 * whole stays so when the connection ends. */
#include "ctl/http_answer.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct http_answer early = {0}, late = {0};
	int first = http_answer_read(text, size, false, &early);
	int last = http_answer_read(text, size, true, &late);

	if (last == 1) {
		fuzz_assert(late.status >= 100 && late.status <= 999);
		fuzz_assert(late.body >= text && late.body + late.body_len <= text + size);
	}
	if (first == 1)
		fuzz_assert(last == 1 && late.body == early.body &&
			    late.body_len == early.body_len);
	fuzz_assert(last != 0);
	return 0;
}
