/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_COMMANDS_H
#define RINGKIT_CTL_COMMANDS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/*
 * The commands of rootlessctl: one table, from which the command line is checked, the right
 * function is called and the help is printed.
 */
struct client;
struct ctl_args;

/* The options that are a command's own: bits, in the order of the table in commands.c. */
enum ctl_option {
	CTL_JSON = 1 << 0,
	CTL_WATCH = 1 << 1,
	CTL_ALL = 1 << 2,
	CTL_HTTP = 1 << 3,
};

struct ctl_option_row {
	enum ctl_option bit;
	const char *name;
	const char *brief;
};

struct ctl_command {
	const char *name;
	const char *alias; /* NULL: none */
	const char *brief;
	const char *usage; /* what follows the name; NULL: nothing but options */
	const char *text;  /* the description, indented; NULL: none */
	unsigned options;  /* enum ctl_option */
	bool takes_words;  /* words after the command; else they are ignored, with a warning */
	/* Checks the words and asks the API: requests go out one after the other, and the first
	 * that fails ends the command. Nothing is asked when a word is wrong. Results are on stdout
	 * as they come. NULL: main.c's own. */
	int (*run)(struct client *client, const struct ctl_args *args, struct err *e);
};

/* Ends with a row without a name. */
extern const struct ctl_command ctl_commands[];
extern const struct ctl_option_row ctl_options[];

/* By its name or alias; NULL when there is none. */
const struct ctl_command *commands_find(const char *name);

/* The names of those that have this option (0: of all), with commas between them; returns buf. */
const char *commands_names(unsigned option, char *buf, size_t size);

#endif
