/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_TEST_OPTION_LINE_H
#define RINGKIT_TEST_OPTION_LINE_H

/* Command lines as the tests of the options write them. Include after cmocka.h. */
#include <stdio.h>
#include <string.h>

#include "cli/options.h"

#define WORDS_MAX 16
#define NET	  "--net=slirp4netns --port-driver=builtin "

/* Splits the line at blanks; '' is an empty word. The words are valid until the next call. */
static inline int words(const char *line, char **argv)
{
	static char copy[512];
	char *rest = copy, *word;
	int n = 0;

	snprintf(copy, sizeof(copy), "rootlesskit %s", line);
	while ((word = strsep(&rest, " "))) {
		assert_true(n < WORDS_MAX);
		if (*word)
			argv[n++] = strcmp(word, "''") ? word : word + 2;
	}
	argv[n] = NULL;
	return n;
}

static inline struct options good(const char *line)
{
	static char *argv[WORDS_MAX + 1];
	struct options o;
	struct err e = {0};
	int argc = words(line, argv);

	if (options_parse(argc, argv, &o, &e) < 0)
		fail_msg("%s: %s", line, e.msg);
	return o;
}

#endif
