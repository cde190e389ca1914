/* SPDX-License-Identifier: Apache-2.0 */
/* A command line of rootlesskit, one word a line. */
#include <errno.h>
#include <string.h>

#include "base/limits.h"
#include "cli/options.h"
#include "fuzz.h"

#define WORDS_MAX 64

static void check_good(const struct options *o)
{
	if (o->help || o->version || o->print_semver)
		return;
	fuzz_assert(o->command && o->command[0]);
	fuzz_assert(o->mtu >= 0 && o->mtu <= 65521);
	fuzz_assert(o->workers >= 0 && o->workers <= LIMIT_WORKERS);
	fuzz_assert(o->udp_timeout_ms > 0);
	for (size_t i = 0; i < o->n_copy_up; i++)
		fuzz_assert(o->copy_up[i][0]);
	for (size_t i = 0; i < o->n_publish; i++)
		fuzz_assert(portspec_validate(&o->publish[i], NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char program[] = "rootlesskit";
	char *argv[WORDS_MAX + 2] = {program}, *copy = malloc(size + 1), *rest = copy, *word;
	struct options o;
	struct err e = {0};
	int argc = 1, code;

	fuzz_assert(copy);
	for (size_t i = 0; i < size; i++)
		copy[i] = (char)data[i];
	copy[size] = '\0';
	while (argc <= WORDS_MAX && (word = strsep(&rest, "\n")))
		argv[argc++] = word;
	code = options_parse(argc, argv, &o, &e);
	if (code == 0) {
		check_good(&o);
		options_free(&o);
	} else {
		fuzz_assert(code == -EINVAL && e.code == code);
		fuzz_assert(e.msg[0] && !strpbrk(e.msg, "\n\r\033"));
	}
	free(copy);
	return 0;
}
