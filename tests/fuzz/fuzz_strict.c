/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <string.h>

#include "api/strict.h"

/* Cuts the line at its first or last blank, as libmicrohttpd does. Returns what is before it; NULL:
 * there is no blank. */
static char *cut(char *from, char *to, bool last)
{
	char *blank = last ? memrchr(from, ' ', (size_t)(to - from))
			   : memchr(from, ' ', (size_t)(to - from));

	if (!blank)
		return NULL;
	*blank = '\0';
	return blank + 1;
}

static void line(char *start, char *end)
{
	char *target = cut(start, end, false), *version = target ? cut(target, end, true) : NULL;
	struct strict_target seen;
	struct strict_refusal no;
	const char *path;

	if (!version)
		return;
	seen = strict_target_read(target);
	no = strict_line(start, &seen, version);
	fuzz_assert(!no.status == !no.why);
	/* A request that is let pass has been seen whole. */
	if (!no.status) {
		fuzz_assert(strspn(start + strlen(start) + 1, " \t") + strlen(start) + 1 >=
			    (size_t)(target - start));
		fuzz_assert(!strchr(target, ' '));
	}
	path = strict_path(target);
	fuzz_assert((path >= target && path <= seen.end) || !strcmp(path, "/"));
}

static struct strict_refusal header(char *start, char *end)
{
	struct strict_header h = {.hosts = 0};

	while (start < end) {
		char *nl = memchr(start, '\n', (size_t)(end - start));
		char *stop = nl ? nl : end, *colon = memchr(start, ':', (size_t)(stop - start));

		*stop = '\0';
		if (colon) {
			*colon = '\0';
			strict_field(&h, start, (size_t)(colon - start), colon + 1,
				     (size_t)(stop - colon - 1));
		}
		start = stop + 1;
	}
	return strict_header_end(&h, "HTTP/1.1");
}

/* A request of the API: its first line, and the fields of its header. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *buf = calloc(1, size + 2), *nl;
	struct strict_refusal no;

	fuzz_assert(buf);
	for (size_t i = 0; i < size; i++)
		buf[i] = (char)data[i];
	nl = memchr(buf, '\n', size);
	if (nl) {
		*nl = '\0';
		line(buf, nl);
		no = header(nl + 1, buf + size);
		fuzz_assert(!no.status == !no.why);
	}
	free(buf);
	return 0;
}
