/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_ARGS_H
#define RINGKIT_CTL_ARGS_H

#include <stdbool.h>

#include "base/err.h"
#include "ctl/commands.h"

/*
 * Parses rootlessctl's command line. Options may stand anywhere, even after words that they do not
 * belong to; "--" ends them.
 */
struct ctl_args {
	const struct ctl_command *command; /* NULL: none, which means the help */
	const char *socket;		   /* NULL when not given */
	int timeout_ms;			   /* for each request; 0: none */
	bool debug, help, version;
	unsigned options; /* bits of enum ctl_option: those that were given */
	char **words;	  /* the words after the command; points into argv */
	int n_words;
};

static inline bool args_has(const struct ctl_args *args, enum ctl_option option)
{
	return args->options & option;
}

/* Reorders argv (options leave, words stay in order) and fills in *out, which borrows from it. 0;
 * -EINVAL; -ENOSYS when there is no such command. Words that the command ignores stay in words: the
 * caller warns of them. */
int args_parse(int argc, char **argv, struct ctl_args *out, struct err *e);

#endif
