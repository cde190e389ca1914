/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/stats.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/text.h"
#include "ctl/member.h"
#include "ctl/output.h"
#include "ctl/table.h"

/* Formats 1234567 as "1.2 M"; bytes: in powers of 1024, "1.2 Mi". Returns buf. */
static const char *scaled(double n, bool bytes, char buf[16])
{
	static const char units[] = " kMGTPE";
	double step = bytes ? 1024 : 1000;
	unsigned i = 0;

	while (n >= step && i + 1 < sizeof(units) - 1) {
		n /= step;
		i++;
	}
	if (i == 0)
		snprintf(buf, 16, "%.0f", n);
	else
		snprintf(buf, 16, "%.1f %c%s", n, units[i], bytes ? "i" : "");
	return buf;
}

/* An entry of a line: its label, and the counter that it shows, or the sum of several. */
struct entry {
	const char *label;
	bool bytes;
	const char *keys[6]; /* NULL ends the list */
};

/* Prints a line about the counters in group. */
static void put_line(const json_t *group, const struct entry *entries, size_t n)
{
	char buf[16];

	for (size_t i = 0; i < n; i++) {
		double sum = 0;

		for (const char *const *key = entries[i].keys; *key; key++)
			sum += member_number(group, *key);
		printf("%s%s: %s%s", i ? ", " : "- ", entries[i].label,
		       scaled(sum, entries[i].bytes, buf), entries[i].bytes ? "B" : "");
	}
	putchar('\n');
}

static void put_tcp(const json_t *tcp)
{
	static const struct entry line[] = {
		{"TCP connections now", false, {"flows"}},
		{"accepted", false, {"accepted"}},
		{"refused", false, {"refused"}},
		{"failed", false, {"unreachable", "timedOut", "failed"}},
		{"aborted", false, {"aborted"}},
		{"transparent", false, {"transparent"}},
		{"transparentLost", false, {"transparentLost"}},
		{"in", true, {"bytesIn"}},
		{"out", true, {"bytesOut"}},
	};

	put_line(tcp, line, ARRAY_SIZE(line));
}

/* In a histogram, the sum of the values stands among the buckets. */
#define HISTOGRAM_SUM "sumNs"

/* Prints a bucket's bound: "1.0" s as "1 s", "0.00025" as "250 µs". */
static void put_bound(const char *bound)
{
	double s;

	if (!strcmp(bound, "+Inf")) {
		fputs("more", stdout);
		return;
	}
	s = strtod(bound, NULL);
	if (s < 0.001)
		printf("%g µs", s * 1e6);
	else if (s < 1)
		printf("%g ms", s * 1e3);
	else
		printf("%g s", s);
}

/* Prints the bound that `percent` per cent of the values are below. */
static void put_quantile(json_t *buckets, json_int_t count, int percent)
{
	const char *bound, *found = "+Inf";
	json_int_t below = 0;
	json_t *value;

	json_object_foreach(buckets, bound, value)
	{
		if (!strcmp(bound, HISTOGRAM_SUM))
			continue;
		below += json_integer_value(value);
		if (below * 100 >= count * percent) {
			found = bound;
			break;
		}
	}
	put_bound(found);
}

static void put_time(const char *label, json_t *buckets)
{
	json_int_t count = 0;
	const char *bound;
	json_t *value;

	json_object_foreach(buckets, bound, value)
	{
		if (strcmp(bound, HISTOGRAM_SUM) != 0)
			count += json_integer_value(value);
	}
	printf("%s: ", label);
	if (!count) {
		fputs("nothing yet", stdout);
		return;
	}
	fputs("half within ", stdout);
	put_quantile(buckets, count, 50);
	fputs(", 99 % within ", stdout);
	put_quantile(buckets, count, 99);
}

/* Prints the times. An older server does not measure them. */
static void put_times(const json_t *total)
{
	json_t *connect = json_object_get(total, "tcpConnectTime");

	if (!connect)
		return;
	put_time("- TCP connect time", connect);
	put_time("; in the backlog", json_object_get(total, "tcpBacklogTime"));
	putchar('\n');
}

static void put_udp(const json_t *udp)
{
	static const struct entry line[] = {
		{"UDP flows now", false, {"flows"}}, {"datagrams in", false, {"datagramsIn"}},
		{"out", false, {"datagramsOut"}},    {"dropped", false, {"dropped"}},
		{"refused", false, {"refused"}},     {"evicted", false, {"evicted"}},
	};

	put_line(udp, line, ARRAY_SIZE(line));
}

static void put_resources(const json_t *resources)
{
	static const struct entry line[] = {
		{"Listeners", false, {"listeners"}},
		{"accept paused", false, {"acceptPaused"}},
		{"pipes", false, {"pipesOpen"}},
		{"pipes refused", false, {"pipesRefused"}},
		{"waited for a socket", false, {"socketPoolEmpty"}},
	};

	put_line(resources, line, ARRAY_SIZE(line));
}

