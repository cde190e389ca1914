/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_ARGS_H
#define RINGKIT_CTL_ARGS_H

#include <stdbool.h>

#include "base/err.h"

/*
 * rootlessctl's command line. Options may stand anywhere, also after the words they have nothing
 * to do with; "--" ends them.
 */

enum ctl_command {
	CTL_NONE, /* no command: the help */
	CTL_LIST_PORTS,
	CTL_ADD_PORTS,
	CTL_REMOVE_PORTS,
	CTL_INFO,
	CTL_STATS,
	CTL_HELP,
};

struct ctl_args {
	enum ctl_command command;
	const char *socket; /* NULL when not given */
	bool debug, json, watch, help, version;
	char **words; /* what follows the command; points into argv */
	int n_words;
};

/* Reorders argv (options leave, words stay in order) and fills in *out, which borrows from it.
 * 0 or -EINVAL. */
int args_parse(int argc, char **argv, struct ctl_args *out, struct err *e);

/* By the name on the command line ("h" is help); CTL_NONE when there is no such command. */
enum ctl_command args_command(const char *name);

#endif
