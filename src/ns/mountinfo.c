/* SPDX-License-Identifier: Apache-2.0 */
#include "ns/mountinfo.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"

/* proc(5): blanks, line ends and backslashes are written as \ and three octal digits. */
static void unescape(char *s)
{
	char *to = s;

	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*to++ = *s++;
		}
	}
	*to = '\0';
}

bool mountinfo_parse(char *line, struct mountinfo *m)
{
	/* 36 35 98:0 /root /mount/point options optional... - type source options */
	char *save = NULL, *root = NULL, *point = NULL, *type;
	char *word = strtok_r(line, " \n", &save);

	m->shared = false;
	for (int i = 0; word && strcmp(word, "-") != 0; i++) {
		if (i == 3)
			root = word;
		else if (i == 4)
			point = word;
		else if (i > 5 && strncmp(word, "shared:", 7) == 0)
			m->shared = true;
		word = strtok_r(NULL, " \n", &save);
	}
	type = word ? strtok_r(NULL, " \n", &save) : NULL;
	if (!type || !point)
		return false;
	unescape(root);
	unescape(point);
	m->root = root;
	m->point = point;
	m->type = type;
	return true;
}

int mountinfo_each(int (*fn)(void *arg, const struct mountinfo *m), void *arg)
{
	auto_file FILE *f = fopen("/proc/self/mountinfo", "re");
	auto_free char *line = NULL;
	size_t size = 0;
	int code = 0;

	if (!f)
		return -errno;
	while (code == 0 && getline(&line, &size, f) > 0) {
		struct mountinfo m;

		if (mountinfo_parse(line, &m))
			code = fn(arg, &m);
	}
	return code;
}