/* Prints the way out, in two lines. Prints nothing for a network that has none. */
static void put_outward(const json_t *outward)
{
	static const struct entry tcp[] = {
		{"Way out: TCP connections now", false, {"tcpFlows"}},
		{"connected", false, {"tcpConnected"}},
		{"refused", false, {"tcpRefused"}},
		{"prohibited", false, {"tcpProhibited"}},
		{"failed",
		 false,
		 {"tcpUnreachable", "tcpTimedOut", "tcpFailed", "tcpDropped", "tcpEvicted"}},
		{"up", true, {"tcpBytesUp"}},
		{"down", true, {"tcpBytesDown"}},
	};
	static const struct entry udp[] = {
		{"Way out: UDP mappings now", false, {"udpFlows"}},
		{"datagrams up", false, {"udpDatagramsUp"}},
		{"down", false, {"udpDatagramsDown"}},
		{"dropped", false, {"udpDropped"}},
		{"prohibited", false, {"udpProhibited"}},
		{"DNS queries", false, {"dnsQueries"}},
		{"pings", false, {"pings"}},
		{"other protocols refused", false, {"packetsRefused"}},
	};

	if (!json_object_get(outward, "packetsRefused") && member_number(outward, "tcpSyns") <= 0 &&
	    member_number(outward, "udpDatagramsUp") <= 0)
		return;
	put_line(outward, tcp, ARRAY_SIZE(tcp));
	put_line(outward, udp, ARRAY_SIZE(udp));
}

/* Prints the ports that follow what listens inside. Prints nothing for other port drivers. */
static void put_implicit(const json_t *implicit)
{
	static const struct entry line[] = {
		{"Open inside: open on the host", false, {"open"}},
		{"in use there", false, {"inUse"}},
		{"privileged", false, {"privileged"}},
		{"failed", false, {"failed"}},
		{"over the limit", false, {"overLimit"}},
	};

	if (implicit)
		put_line(implicit, line, ARRAY_SIZE(line));
}

struct view {
	struct table table;
	const json_t *before; /* the ports of the earlier answer; NULL: print totals */
	size_t at;
	double seconds;
};

/* Adds a counter, or how fast it grew. A data plane that was started again counts from 0. */
static void cell(struct view *v, const json_t *port, const json_t *old, const char *key, bool bytes)
{
	double n = member_number(port, key), was = member_number(old, key);
	char buf[16];

	if (v->before)
		n = n >= was ? (n - was) / v->seconds : n / v->seconds;
	table_cell(&v->table, "%s", scaled(n, bytes, buf));
}

static void put_row(struct view *v, const json_t *port)
{
	const json_t *spec = json_object_get(port, "spec");
	json_int_t id = json_integer_value(json_object_get(port, "id"));
	const json_t *old = v->before ? member_earlier_port(v->before, &v->at, id) : NULL;
	char buf[16];

	table_cell(&v->table, "%lld", (long long)id);
	table_cell(&v->table, "%s", member_text(spec, "proto"));
	table_cell(&v->table, "%s:%.0f", member_text(spec, "parentIP"),
		   member_number(spec, "parentPort"));
	table_cell(&v->table, "%s", scaled(member_number(port, "flows"), false, buf));
	cell(v, port, old, "opened", false);
	cell(v, port, old, "bytesIn", true);
	cell(v, port, old, "bytesOut", true);
	cell(v, port, old, "datagramsIn", false);
	cell(v, port, old, "datagramsOut", false);
	cell(v, port, old, "errors", false);
	cell(v, port, old, "dropped", false);
}

static int put_ports(const json_t *ports, const json_t *before, double seconds)
{
	static const char *const totals[] = {"ID",	  "PROTO",   "PARENT",	 "FLOWS",
					     "OPENED",	  "BYTESIN", "BYTESOUT", "DGRAMSIN",
					     "DGRAMSOUT", "ERRORS",  "DROPPED"};
	static const char *const rates[] = {"ID",	   "PROTO",	"PARENT",     "FLOWS",
					    "OPENED/S",	   "BYTESIN/S", "BYTESOUT/S", "DGRAMSIN/S",
					    "DGRAMSOUT/S", "ERRORS/S",	"DROPPED/S"};
	size_t columns = ARRAY_SIZE(totals), i;
	struct view v = {.before = before, .seconds = seconds};
	const json_t *port;

	table_open(&v.table, columns);
	for (i = 0; i < columns; i++)
		table_cell(&v.table, "%s", before ? rates[i] : totals[i]);
	json_array_foreach(ports, i, port) put_row(&v, port);
	return table_print(&v.table);
}

int stats_print(const json_t *stats, const json_t *before, uint64_t elapsed_ms, struct err *e)
{
	const json_t *total = json_object_get(stats, "total");
	const json_t *ports = json_object_get(stats, "ports");

	if (!json_is_object(total) || !json_is_array(ports))
		return err_set(e, -EPROTO, "GET /v1/stats: not an answer of ringkit's API");
	fputs("- Data plane: ", stdout);
	text_put_printable(member_text(stats, "dataplane"), stdout);
	printf(", workers: %zu, starts: %.0f\n", json_array_size(json_object_get(stats, "workers")),
	       member_number(stats, "starts"));
	put_tcp(json_object_get(total, "tcp"));
	put_times(total);
	put_udp(json_object_get(total, "udp"));
	put_resources(json_object_get(total, "resources"));
	put_outward(json_object_get(total, "outward"));
	put_implicit(json_object_get(total, "implicit"));
	if (put_ports(ports, before ? json_object_get(before, "ports") : NULL,
		      (double)(elapsed_ms ? elapsed_ms : 1) / 1000) < 0)
		return err_errno(e, -ENOMEM, "table of ports");
	return output_finish(e);
}
