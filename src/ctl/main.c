/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rootlessctl asks a running rootlesskit for its ports and changes them, over the unix socket in
 * its state directory. It runs with the user's own privileges, on the host or in the namespace.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/exitcode.h"
#include "base/fd.h"
#include "base/text.h"
#include "ctl/args.h"
#include "ctl/client.h"
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

/* Prints the help for: help [command], command --help, --help. */
static int run_help(const struct ctl_args *args, struct err *e)
{
	const struct ctl_command *topic = args->command;
	char names[256];

	if (topic && !topic->run && !args->help) {
		topic = args->n_words > 0 ? commands_find(args->words[0]) : NULL;
		if (args->n_words > 0 && !topic)
			return err_set(e, -ENOSYS, "no help topic \"%s\": the commands are %s",
				       args->words[0], commands_names(0, names, sizeof(names)));
	}
	help_print(topic);
	return 0;
}

/* RootlessKit ignores these words silently. */
static void warn_of_words(const struct ctl_args *args)
{
	char line[256];

	if (!args->command->ignores_words || args->n_words == 0)
		return;
	snprintf(line, sizeof(line), "%s", args->words[0]);
	fprintf(stderr, "warning: %s takes no words: \"%s\" is ignored%s\n", args->command->name,
		text_make_printable(line), args->n_words > 1 ? ", and so are those after it" : "");
}

static int ask(const struct ctl_args *args, const char *socket_path, struct err *e)
{
	const struct client_options options = {.socket_path = socket_path,
					       .timeout_ms = args->timeout_ms,
					       .abort_fd = -1,
					       .debug = args->debug};
	struct client *client = NULL;
	int code = client_open(&options, &client, e);

	if (!code)
		code = args->command->run(client, args, e);
	client_close(client);
	return code;
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
	if (args.help || !args.command || !args.command->run)
		return run_help(&args, e);
	warn_of_words(&args);
	code = find_socket(&args, &socket_path, e);
	if (!code)
		code = ask(&args, socket_path, e);
	return code;
}

int main(int argc, char **argv)
{
	struct err e = {0};

	/* Or the connection to the API would be what is printed to. */
	(void)fd_fill_standard();
	if (run(argc, argv, &e) == 0)
		return EXITCODE_OK;
	fprintf(stderr, "error: %s\n", text_make_printable(e.msg));
	return e.code == -ENOSYS ? EXITCODE_NO_SUCH_COMMAND : EXITCODE_FAILED;
}
