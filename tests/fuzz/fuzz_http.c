/* SPDX-License-Identifier: Apache-2.0 */
/* An answer of a server. Fed whole and fed in pieces, it has the same result. The first byte says
 * how long the pieces are. */
#include <string.h>

#include "ctl/http.h"
#include "fuzz.h"

/* Returns what http_reader_feed returned. Bytes after the end of an answer are not fed. */
static int feed(struct http_reader *reader, const char *data, size_t size, size_t piece)
{
	struct err e = {0};
	int code = 0;

	http_reader_init(reader);
	for (size_t i = 0; i < size && !code && !reader->complete; i += piece)
		code = http_reader_feed(reader, data + i, size - i < piece ? size - i : piece, &e);
	if (!code && !reader->complete)
		code = http_reader_feed(reader, "", 0, &e);
	fuzz_assert(code || reader->complete);
	fuzz_assert(!code || e.msg[0]);
	fuzz_assert(!reader->complete || reader->status >= 200);
	fuzz_assert(!reader->body || reader->body[reader->len] == '\0');
	return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_reader whole, pieces;
	const char *text = (const char *)data + 1;

	if (size < 2)
		return 0;
	if (feed(&whole, text, size - 1, size - 1) == 0) {
		fuzz_assert(feed(&pieces, text, size - 1, data[0] + 1u) == 0);
		fuzz_assert(pieces.status == whole.status && pieces.len == whole.len);
		fuzz_assert(!whole.len || !memcmp(whole.body, pieces.body, whole.len));
	} else {
		fuzz_assert(feed(&pieces, text, size - 1, data[0] + 1u) != 0);
	}
	http_reader_free(&whole);
	http_reader_free(&pieces);
	return 0;
}
