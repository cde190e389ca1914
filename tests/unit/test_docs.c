/* SPDX-License-Identifier: Apache-2.0 */
/* The manual pages and the completions know every option and every fixed value, and no others. They
 * are written by hand, and are compared with the tables in option_table.c and commands.c. The
 * arguments of this program are the files. */
#include "cmocka_all.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/fd.h"
#include "cli/option_table.h"
#include "ctl/commands.h"
#include "drivers/driver.h"

struct document {
	const char *path;
	char text[65536];
};

static char **files;

/* Reads a document without its backslashes: a manual page writes \- for a dash. */
static void load(struct document *d, const char *ending)
{
	size_t n = 0;

	for (char **f = files; *f; f++) {
		size_t len = strlen(*f);

		if (len >= strlen(ending) && !strcmp(*f + len - strlen(ending), ending))
			d->path = *f;
	}
	if (!d->path)
		fail_msg("no file *%s", ending);
	assert_true(fd_read_file(d->path, d->text, sizeof(d->text)) > 0);
	for (const char *c = d->text; *c; c++)
		if (*c != '\\')
			d->text[n++] = *c;
	d->text[n] = '\0';
}

/* Whether s is in the text as a word, and not as the start of a longer one. */
static bool has_word(const char *text, const char *s)
{
	const char *at = text;

	while ((at = strstr(at, s))) {
		char before = (char)(at > text ? at[-1] : ' ');
		char after = at[strlen(s)];

		if (!isalnum((unsigned char)after) && after != '-' && after != '_' &&
		    !isalnum((unsigned char)before) && before != '-')
			return true;
		at++;
	}
	return false;
}

static void need(const struct document *d, const char *word)
{
	if (!has_word(d->text, word))
		fail_msg("%s has no %s", d->path, word);
}

static void need_names(const struct document *d, const char *names)
{
	char copy[256], *rest = copy, *name;

	snprintf(copy, sizeof(copy), "%s", names);
	while ((name = strsep(&rest, ", ")))
		if (*name)
			need(d, name);
}

/* dashes: how a long option is written in this kind of file. */
static void check(const char *ending, const char *dashes)
{
	static struct document d;
	char word[64], names[256];

	d.path = NULL;
	load(&d, ending);
	for (int i = 0; i < OPT_COUNT; i++) {
		const struct option_def *def = &option_table[i];

		snprintf(word, sizeof(word), "%s%s", dashes, def->name);
		need(&d, word);
		for (const char *const *v = def->values; v && *v; v++)
			need(&d, *v);
	}
	need_names(&d, net_driver_names(names, sizeof(names)));
	need_names(&d, port_driver_names(names, sizeof(names)));
}

/* What looks like a long option of rootlesskit must be one. Options of other programs are listed
 * here. */
static void check_no_others(const char *ending)
{
	static const char *const others[] = {"enable-sandbox", "enable-seccomp", "user"};
	static struct document d;
	const char *at;

	d.path = NULL;
	load(&d, ending);
	for (at = d.text; (at = strstr(at, "--")); at += 2) {
		size_t len = strspn(at + 2, "abcdefghijklmnopqrstuvwxyz0123456789-");
		bool known = option_find(at + 2, len) != NULL;

		for (size_t i = 0; i < ARRAY_SIZE(others); i++)
			known |= strlen(others[i]) == len && !memcmp(others[i], at + 2, len);
		/* --name stands for any option, "--" ends the options, and "----" is a line */
		known |= len == 0 || at[2] == '-' || (len == 4 && !memcmp(at + 2, "name", 4));
		if (!known)
			fail_msg("%s has --%.*s, which is no option", d.path, (int)len, at + 2);
	}
}

static void test_manual(void **state)
{
	(void)state;
	check("rootlesskit.1", "--");
	check_no_others("rootlesskit.1");
}

static void test_manual_has_groups(void **state)
{
	static struct document d;
	char heading[64];

	(void)state;
	load(&d, "rootlesskit.1");
	for (int i = 0; i < GROUP_COUNT; i++) {
		snprintf(heading, sizeof(heading), "\n.SS %s\n", option_group_names[i]);
		if (!strstr(d.text, heading))
			fail_msg("%s has no section %s", d.path, option_group_names[i]);
	}
}

static void test_bash(void **state)
{
	(void)state;
	check("rootlesskit.bash", "--");
	check_no_others("rootlesskit.bash");
}

static void test_zsh(void **state)
{
	(void)state;
	check("_rootlesskit", "--");
	check_no_others("_rootlesskit");
}

static void test_fish(void **state)
{
	(void)state;
	check("rootlesskit.fish", "-l ");
}

/* The commands of rootlessctl and their options. dashes: as in check(). */
static void check_ctl(const char *ending, const char *dashes)
{
	static const char *const global[] = {"socket", "timeout", "debug", "help", "version"};
	static struct document d;
	char word[64];

	d.path = NULL;
	load(&d, ending);
	for (const struct ctl_command *c = ctl_commands; c->name; c++)
		need(&d, c->name);
	for (const struct ctl_option_row *row = ctl_options; row->name; row++) {
		snprintf(word, sizeof(word), "%s%s", dashes, row->name);
		need(&d, word);
	}
	for (size_t i = 0; i < ARRAY_SIZE(global); i++) {
		snprintf(word, sizeof(word), "%s%s", dashes, global[i]);
		need(&d, word);
	}
}

static void test_ctl(void **state)
{
	(void)state;
	check_ctl("rootlessctl.1", "--");
	check_ctl("rootlessctl.bash", "--");
	check_ctl("_rootlessctl", "--");
	check_ctl("rootlessctl.fish", "-l ");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_manual), cmocka_unit_test(test_manual_has_groups),
		cmocka_unit_test(test_bash),   cmocka_unit_test(test_zsh),
		cmocka_unit_test(test_fish),   cmocka_unit_test(test_ctl),
	};

	files = argv + (argc > 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
