/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/output.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/fd.h"
#include "base/text.h"
#include "ctl/member.h"
#include "ctl/table.h"

int output_finish(struct err *e)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	return err_errno(e, errno ? -errno : -EIO, "cannot write to stdout");
}

int output_ids(long long first, long long count, struct err *e)
{
	printf("%lld", first);
	if (count > 1)
		printf("-%lld", first + count - 1);
	putchar('\n');
	return output_finish(e);
}

/* Whether a character is written by its number. It occurs in strings only. Go's encoder escapes
 * some; we also escape the control characters that neither it nor jansson does and a terminal would
 * obey. */
static bool is_escaped(uint32_t rune)
{
	return rune == '<' || rune == '>' || rune == '&' || rune == 0x2028 || rune == 0x2029 ||
	       (rune >= 0x7f && rune < 0xa0);
}

static void put_json_text(const char *s)
{
	while (*s) {
		uint32_t rune = 0;
		unsigned n = text_utf8_at(s, &rune);

		n = n ? n : 1; /* jansson writes nothing but UTF-8 */
		if (is_escaped(rune))
			printf("\\u%04x", (unsigned)rune);
		else
			fwrite(s, 1, n, stdout);
		s += n;
	}
	putchar('\n');
}

static int put_json(const json_t *value, size_t flags, struct err *e)
{
	auto_free char *text = json_dumps(value, flags | JSON_ENCODE_ANY);

	if (!text)
		return err_errno(e, -ENOMEM, "JSON");
	put_json_text(text);
	return output_finish(e);
}

int output_json(const json_t *value, struct err *e)
{
	return put_json(value, JSON_COMPACT, e);
}

int output_json_indented(const json_t *value, struct err *e)
{
	return put_json(value, JSON_INDENT(4), e);
}

static void number_cell(struct table *t, long long first, long long count)
{
	if (count > 1)
		table_cell(t, "%lld-%lld", first, first + count - 1);
	else
		table_cell(t, "%lld", first);
}

int output_table(const struct answer_port *ports, size_t n, struct err *e)
{
	static const char *const head[] = {"ID",	 "PROTO",   "PARENTIP",
					   "PARENTPORT", "CHILDIP", "CHILDPORT"};
	struct table t;

	table_open(&t, 6);
	for (size_t i = 0; i < 6; i++)
		table_cell(&t, "%s", head[i]);
	for (size_t i = 0; i < n; i++) {
		const struct port_spec *spec = &ports[i].spec;
		long long count = (long long)portspec_count(spec);

		number_cell(&t, ports[i].id, count);
		table_cell(&t, "%s", spec->proto);
		table_cell(&t, "%s", spec->parent_ip);
		number_cell(&t, spec->parent_port, count);
		table_cell(&t, "%s", spec->child_ip);
		number_cell(&t, spec->child_port, count);
	}
	if (table_print(&t) < 0)
		return err_errno(e, -ENOMEM, "table of ports");
	return output_finish(e);
}

/* Info */

static void put_line(const char *label, const char *text)
{
	printf("%s: ", label);
	text_put_printable(text, stdout);
	putchar('\n');
}

static void put_list(const char *label, const json_t *array)
{
	const json_t *item;
	size_t i;

	printf("  - %s: [", label);
	json_array_foreach(array, i, item)
	{
		fputs(i ? " " : "", stdout);
		text_put_printable(json_string_value(item), stdout);
	}
	printf("]\n");
}

static void put_fact(const char *label, const json_t *o, const char *key)
{
	char line[64];

	if (!*member_text(o, key))
		return;
	snprintf(line, sizeof(line), "    - %s", label);
	put_line(line, member_text(o, key));
}

/* Prints what only our own server reports, with --net=builtin. */
static void put_outward(const json_t *o)
{
	if (!o)
		return;
	put_line("  - Way out", *member_text(o, "connect") == 'h'
					? "connections are made inside when they are made outside"
					: "connections are accepted before they are made outside");
	put_fact("By", o, "connectReason");
	put_fact("IPv6", o, "ipv6");
	put_fact("Host's loopback at the gateway's address", o, "hostLoopback");
	put_fact("Egress rules", o, "egress");
	put_fact("Outbound address", o, "outboundAddr");
}

static void put_network(const json_t *net)
{
	put_line("- Network Driver", member_text(net, "driver"));
	put_list("DNS", json_object_get(net, "dns"));
	if (*member_text(net, "childIP"))
		put_line("  - IP", member_text(net, "childIP"));
	put_outward(json_object_get(net, "outward"));
}

/* Prints what only our own server reports: where the data plane is, in the port driver or the
 * network. */
static void put_dataplane(const json_t *port)
{
	if (!*member_text(port, "dataplane"))
		return;
	fputs("  - Data plane: ", stdout);
	text_put_printable(member_text(port, "dataplane"), stdout);
	printf(", workers: %" JSON_INTEGER_FORMAT "\n",
	       json_integer_value(json_object_get(port, "workers")));
	if (*member_text(port, "dataplaneReason"))
		put_line("    - Why this one", member_text(port, "dataplaneReason"));
	/* A reload may have changed it. */
	put_fact("Version", port, "dataplaneVersion");
}

int output_info(const json_t *info, struct err *e)
{
	const json_t *net = json_object_get(info, "networkDriver");
	const json_t *port = json_object_get(info, "portDriver");

	put_line("- REST API version", member_text(info, "apiVersion"));
	put_line("- Implementation version", member_text(info, "version"));
	put_line("- State Directory", member_text(info, "stateDir"));
	printf("- Child PID: %" JSON_INTEGER_FORMAT "\n",
	       json_integer_value(json_object_get(info, "childPID")));
	if (net) {
		put_network(net);
		put_dataplane(net);
	}
	if (port) {
		put_line("- Port Driver", member_text(port, "driver"));
		put_list("Supported protocols", json_object_get(port, "protos"));
		put_dataplane(port);
	}
	return output_finish(e);
}
