/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ports/spec.h"

/* A port spec. It is refused with a message, or it is written and read again without a change. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct port_spec spec, again;
	struct err e = {.code = 0};
	char *text = malloc(size + 1), canonical[300], q[64];

	assert(text);
	memcpy(text, data, size);
	text[size] = '\0';
	quote_go(text, q, sizeof(q));
	if (portspec_parse(text, &spec, &e) < 0) {
		assert(e.msg[0]);
	} else {
		portspec_format(&spec, canonical, sizeof(canonical));
		assert(portspec_parse(canonical, &again, &e) == 0);
		assert(memcmp(&spec, &again, sizeof(spec)) == 0);
		portspec_validate(&spec, &e);
	}
	free(text);
	return 0;
}
