/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parses the command line into struct options, in the way of Go's flag package: --name value,
 * --name=value, one dash as well, booleans only with "=". The first word that is no option starts
 * the command. option_table.c says what each value must be, and validate.c what goes together.
 */
#include "cli/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "cli/option_table.h"
#include "cli/validate.h"
#include "cli/value.h"
#include "drivers/net/egress.h"

static void *member(struct options *o, const struct option_def *def)
{
	return (char *)o + def->offset;
}

static int bad_value(const struct option_def *def, const char *value, const char *want,
		     struct err *e)
{
	char quoted[300];

	return err_set(e, -EINVAL, "invalid value %s for --%s: it must be %s",
		       quote_go(value, quoted, sizeof(quoted)), def->name, want);
}

/* The value of a number that was not taken. */
static int bad_number(const struct option_def *def, const char *value, int code, const char *want,
		      struct err *e)
{
	return bad_value(def, value, code == -ERANGE ? "a number that is not that large" : want, e);
}

static void list_values(const struct option_def *def, char *buf, size_t size)
{
	buf[0] = '\0';
	for (const char *const *v = def->values; *v; v++) {
		size_t len = strlen(buf);

		snprintf(buf + len, size - len, "%s%s", len ? (v[1] ? ", " : " or ") : "", *v);
	}
}

static int set_string(struct options *o, const struct option_def *def, const char *value,
		      struct err *e)
{
	const char **slot = member(o, def);
	char want[128];

	/* RootlessKit treats "" like an option that is not given, except where it names a
	 * driver. */
	if (!*value && def->fallback && option_id(def) != OPT_NET &&
	    option_id(def) != OPT_PORT_DRIVER)
		value = def->fallback;
	if (!def->values) {
		*slot = *value || def->fallback ? value : NULL;
		return 0;
	}
	for (const char *const *v = def->values; *v; v++) {
		if (!strcmp(*v, value)) {
			*slot = *v;
			return 0;
		}
	}
	list_values(def, want, sizeof(want));
	return bad_value(def, value, want, e);
}

static int append_dir(struct options *o, const char *dir, size_t len, struct err *e)
{
	char **more = reallocarray(o->copy_up, o->n_copy_up + 1, sizeof(*more));
	char *copy = strndup(dir, len);

	if (more)
		o->copy_up = more;
	if (!more || !copy) {
		free(copy);
		return err_set(e, -ENOMEM, "out of memory");
	}
	o->copy_up[o->n_copy_up++] = copy;
	return 0;
}

/* The start of the next element of a list with commas, or NULL. A comma that is not followed by a
 * slash is part of a directory's name. */
static const char *next_dir(const char *s)
{
	const char *comma = strstr(s, ",/");

	return comma ? comma + 1 : NULL;
}

static int set_dirs(struct options *o, const struct option_def *def, const char *value,
		    struct err *e)
{
	for (const char *next; value; value = next) {
		size_t len;
		int code;

		next = next_dir(value);
		len = next ? (size_t)(next - value) - 1 : strlen(value);
		if (!len)
			return bad_value(def, value, "a directory, such as /etc", e);
		code = append_dir(o, value, len, e);
		if (code < 0)
			return code;
	}
	return 0;
}

/* Adds which spec is wrong, unless the message has it, and an example of a right one. */
static int bad_port(const char *text, int code, struct err *e)
{
	char quoted[200] = "";
	struct err reason;

	if (!e)
		return code;
	reason = *e;
	if (!*text || !strstr(reason.msg, text))
		quote_go(text, quoted, sizeof(quoted));
	return err_set(e, code,
		       "--publish%s%s: %s; it must be like 127.0.0.1:8080:80/tcp, with ports from "
		       "1 to 65535",
		       *quoted ? " " : "", quoted, reason.msg);
}

static int append_port(struct options *o, const char *text, struct err *e)
{
	struct port_spec spec, *more;
	int code = portspec_parse(text, &spec, e);

	if (code == 0)
		code = portspec_validate(&spec, e);
	if (code < 0)
		return bad_port(text, code, e);
	for (size_t i = 0; i < o->n_publish; i++)
		if (portspec_conflicts(&o->publish[i], &spec))
			return err_set(e, -EINVAL, "--publish %s: %lld/%s is given twice", text,
				       spec.parent_port, spec.proto);
	more = reallocarray(o->publish, o->n_publish + 1, sizeof(*more));
	if (!more)
		return err_set(e, -ENOMEM, "out of memory");
	o->publish = more;
	o->publish[o->n_publish++] = spec;
	return 0;
}

/* Takes several specs in one value, separated by commas: no spec contains one. */
static int set_ports(struct options *o, const char *value, struct err *e)
{
	auto_free char *copy = strdup(value);
	char *rest = copy, *text;
	int code = 0;

	if (!copy)
		return err_set(e, -ENOMEM, "out of memory");
	while (code == 0 && (text = strsep(&rest, ",")))
		code = append_port(o, text, e);
	return code;
}

