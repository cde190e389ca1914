/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/top_view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/member.h"

/* Lines that are not rows: title, totals and column heads at the top; and the keys at the
 * bottom. */
#define HEAD_LINES 3
#define FOOT_LINES 1

#define LINE_BYTES 512

/* The width of a row's columns other than the address, with the blanks between; and of the address:
 * what a screen of 80 columns leaves, and the longest that occurs. */
#define OTHERS_WIDTH	  59
#define ADDRESS_WIDTH_MIN 21
#define ADDRESS_WIDTH_MAX 47

const char top_keys[TOP_ORDERS + 1] = "bfodei";
static const char *const top_order_names[TOP_ORDERS] = {"bytes",     "flows",  "opened",
							"datagrams", "errors", "id"};

/* Numbers */

/* How fast a counter grew. A data plane that was started again counts from 0. */
static double rate(const json_t *now, const json_t *before, const char *key, double seconds)
{
	double n = member_number(now, key), was = member_number(before, key);

	if (!before)
		return 0;
	return (n >= was ? n - was : n) / seconds;
}

/* Formats a number in five characters at most: 999, 1.2k, 123k, 1.2M. */
static const char *brief(double n, char buf[16])
{
	static const char units[] = " kMGTPE";
	unsigned i = 0;

	while (n >= 999.5 && i + 1 < sizeof(units) - 1) {
		n /= 1000;
		i++;
	}
	if (i == 0)
		snprintf(buf, 16, "%.0f", n);
	else
		snprintf(buf, 16, n < 9.95 ? "%.1f%c" : "%.0f%c", n, units[i]);
	return buf;
}

/* Taking an answer */

/* Makes the server's text ASCII: it must fit in columns and reaches a terminal, so one byte has to
 * be one character. */
static void make_ascii(char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}

static void take_row(struct top_row *row, const json_t *port, const json_t *before, double seconds)
{
	const json_t *spec = json_object_get(port, "spec");
	const char *ip = member_text(spec, "parentIP");
	bool is_ipv6 = strchr(ip, ':') != NULL;

	row->id = (int)json_integer_value(json_object_get(port, "id"));
	snprintf(row->proto, sizeof(row->proto), "%s", member_text(spec, "proto"));
	snprintf(row->parent, sizeof(row->parent), "%s%.60s%s:%.0f", is_ipv6 ? "[" : "", ip,
		 is_ipv6 ? "]" : "", member_number(spec, "parentPort"));
	make_ascii(row->proto);
	make_ascii(row->parent);
	row->flows = member_number(port, "flows");
	row->opened = rate(port, before, "opened", seconds);
	row->bytes_in = rate(port, before, "bytesIn", seconds);
	row->bytes_out = rate(port, before, "bytesOut", seconds);
	row->datagrams = rate(port, before, "datagramsIn", seconds) +
			 rate(port, before, "datagramsOut", seconds);
	row->errors =
		rate(port, before, "errors", seconds) + rate(port, before, "dropped", seconds);
}

/* "1 port", "2 ports". */
static const char *plural(size_t n)
{
	return n == 1 ? "" : "s";
}

static void take_head(struct top_view *view, const json_t *stats, const json_t *before,
		      double seconds)
{
	const json_t *total = json_object_get(stats, "total");
	const json_t *was = json_object_get(before, "total");
	const json_t *tcp = json_object_get(total, "tcp"), *tcp_was = json_object_get(was, "tcp");
	const json_t *udp = json_object_get(total, "udp"), *udp_was = json_object_get(was, "udp");
	size_t workers = json_array_size(json_object_get(stats, "workers"));
	size_t connections = (size_t)member_number(tcp, "flows"),
	       flows = (size_t)member_number(udp, "flows");
	char a[16], b[16], c[16], d[16];

	snprintf(view->title, sizeof(view->title),
		 "%.20s, %zu worker%s, %zu port%s, %s TCP connection%s, %s UDP flow%s",
		 member_text(stats, "dataplane"), workers, plural(workers), view->n,
		 plural(view->n), brief(member_number(tcp, "flows"), a), plural(connections),
		 brief(member_number(udp, "flows"), b), plural(flows));
	make_ascii(view->title);
	snprintf(view->totals, sizeof(view->totals),
		 "a second: %sB in, %sB out, %s connections, %s datagrams",
		 brief(rate(tcp, tcp_was, "bytesIn", seconds) +
			       rate(udp, udp_was, "bytesIn", seconds),
		       a),
		 brief(rate(tcp, tcp_was, "bytesOut", seconds) +
			       rate(udp, udp_was, "bytesOut", seconds),
		       b),
		 brief(rate(tcp, tcp_was, "accepted", seconds), c),
		 brief(rate(udp, udp_was, "datagramsIn", seconds) +
			       rate(udp, udp_was, "datagramsOut", seconds),
		       d));
}

int top_view_take(struct top_view *view, const json_t *stats, const json_t *before, double seconds,
		  struct err *e)
{
	const json_t *ports = json_object_get(stats, "ports"), *port;
	const json_t *ports_before = json_object_get(before, "ports");
	struct top_row *rows;
	size_t at = 0, i;

	if (!json_is_object(json_object_get(stats, "total")) || !json_is_array(ports))
		return err_set(e, -EPROTO, "GET /v1/stats: not an answer of ringkit's API");
	rows = calloc(json_array_size(ports) + 1, sizeof(*rows));
	if (!rows)
		return err_errno(e, -ENOMEM, "ports");
	json_array_foreach(ports, i, port)
	{
		json_int_t id = json_integer_value(json_object_get(port, "id"));

		take_row(&rows[i], port, member_earlier_port(ports_before, &at, id), seconds);
	}
	free(view->rows);
	view->rows = rows;
	view->n = json_array_size(ports);
	take_head(view, stats, before, seconds);
	top_view_sort(view);
	return 0;
}

