/* SPDX-License-Identifier: Apache-2.0 */
#include "program.h"

#include <assert.h>
#include <getopt.h>

#include "util.h"

#define SETTINGS_MAX 16

static void store_number(const struct setting *s, uint64_t value)
{
	if (s->size == sizeof(uint16_t))
		*(uint16_t *)s->to = (uint16_t)value;
	else if (s->size == sizeof(uint32_t))
		*(uint32_t *)s->to = (uint32_t)value;
	else
		*(uint64_t *)s->to = value;
}

static void store(const struct setting *s, const char *text)
{
	switch (s->kind) {
	case SETTING_FLAG:
		*(bool *)s->to = true;
		break;
	case SETTING_TEXT:
		*(const char **)s->to = text;
		break;
	case SETTING_NUMBER:
		store_number(s, parse_number(s->name, text, s->min, s->max));
		break;
	case SETTING_SECONDS:
		*(uint64_t *)s->to = parse_seconds(s->name, text);
		break;
	}
}

int main(int argc, char **argv)
{
	struct option options[SETTINGS_MAX + 1] = {{0}};
	int c, which;

	static_assert(sizeof(size_t) == sizeof(uint64_t), "a size_t is set as a uint64_t");
	for (int i = 0; program.settings[i].name; i++) {
		assert(i < SETTINGS_MAX);
		options[i].name = program.settings[i].name;
		options[i].has_arg =
			program.settings[i].kind == SETTING_FLAG ? no_argument : required_argument;
	}
	/* "+" ends the options at the first other word, which may begin a command with options. */
	while ((c = getopt_long(argc, argv, "+", options, &which)) != -1) {
		if (c != 0)
			die("usage: %s", program.usage);
		store(&program.settings[which], optarg);
	}
	program.run(argv + optind, nofile_raise());
	return 0;
}
