/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rootlessctl: asks a running rootlesskit, over the unix socket in its state directory, for its
 * ports and changes them. Runs with the user's own privileges, on the host or in the namespace.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fd.h"
#include "ctl/args.h"
#include "ctl/commands.h"
#include "ctl/help.h"

static int find_socket(const struct ctl_args *args, char **out, struct err *e)
{
	const char *state_dir = getenv("ROOTLESSKIT_STATE_DIR");
	int n;

	if (args->socket && args->socket[0])
		n = asprintf(out, "%s", args->socket);
	else if (state_dir && state_dir[0])
		n = asprintf(out, "%s/api.sock", state_dir);
	else
		return err_set(e, -EINVAL, "please specify --socket or set $ROOTLESSKIT_STATE_DIR");
	if (n < 0)
		return err_errno(e, -ENOMEM, "socket path");
	return 0;
}

/* help [command], command --help, --help: which one it is about. */
static int run_help(const struct ctl_args *args, struct err *e)
{
	enum ctl_command topic = args->command;

	if (args->command == CTL_HELP && !args->help) {
		topic = args->n_words > 0 ? args_command(args->words[0]) : CTL_NONE;
		if (args->n_words > 0 && topic == CTL_NONE)
			return err_set(e, -EINVAL,
				       "no help topic \"%s\": the commands are list-ports, "
				       "add-ports, remove-ports, info, stats, help",
				       args->words[0]);
	}
	help_print(topic);
	return 0;
}

static int run(int argc, char **argv, struct err *e)
{
	auto_free char *socket_path = NULL;
	struct ctl_args args;
	int code;

	code = args_parse(argc, argv, &args, e);
	if (code < 0)
		return code;
	if (args.version) {
		help_print_version();
		return 0;
	}
	if (args.help || args.command == CTL_NONE || args.command == CTL_HELP)
		return run_help(&args, e);
	code = find_socket(&args, &socket_path, e);
	if (!code)
		code = commands_run(&args, socket_path, e);
	return code;
}

int main(int argc, char **argv)
{
	struct err e = {0};

	if (run(argc, argv, &e) == 0)
		return 0;
	fprintf(stderr, "error: %s\n", e.msg);
	return 1;
}