void top_view_free(struct top_view *view)
{
	free(view->rows);
	view->rows = NULL;
	view->n = 0;
}

/* Order */

static double weight(const struct top_row *row, enum top_order order)
{
	switch (order) {
	case TOP_BYTES:
		return row->bytes_in + row->bytes_out;
	case TOP_FLOWS:
		return row->flows;
	case TOP_OPENED:
		return row->opened;
	case TOP_DATAGRAMS:
		return row->datagrams;
	case TOP_ERRORS:
		return row->errors;
	default:
		return -row->id;
	}
}

/* Orders the busiest first, equal ones by their ids. */
static int compare(const void *x, const void *y, void *arg)
{
	const struct top_row *a = x, *b = y;
	const struct top_view *view = arg;
	double d = weight(b, view->order) - weight(a, view->order);
	int sign = view->reversed ? -1 : 1;

	if (d > 0 || d < 0)
		return d > 0 ? sign : -sign;
	return a->id < b->id ? -1 : a->id > b->id;
}

void top_view_sort(struct top_view *view)
{
	if (view->rows)
		qsort_r(view->rows, view->n, sizeof(*view->rows), compare, view);
}

size_t top_view_page(size_t lines)
{
	return lines > HEAD_LINES + FOOT_LINES ? lines - HEAD_LINES - FOOT_LINES : 0;
}

void top_view_scroll(struct top_view *view, long by, size_t lines)
{
	size_t page = top_view_page(lines), max = view->n > page ? view->n - page : 0;

	if (by < 0 && view->scroll < (size_t)-by)
		view->scroll = 0;
	else
		view->scroll += (size_t)by;
	if (view->scroll > max)
		view->scroll = max;
}

/* Writing */

/* Writes a row. address: the width of that column. */
static void format_row(const struct top_row *row, size_t address, char out[LINE_BYTES])
{
	char flows[16], opened[16], in[16], bytes_out[16], datagrams[16], errors[16];

	snprintf(out, LINE_BYTES, "%5d %-4.4s %-*.*s %6s %7s %8s %8s %7s %6s", row->id, row->proto,
		 (int)address, (int)address, row->parent, brief(row->flows, flows),
		 brief(row->opened, opened), brief(row->bytes_in, in),
		 brief(row->bytes_out, bytes_out), brief(row->datagrams, datagrams),
		 brief(row->errors, errors));
}

static void format_head(size_t address, char out[LINE_BYTES])
{
	snprintf(out, LINE_BYTES, "%5s %-4s %-*.*s %6s %7s %8s %8s %7s %6s", "ID", "PROT",
		 (int)address, (int)address, "PARENT", "FLOWS", "OPEN/S", "IN/S", "OUT/S",
		 "DGRAM/S", "ERR/S");
}

static size_t address_width(size_t cols)
{
	size_t left = cols > OTHERS_WIDTH ? cols - OTHERS_WIDTH : 0;

	if (left < ADDRESS_WIDTH_MIN)
		return ADDRESS_WIDTH_MIN;
	return left < ADDRESS_WIDTH_MAX ? left : ADDRESS_WIDTH_MAX;
}

static void put_cut(const char *line, size_t cols, FILE *file)
{
	fprintf(file, "%.*s", (int)cols, line);
}

/* A narrow screen cuts the end. So what is shown comes first, and the keys that matter least come
 * last. */
static void format_foot(const struct top_view *view, size_t lines, char out[LINE_BYTES])
{
	size_t page = top_view_page(lines), left = view->n - view->scroll;

	snprintf(out, LINE_BYTES,
		 "%zu-%zu of %zu by %s%s: q quit, space %s, arrows scroll, r reverse, "
		 "b f o d e i order",
		 view->n ? view->scroll + 1 : 0, view->scroll + (left < page ? left : page),
		 view->n, top_order_names[view->order], view->reversed ? " (reversed)" : "",
		 view->paused ? "go on" : "pause");
}

/* Formats the i-th line of the screen. */
static void format_line(const struct top_view *view, size_t i, size_t cols, size_t lines,
			char out[LINE_BYTES])
{
	size_t row = view->scroll + i - HEAD_LINES;

	out[0] = '\0';
	if (i + 1 == lines)
		format_foot(view, lines, out);
	else if (i == 0)
		snprintf(out, LINE_BYTES, "%s", view->title);
	else if (i == 1)
		snprintf(out, LINE_BYTES, "%s", view->totals);
	else if (i == 2)
		format_head(address_width(cols), out);
	else if (row < view->n)
		format_row(&view->rows[row], address_width(cols), out);
}

void top_view_put(const struct top_view *view, size_t cols, size_t lines, const char *end,
		  FILE *file)
{
	char line[LINE_BYTES];

	for (size_t i = 0; i < lines; i++) {
		format_line(view, i, cols, lines, line);
		put_cut(line, cols, file);
		if (i + 1 < lines)
			fputs(end, file);
	}
}

void top_view_put_plain(const struct top_view *view, FILE *file)
{
	char line[LINE_BYTES];

	fprintf(file, "%s\n%s\n", view->title, view->totals);
	format_head(ADDRESS_WIDTH_MAX, line);
	fprintf(file, "%s\n", line);
	for (size_t i = 0; i < view->n; i++) {
		format_row(&view->rows[i], ADDRESS_WIDTH_MAX, line);
		fprintf(file, "%s\n", line);
	}
}
