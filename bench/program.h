/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BENCH_PROGRAM_H
#define RINGKIT_BENCH_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The main() that the load programs share (program.c). Each program defines its options, and a
 * function that does its work.
 */

enum setting_kind { SETTING_FLAG, SETTING_TEXT, SETTING_NUMBER, SETTING_SECONDS };

/* An option: --NAME, or --NAME=VALUE unless it is a flag. */
struct setting {
	const char *name; /* NULL ends the list */
	enum setting_kind kind;
	/* The variable to set: a bool, a const char *, an unsigned number, or a uint64_t of
	 * nanoseconds. */
	void *to;
	size_t size; /* of a number's variable, in bytes */
	uint64_t min, max;
};

#define FLAG(text, variable)                                                                       \
	{                                                                                          \
		.name = (text), .kind = SETTING_FLAG, .to = &(variable)                            \
	}
#define TEXT(text, variable)                                                                       \
	{                                                                                          \
		.name = (text), .kind = SETTING_TEXT, .to = &(variable)                            \
	}
#define NUMBER(text, variable, least, most)                                                        \
	{                                                                                          \
		.name = (text), .kind = SETTING_NUMBER, .to = &(variable),                         \
		.size = sizeof(variable), .min = (least), .max = (most)                            \
	}
#define SECONDS(text, variable)                                                                    \
	{                                                                                          \
		.name = (text), .kind = SETTING_SECONDS, .to = &(variable)                         \
	}

struct program {
	const char *usage; /* is printed after "usage: " */
	const struct setting *settings;
	/* Does the work and prints the figures. words: the arguments behind the options. nofile:
	 * the limit on descriptors, which main() has raised. */
	void (*run)(char **words, size_t nofile);
};

/* Each program defines its own. */
extern const struct program program;

#endif
