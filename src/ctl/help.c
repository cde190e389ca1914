/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/help.h"

#include <stdio.h>

#include "config.h"

static const char head[] = "NAME:\n"
			   "   rootlessctl - RootlessKit API client\n"
			   "\n"
			   "USAGE:\n"
			   "   rootlessctl [global options] command [command options] "
			   "[arguments...]\n"
			   "\n"
			   "VERSION:\n"
			   "   " RINGKIT_VERSION "\n"
			   "\n"
			   "COMMANDS:\n";

static const char tail[] =
	"\n"
	"GLOBAL OPTIONS:\n"
	"   --debug          debug mode (default: false)\n"
	"   --socket value   Path to api.sock (under the \"rootlesskit --state-dir\" directory), "
	"defaults to $ROOTLESSKIT_STATE_DIR/api.sock\n"
	"   --timeout value  How long to wait for an answer, 0 for ever (default: 30s)\n"
	"   --help, -h       show help (default: false)\n"
	"   --version, -v    print the version (default: false)\n";

static void print_all(void)
{
	fputs(head, stdout);
	for (const struct ctl_command *c = ctl_commands; c->name; c++) {
		char names[32];

		snprintf(names, sizeof(names), "%s%s%s", c->name, c->alias ? ", " : "",
			 c->alias ? c->alias : "");
		printf("   %-12s  %s\n", names, c->brief);
	}
	fputs(tail, stdout);
}

static void print_one(const struct ctl_command *c)
{
	printf("NAME:\n   rootlessctl %s - %s\n\nUSAGE:\n   rootlessctl %s", c->name, c->brief,
	       c->name);
	if (c->options)
		fputs(" [command options]", stdout);
	if (c->usage)
		printf(" %s", c->usage);
	putchar('\n');
	if (c->text)
		printf("\nDESCRIPTION:\n%s", c->text);
	fputs("\nOPTIONS:\n", stdout);
	for (const struct ctl_option_row *row = ctl_options; row->name; row++)
		if (c->options & row->bit)
			printf("   --%-8s  %s (default: false)\n", row->name, row->brief);
	puts("   --help, -h  show help (default: false)");
}

void help_print(const struct ctl_command *command)
{
	if (command)
		print_one(command);
	else
		print_all();
}

void help_print_version(void)
{
	puts("rootlessctl version " RINGKIT_VERSION);
}
