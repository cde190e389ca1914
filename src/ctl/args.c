/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/args.h"

#include <errno.h>
#include <string.h>

#include "cli/value.h"

static const char *const command_names[] = {
	[CTL_LIST_PORTS] = "list-ports",
	[CTL_ADD_PORTS] = "add-ports",
	[CTL_REMOVE_PORTS] = "remove-ports",
	[CTL_INFO] = "info",
	[CTL_STATS] = "stats",
	[CTL_HELP] = "help",
};

#define N_COMMANDS (int)(sizeof(command_names) / sizeof(command_names[0]))

enum ctl_command args_command(const char *name)
{
	if (strcmp(name, "h") == 0)
		return CTL_HELP;
	for (int i = CTL_NONE + 1; i < N_COMMANDS; i++)
		if (strcmp(name, command_names[i]) == 0)
			return (enum ctl_command)i;
	return CTL_NONE;
}

struct option {
	const char *name;
	const char *letter;
	bool *flag;	    /* one of the two */
	const char **value; /* takes a value, may not be empty-handed */
};

/* "-name", "--name": what follows the dashes up to the "=". */
static bool names_option(const struct option *opt, const char *name, size_t len)
{
	return (strlen(opt->name) == len && memcmp(opt->name, name, len) == 0) ||
	       (opt->letter && len == 1 && name[0] == *opt->letter);
}

static int set_flag(const struct option *opt, const char *value, struct err *e)
{
	if (!value) {
		*opt->flag = true;
		return 0;
	}
	if (value_parse_bool(value, opt->flag) < 0)
		return err_set(e, -EINVAL, "--%s takes true or false, not \"%s\"", opt->name,
			       value);
	return 0;
}

/* Takes the option at argv[*i], and the value after it, moving *i on. */
static int take_option(struct ctl_args *out, char **argv, int *i, struct err *e)
{
	const struct option options[] = {
		{.name = "socket", .value = &out->socket},
		{.name = "debug", .flag = &out->debug},
		{.name = "json", .flag = &out->json},
		{.name = "watch", .flag = &out->watch},
		{.name = "help", .letter = "h", .flag = &out->help},
		{.name = "version", .letter = "v", .flag = &out->version},
	};
	const char *name = argv[*i] + (argv[*i][1] == '-' ? 2 : 1);
	const char *eq = strchr(name, '=');
	size_t len = eq ? (size_t)(eq - name) : strlen(name);

	for (size_t k = 0; k < sizeof(options) / sizeof(options[0]); k++) {
		const struct option *opt = &options[k];

		if (!names_option(opt, name, len))
			continue;
		if (opt->flag)
			return set_flag(opt, eq ? eq + 1 : NULL, e);
		*opt->value = eq ? eq + 1 : argv[++*i];
		if (!*opt->value)
			return err_set(e, -EINVAL, "--%s needs a value: --%s PATH", opt->name,
				       opt->name);
		return 0;
	}
	return err_set(e, -EINVAL,
		       "unknown option %.*s: the options are --socket PATH, --debug, --json, "
		       "--watch, --help, --version",
		       (int)(name + len - argv[*i]), argv[*i]);
}

static bool is_option(const char *arg)
{
	return arg[0] == '-' && arg[1] != '\0';
}

static bool takes_json(enum ctl_command command)
{
	return command == CTL_LIST_PORTS || command == CTL_ADD_PORTS || command == CTL_INFO ||
	       command == CTL_STATS;
}

/* The first word is the command. */
static int take_command(struct ctl_args *out, struct err *e)
{
	const char *name = out->n_words > 0 ? out->words[0] : NULL;

	if (!name)
		return 0;
	out->command = args_command(name);
	if (out->command == CTL_NONE)
		return err_set(e, -EINVAL,
			       "unknown command \"%s\": the commands are list-ports, add-ports, "
			       "remove-ports, info, stats, help",
			       name);
	out->words++;
	out->n_words--;
	if (out->json && !out->help && !takes_json(out->command))
		return err_set(e, -EINVAL,
			       "%s has no --json: list-ports, add-ports, info and stats have it",
			       name);
	if (out->watch && !out->help && out->command != CTL_STATS)
		return err_set(e, -EINVAL, "%s has no --watch: stats has it", name);
	return 0;
}

int args_parse(int argc, char **argv, struct ctl_args *out, struct err *e)
{
	bool only_words = false;
	int n = 0;

	*out = (struct ctl_args){.words = argv + 1};
	for (int i = 1; i < argc; i++) {
		int code;

		if (only_words || !is_option(argv[i])) {
			out->words[n++] = argv[i];
		} else if (strcmp(argv[i], "--") == 0) {
			only_words = true;
		} else {
			code = take_option(out, argv, &i, e);
			if (code < 0)
				return code;
		}
	}
	out->n_words = n;
	return take_command(out, e);
}
