/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_ARGS_H
#define RINGKIT_CTL_ARGS_H

#include <stdbool.h>

#include "base/err.h"
#include "ctl/commands.h"

/*
 * rootlessctl's command line. Options may stand anywhere, also after the words they have nothing
 * to do with; "--" ends them.
 */
struct ctl_args {
	const struct ctl_command *command; /* NULL: none, which means the help */
	const char *socket;		   /* NULL when not given */
	int timeout_ms;			   /* for each request; 0: none */
	bool debug, help, version;
	unsigned options; /* enum ctl_option, those that were given */
	char **words;	  /* what follows the command; points into argv */
	int n_words;
};

static inline bool args_has(const struct ctl_args *args, enum ctl_option option)
{
	return args->options & option;
}

/* Reorders argv (options leave, words stay in order) and fills in *out, which borrows from it.
 * 0; -EINVAL; -ENOSYS when there is no such command. Words that the command has no use for are
 * left in: the caller warns of them. */
int args_parse(int argc, char **argv, struct ctl_args *out, struct err *e);

#endif
