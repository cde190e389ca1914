/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"

static int finish(struct err *e)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	return err_errno(e, errno ? -errno : -EIO, "cannot write to stdout");
}

int output_id(long long id, struct err *e)
{
	printf("%lld\n", id);
	return finish(e);
}

/* Go's encoder writes these so; they stand nowhere but in strings. */
static void put_json_text(const char *s)
{
	for (; *s; s++) {
		if (*s == '<' || *s == '>' || *s == '&') {
			printf("\\u%04x", (unsigned)*s);
		} else if (strncmp(s, "\xe2\x80\xa8", 3) == 0 ||
			   strncmp(s, "\xe2\x80\xa9", 3) == 0) {
			printf("\\u202%x", (unsigned char)s[2] & 0xf);
			s += 2;
		} else {
			putchar(*s);
		}
	}
	putchar('\n');
}

static int put_json(const json_t *value, size_t flags, struct err *e)
{
	auto_free char *text = json_dumps(value, flags | JSON_ENCODE_ANY);

	if (!text)
		return err_errno(e, -ENOMEM, "JSON");
	put_json_text(text);
	return finish(e);
}

int output_json(const json_t *value, struct err *e)
{
	return put_json(value, JSON_COMPACT, e);
}

int output_json_indented(const json_t *value, struct err *e)
{
	return put_json(value, JSON_INDENT(4), e);
}

/* The table: cells padded to the widest of their column and 4 more, the last column too. */

#define N_COLUMNS 6
#define PADDING	  4

struct row {
	char id[24], parent_port[24], child_port[24];
	const char *cells[N_COLUMNS];
};

static const struct row head = {
	.cells = {"ID", "PROTO", "PARENTIP", "PARENTPORT", "CHILDIP", "CHILDPORT"},
};

static void fill_row(const struct answer_port *port, struct row *row)
{
	const struct port_spec *spec = &port->spec;

	snprintf(row->id, sizeof(row->id), "%d", port->id);
	snprintf(row->parent_port, sizeof(row->parent_port), "%lld", spec->parent_port);
	snprintf(row->child_port, sizeof(row->child_port), "%lld", spec->child_port);
	row->cells[0] = row->id;
	row->cells[1] = spec->proto;
	row->cells[2] = spec->parent_ip;
	row->cells[3] = row->parent_port;
	row->cells[4] = spec->child_ip;
	row->cells[5] = row->child_port;
}

/* In characters, not bytes. */
static size_t width_of(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += (*s & 0xc0) != 0x80;
	return n;
}

static void widen(size_t widths[N_COLUMNS], const struct row *row)
{
	for (size_t i = 0; i < N_COLUMNS; i++)
		if (width_of(row->cells[i]) > widths[i])
			widths[i] = width_of(row->cells[i]);
}

static void put_row(const size_t widths[N_COLUMNS], const struct row *row)
{
	for (size_t i = 0; i < N_COLUMNS; i++) {
		fputs(row->cells[i], stdout);
		printf("%*s", (int)(widths[i] + PADDING - width_of(row->cells[i])), "");
	}
	putchar('\n');
}

int output_table(const struct answer_port *ports, size_t n, struct err *e)
{
	size_t widths[N_COLUMNS] = {0};
	struct row row;

	widen(widths, &head);
	for (size_t i = 0; i < n; i++) {
		fill_row(&ports[i], &row);
		widen(widths, &row);
	}
	put_row(widths, &head);
	for (size_t i = 0; i < n; i++) {
		fill_row(&ports[i], &row);
		put_row(widths, &row);
	}
	return finish(e);
}

/* Info */

static const char *text_of(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s ? s : "";
}

static void put_list(const char *label, const json_t *array)
{
	const json_t *item;
	size_t i;

	printf("  - %s: [", label);
	json_array_foreach(array, i, item) printf("%s%s", i ? " " : "", json_string_value(item));
	printf("]\n");
}

static void put_network(const json_t *net)
{
	printf("- Network Driver: %s\n", text_of(net, "driver"));
	put_list("DNS", json_object_get(net, "dns"));
	if (*text_of(net, "childIP"))
		printf("  - IP: %s\n", text_of(net, "childIP"));
}

int output_info(const json_t *info, struct err *e)
{
	const json_t *net = json_object_get(info, "networkDriver");
	const json_t *port = json_object_get(info, "portDriver");

	printf("- REST API version: %s\n", text_of(info, "apiVersion"));
	printf("- Implementation version: %s\n", text_of(info, "version"));
	printf("- State Directory: %s\n", text_of(info, "stateDir"));
	printf("- Child PID: %" JSON_INTEGER_FORMAT "\n",
	       json_integer_value(json_object_get(info, "childPID")));
	if (net)
		put_network(net);
	if (port) {
		printf("- Port Driver: %s\n", text_of(port, "driver"));
		put_list("Supported protocols", json_object_get(port, "protos"));
	}
	return finish(e);
}
