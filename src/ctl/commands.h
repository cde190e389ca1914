/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_COMMANDS_H
#define RINGKIT_CTL_COMMANDS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/*
 * The commands of rootlessctl, in one table: it serves to check the command line, to call the
 * function and to print the help.
 */
struct client;
struct ctl_args;

/* The options that only some commands have: bits, in the order of the table in commands.c. */
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
	const char *usage; /* the words after the name; NULL: only options */
	const char *text;  /* the description, indented; NULL: none */
	unsigned options;  /* bits of enum ctl_option */
	bool takes_words;
	bool ignores_words; /* with a warning: RootlessKit ignores words after this command, and
			     * scripts may rely on that. Others that take none refuse them */
	/* Checks the words and sends the requests one after the other; the first that fails ends
	 * the command. When a word is wrong, nothing is sent. Results go to stdout as they come.
	 * NULL: main.c runs the command. */
	int (*run)(struct client *client, const struct ctl_args *args, struct err *e);
};

/* The last row has no name. */
extern const struct ctl_command ctl_commands[];
extern const struct ctl_option_row ctl_options[];

/* Finds a command by its name or alias; NULL when there is none. */
const struct ctl_command *commands_find(const char *name);

/* Puts the names of the commands that have this option (0: of all) into buf, with commas between
 * them; returns buf. */
const char *commands_names(unsigned option, char *buf, size_t size);

#endif
