/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/option_table.h"
#include "cli/options.h"
#include "config.h"
#include "drivers/driver.h"

static const char intro[] =
	"NAME:\n"
	"   rootlesskit - Linux-native fakeroot using user namespaces\n"
	"\n"
	"USAGE:\n"
	"   rootlesskit [global options] [arguments...]\n"
	"\n"
	"VERSION:\n"
	"   " RINGKIT_VERSION "\n"
	"\n"
	"DESCRIPTION:\n"
	"   A launcher for commands in a user namespace, with the user as its root, and a port\n"
	"   forwarder. The options are RootlessKit's; \"Network [builtin]\" and \"Data plane\"\n"
	"   are this implementation's own.\n"
	"\n"
	"   Examples:\n"
	"     # a shell in new user and mount namespaces\n"
	"     rootlesskit bash\n"
	"\n"
	"     # with a writable /etc\n"
	"     rootlesskit --copy-up=/etc bash\n"
	"\n"
	"     # with mounts of the host showing up inside\n"
	"     rootlesskit --propagation=rslave bash\n"
	"\n"
	"     # with a network of its own; port 80 inside is 8080 on the host\n"
	"     rootlesskit --copy-up=/etc --net=builtin --disable-host-loopback "
	"--port-driver=builtin -p 127.0.0.1:8080:80/tcp bash\n"
	"\n"
	"   Needs ranges of sub-ids for the user in /etc/subuid and /etc/subgid: see "
	"rootlesskit(1).\n"
	"\n"
	"OPTIONS:\n";

/* Formats an option's names: "--copy-up value", "--publish value, -p value". */
static void format_names(const struct option_def *def, char *buf, size_t size)
{
	const char *value = def->kind == OPTION_BOOL ? "" : " value";
	int n = snprintf(buf, size, "--%s%s", def->name, value);

	if (def->letter)
		snprintf(buf + n, size - (size_t)n, ", -%c%s", def->letter, value);
}

static int names_width(void)
{
	char names[80];
	int width = 0;

	for (unsigned i = 0; i < OPT_COUNT; i++) {
		format_names(&option_table[i], names, sizeof(names));
		if ((int)strlen(names) > width)
			width = (int)strlen(names);
	}
	return width;
}

static void print_values(const struct option_def *def)
{
	char names[256];

	if (option_id(def) == OPT_NET)
		printf(" [%s]", net_driver_names(names, sizeof(names)));
	else if (option_id(def) == OPT_PORT_DRIVER)
		printf(" [%s]", port_driver_names(names, sizeof(names)));
	if (!def->values)
		return;
	for (const char *const *v = def->values; *v; v++)
		printf("%s%s", v == def->values ? " [" : ", ", *v);
	printf("]");
}

static void print_default(const struct option_def *def)
{
	if (!def->fallback)
		return;
	printf(def->kind == OPTION_STRING ? " (default: \"%s\")" : " (default: %s)", def->fallback);
}

static void print_option(const struct option_def *def, int width)
{
	char names[80];

	format_names(def, names, sizeof(names));
	printf("    %-*s  %s", width, names, def->usage);
	print_values(def);
	print_default(def);
	printf("\n");
}

void options_print_help(void)
{
	int width = names_width();

	fputs(intro, stdout);
	for (int group = 0; group < GROUP_COUNT; group++) {
		printf("%s  %s:\n", group ? "\n" : "", option_group_names[group]);
		for (unsigned i = 0; i < OPT_COUNT; i++)
			if ((int)option_table[i].group == group)
				print_option(&option_table[i], width);
	}
}

void options_print_version(void)
{
	printf("rootlesskit version %s\n", RINGKIT_VERSION);
}

void options_print_semver(const char *part)
{
	const char *number = RINGKIT_COMPAT_VERSION;
	int dots = !strcmp(part, "major") ? 0 : !strcmp(part, "minor") ? 1 : 2;

	while (dots-- > 0)
		number = strchr(number, '.') + 1;
	printf("%.*s\n", (int)strcspn(number, "."), number);
}
