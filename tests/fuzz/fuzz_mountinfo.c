/* SPDX-License-Identifier: Apache-2.0 */
/* A line of mountinfo, and before it a cgroup's path. If a directory comes out, it lies below a
 * directory that the line names, and it fits in the buffer. */
#include <string.h>

#include "fuzz.h"
#include "ns/cgroup2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *cgroup = malloc(size + 1), *line, out[256];
	struct mountinfo m;

	fuzz_assert(cgroup);
	if (size)
		memcpy(cgroup, data, size);
	cgroup[size] = '\0';
	line = strchr(cgroup, '\n');
	if (line) {
		*line++ = '\0';
		memset(out, 'x', sizeof(out));
		out[0] = '\0';
		if (!mountinfo_parse(line, &m) || !cgroup2_directory(&m, cgroup, out, sizeof(out)))
			fuzz_assert(!out[0]);
		else
			fuzz_assert(memchr(out, '\0', sizeof(out)));
		fuzz_assert(!out[0] || strncmp(cgroup, "/..", 3) != 0);
	}
	free(cgroup);
	return 0;
}
