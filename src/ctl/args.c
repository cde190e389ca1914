/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/args.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/limits.h"
#include "cli/value.h"

struct option {
	const char *name;
	const char *letter;
	bool *flag; /* one of the four is set */
	const char **value;
	int *duration_ms;
	unsigned bit;
};

static int set_flag(const struct option *opt, const char *value, struct ctl_args *out,
		    struct err *e)
{
	bool on = true;

	if (value && value_parse_bool(value, &on) < 0)
		return err_set(e, -EINVAL, "--%s takes true or false, not \"%s\"", opt->name,
			       value);
	if (opt->flag)
		*opt->flag = on;
	else if (on)
		out->options |= opt->bit;
	else
		out->options &= ~opt->bit;
	return 0;
}

static int set_value(const struct option *opt, const char *value, struct err *e)
{
	if (!value)
		return err_set(e, -EINVAL, "--%s needs a value: --%s %s", opt->name, opt->name,
			       opt->duration_ms ? "30s" : "PATH");
	if (opt->value)
		*opt->value = value;
	else if (value_parse_duration_ms(value, opt->duration_ms) < 0 || *opt->duration_ms < 0)
		return err_set(e, -EINVAL,
			       "--%s takes a duration such as 5s or 500ms, or 0 for none, not "
			       "\"%s\"",
			       opt->name, value);
	return 0;
}

/* Whether name, the len bytes after the dashes and before the "=", is this option or its letter. */
static bool names_option(const char *option, const char *letter, const char *name, size_t len)
{
	return (strlen(option) == len && memcmp(option, name, len) == 0) ||
	       (letter && len == 1 && name[0] == *letter);
}

/* Searches the options of every command, then the command's own. False: there is none. */
static bool find_option(struct ctl_args *out, const char *name, size_t len, struct option *found)
{
	const struct option global[] = {
		{.name = "socket", .value = &out->socket},
		{.name = "timeout", .duration_ms = &out->timeout_ms},
		{.name = "debug", .flag = &out->debug},
		{.name = "help", .letter = "h", .flag = &out->help},
		{.name = "version", .letter = "v", .flag = &out->version},
	};

	for (size_t i = 0; i < ARRAY_SIZE(global); i++) {
		*found = global[i];
		if (names_option(found->name, found->letter, name, len))
			return true;
	}
	for (const struct ctl_option_row *row = ctl_options; row->name; row++) {
		*found = (struct option){.name = row->name, .bit = row->bit};
		if (names_option(row->name, NULL, name, len))
			return true;
	}
	return false;
}

static int unknown_option(const char *arg, size_t len, struct err *e)
{
	char own[128] = "";
	size_t used = 0;

	for (const struct ctl_option_row *row = ctl_options; row->name; row++)
		used += (size_t)snprintf(own + used, sizeof(own) - used, ", --%s", row->name);
	return err_set(e, -EINVAL,
		       "unknown option %.*s: the options are --socket PATH, --timeout DURATION, "
		       "--debug%s, --help, --version",
		       (int)len, arg, own);
}

/* Takes the option at argv[*i] and its value, and moves *i past them. */
static int take_option(struct ctl_args *out, char **argv, int *i, struct err *e)
{
	const char *name = argv[*i] + (argv[*i][1] == '-' ? 2 : 1);
	const char *eq = strchr(name, '=');
	size_t len = eq ? (size_t)(eq - name) : strlen(name);
	struct option opt;

	if (!find_option(out, name, len, &opt))
		return unknown_option(argv[*i], (size_t)(name - argv[*i]) + len, e);
	if (opt.flag || opt.bit)
		return set_flag(&opt, eq ? eq + 1 : NULL, out, e);
	return set_value(&opt, eq ? eq + 1 : argv[++*i], e);
}

static bool is_option(const char *arg)
{
	return arg[0] == '-' && arg[1] != '\0';
}

/* Refuses an option that only other commands have. */
static int check_options(const struct ctl_args *args, struct err *e)
{
	char names[256];

	for (const struct ctl_option_row *row = ctl_options; row->name; row++)
		if (args->options & row->bit & ~args->command->options)
			return err_set(e, -EINVAL, "%s has no --%s: it is an option of %s",
				       args->command->name, row->name,
				       commands_names(row->bit, names, sizeof(names)));
	return 0;
}

static int check_words(const struct ctl_args *args, struct err *e)
{
	if (args->n_words == 0 || args->command->takes_words || args->command->ignores_words)
		return 0;
	return err_set(e, -EINVAL, "%s takes options only, and no words such as \"%.64s\"",
		       args->command->name, args->words[0]);
}

/* Takes the first word as the command. */
static int take_command(struct ctl_args *out, struct err *e)
{
	const char *name = out->n_words > 0 ? out->words[0] : NULL;
	char names[256];
	int code;

	if (!name)
		return 0;
	out->command = commands_find(name);
	if (!out->command)
		return err_set(e, -ENOSYS, "unknown command \"%s\": the commands are %s", name,
			       commands_names(0, names, sizeof(names)));
	out->words++;
	out->n_words--;
	if (out->help)
		return 0;
	code = check_options(out, e);
	return code ? code : check_words(out, e);
}

int args_parse(int argc, char **argv, struct ctl_args *out, struct err *e)
{
	bool only_words = false;
	int n = 0;

	*out = (struct ctl_args){.words = argv + 1, .timeout_ms = LIMIT_CTL_ANSWER_MS};
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