/* Takes one rule, or several separated by commas. */
static int set_egress(struct options *o, const struct option_def *def, const char *value,
		      struct err *e)
{
	bool deny = option_id(def) == OPT_EGRESS_DENY;
	auto_free char *copy = strdup(value);
	char *rest = copy, *text;

	if (!o->egress)
		o->egress = calloc(DP_OUTWARD_RULES, sizeof(*o->egress));
	if (!copy || !o->egress)
		return err_set(e, -ENOMEM, "out of memory");
	while ((text = strsep(&rest, ","))) {
		int code;

		if (o->n_egress == DP_OUTWARD_RULES)
			return err_set(e, -EINVAL,
				       "--%s %.64s: there may be %d rules of --egress-deny and "
				       "--egress-allow together",
				       def->name, text, DP_OUTWARD_RULES);
		code = egress_parse(text, deny, &o->egress[o->n_egress], e);
		if (code)
			return code;
		o->n_egress++;
	}
	return 0;
}

static int set_value(struct options *o, const struct option_def *def, const char *value,
		     struct err *e)
{
	int code = 0;

	switch (def->kind) {
	case OPTION_BOOL:
		code = value_parse_bool(value, member(o, def));
		return code < 0 ? bad_value(def, value, "true or false", e) : 0;
	case OPTION_INT:
		code = value_parse_int(value, member(o, def));
		return code < 0 ? bad_number(def, value, code, "a whole number", e) : 0;
	case OPTION_DURATION_MS:
		code = value_parse_duration_ms(value, member(o, def));
		return code < 0 ? bad_number(def, value, code,
					     "seconds or a duration like 90s or 1m30s", e)
				: 0;
	case OPTION_STRING:
		return set_string(o, def, value, e);
	case OPTION_DIRS:
		return set_dirs(o, def, value, e);
	case OPTION_PORTS:
		return set_ports(o, value, e);
	case OPTION_EGRESS:
		return set_egress(o, def, value, e);
	}
	return err_set(e, -EINVAL, "--%s: no such kind of option", def->name);
}

static int unknown(const char *name, size_t len, struct err *e)
{
	const char *near = option_nearest(name, len);
	int shown = len > 64 ? 64 : (int)len;

	if (near)
		return err_set(e, -EINVAL,
			       "flag provided but not defined: -%.*s; did you mean --%s?", shown,
			       name, near);
	return err_set(e, -EINVAL, "flag provided but not defined: -%.*s; see rootlesskit --help",
		       shown, name);
}

/* Parses one option at argv[*i]; moves *i past it and its value. */
static int parse_one(char **argv, int *i, struct options *o, struct err *e)
{
	const char *name = argv[(*i)++] + 1, *value;
	const struct option_def *def;
	size_t len;

	name += *name == '-';
	len = strcspn(name, "=");
	if (!len || *name == '-')
		return err_set(e, -EINVAL, "bad flag syntax: %.64s", argv[*i - 1]);
	def = option_find(name, len);
	if (!def)
		return unknown(name, len, e);
	if (name[len] == '=')
		value = name + len + 1;
	else if (def->kind == OPTION_BOOL)
		value = "true";
	else
		value = argv[*i] ? argv[(*i)++] : NULL;
	if (!value)
		return err_set(e, -EINVAL, "flag needs an argument: --%s=VALUE", def->name);
	o->given |= UINT64_C(1) << option_id(def);
	return set_value(o, def, value, e);
}

static int parse_words(char **argv, struct options *o, struct err *e)
{
	int i = argv[0] ? 1 : 0, code;

	/* A single dash is an ordinary word. */
	while (argv[i] && argv[i][0] == '-' && argv[i][1]) {
		if (!strcmp(argv[i], "--")) {
			i++;
			break;
		}
		code = parse_one(argv, &i, o, e);
		if (code < 0)
			return code;
	}
	o->command = &argv[i];
	return 0;
}

static int set_defaults(struct options *o, struct err *e)
{
	int code = 0;

	memset(o, 0, sizeof(*o));
	for (unsigned i = 0; i < OPT_COUNT && code == 0; i++)
		if (option_table[i].fallback)
			code = set_value(o, &option_table[i], option_table[i].fallback, e);
	return code;
}

/* Some messages quote the user's words. They must stay one line, and not control the terminal. */
static void make_printable(struct err *e)
{
	for (char *c = e->msg; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
}

int options_parse(int argc, char **argv, struct options *out, struct err *e)
{
	int code = set_defaults(out, e);

	(void)argc; /* argv ends with NULL: execve(2) */
	if (code == 0)
		code = parse_words(argv, out, e);
	if (code == 0)
		code = options_validate(out, e);
	if (code < 0)
		options_free(out);
	if (code < 0 && e)
		make_printable(e);
	return code;
}

void options_free(struct options *o)
{
	for (size_t i = 0; i < o->n_copy_up; i++)
		free(o->copy_up[i]);
	free(o->copy_up);
	free(o->publish);
	free(o->egress);
	o->copy_up = NULL;
	o->publish = NULL;
	o->egress = NULL;
	o->n_copy_up = o->n_publish = o->n_egress = 0;
}
