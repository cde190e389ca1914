/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <assert.h>
#include <stdlib.h>

#include "api/codec.h"

/* The body of a request. It is refused with a message, or it becomes a spec that is written and
 * read back the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct port_spec spec, *specs = NULL;
	struct err e = {.code = 0};
	size_t n = 0;

	if (codec_specs_decode((const char *)data, size, 4, &specs, &n, &e) < 0)
		assert(e.msg[0] && !specs);
	else
		assert(n >= 1 && n <= 4 && specs[n - 1].proto[63] == '\0');
	free(specs);

	if (codec_spec_decode((const char *)data, size, &spec, &e) < 0) {
		json_t *m = codec_message_encode(e.msg);

		assert(e.msg[0] && m);
		json_decref(m);
	} else {
		json_t *o = codec_port_encode(1, &spec);
		char *text = json_dumps(o, JSON_COMPACT);

		assert(text);
		portspec_validate(&spec, &e);
		free(text);
		json_decref(o);
	}
	return 0;
}
