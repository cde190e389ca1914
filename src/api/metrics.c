/* SPDX-License-Identifier: Apache-2.0 */
#include "api/metrics.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/counters.h"
#include "base/array.h"
#include "base/fd.h"
#include "base/limits.h"
#include "config.h"
#include "ports/table.h"

/*
 * The port driver names the counters (openapi.yaml, Counters). A table here says which metric each
 * becomes; rows of the same metric stand together. A counter without a row is shown as well, under
 * its own name and with an unknown type.
 */

struct metric {
	const char *group, *counter; /* the port driver's names; group NULL: a counter of a port */
	const char *name;	     /* without "ringkit_" */
	const char *label;	     /* NULL: none */
	bool is_gauge;
	const char *help; /* NULL: the same metric as the row before */
};

static const struct metric worker_metrics[] = {
	{"tcp", "flows", "tcp_flows", NULL, true, "TCP connections that there are now."},
	{"tcp", "accepted", "tcp_accepted", NULL, false, "TCP connections accepted."},
	{"tcp", "connected", "tcp_connected", NULL, false,
	 "TCP connections that reached their server."},
	{"tcp", "closed", "tcp_ended", "how=\"closed\"", false, "TCP connections that have ended."},
	{"tcp", "aborted", "tcp_ended", "how=\"aborted\"", false, NULL},
	{"tcp", "vanished", "tcp_vanished", NULL, false,
	 "TCP flows aborted as one side did not answer for minutes."},
	{"tcp", "refused", "tcp_failed", "cause=\"refused\"", false,
	 "TCP connections that did not reach their server."},
	{"tcp", "unreachable", "tcp_failed", "cause=\"unreachable\"", false, NULL},
	{"tcp", "timedOut", "tcp_failed", "cause=\"timed_out\"", false, NULL},
	{"tcp", "failed", "tcp_failed", "cause=\"other\"", false, NULL},
	{"tcp", "retried", "tcp_retried", NULL, false,
	 "Connects that were tried again, as the server refused."},
	{"tcp", "noPort", "tcp_no_port", NULL, false,
	 "Connects that waited for a free port in the namespace."},
	{"tcp", "transparent", "tcp_client_address", "kept=\"true\"", false,
	 "TCP connections of clients from outside, by whether the server saw their address."},
	{"tcp", "transparentLost", "tcp_client_address", "kept=\"false\"", false, NULL},
	{"tcp", "bytesIn", "tcp_bytes", "direction=\"in\"", false,
	 "Bytes of TCP, in: to the namespace."},
	{"tcp", "bytesOut", "tcp_bytes", "direction=\"out\"", false, NULL},
	{"udp", "flows", "udp_flows", NULL, true, "UDP flows that there are now."},
	{"udp", "datagramsIn", "udp_datagrams", "direction=\"in\"", false,
	 "Datagrams, in: to the namespace."},
	{"udp", "datagramsOut", "udp_datagrams", "direction=\"out\"", false, NULL},
	{"udp", "bytesIn", "udp_bytes", "direction=\"in\"", false,
	 "Bytes of UDP, in: to the namespace."},
	{"udp", "bytesOut", "udp_bytes", "direction=\"out\"", false, NULL},
	{"udp", "dropped", "udp_dropped", NULL, false, "Datagrams dropped."},
	{"udp", "refused", "udp_refused", NULL, false, "UDP flows whose server refused."},
	{"udp", "evicted", "udp_ended", "how=\"evicted\"", false,
	 "UDP flows that have ended: idle, or for newer ones."},
	{"udp", "expired", "udp_ended", "how=\"expired\"", false, NULL},
	{"udp", "noPort", "udp_no_port", NULL, false,
	 "Times that the namespace had no free port for a flow."},
	{"resources", "listeners", "listeners", NULL, true, "Listening sockets."},
	{"resources", "acceptPaused", "accept_paused", NULL, false,
	 "Times that accepting paused for want of descriptors."},
	{"resources", "pipesOpen", "pipes_open", NULL, true, "Pipes that there are now."},
	{"resources", "pipesRefused", "pipes_refused", NULL, false, "Pipes that could not be had."},
	{"resources", "socketsRequested", "sockets", "event=\"requested\"", false,
	 "Sockets that were asked of the broker in the namespace."},
	{"resources", "socketsReceived", "sockets", "event=\"received\"", false, NULL},
	{"resources", "socketsRejected", "sockets", "event=\"rejected\"", false, NULL},
	{"resources", "socketPoolEmpty", "socket_pool_empty", NULL, false,
	 "Times that a flow waited for a socket."},
	{"resources", "staleCompletions", "stale_completions", NULL, false,
	 "Completions for a flow that was gone."},
	{"outward", "tcpFlows", "outward_tcp_flows", NULL, true,
	 "TCP connections out of the namespace that there are now."},
	{"outward", "tcpPending", "outward_tcp_pending", NULL, true,
	 "Connects out of the namespace that are under way."},
	{"outward", "tcpSyns", "outward_tcp_syns", NULL, false,
	 "Opening packets of TCP on their way out."},
	{"outward", "tcpConnected", "outward_tcp_connected", NULL, false,
	 "TCP connections out of the namespace that reached their server."},
	{"outward", "tcpClosed", "outward_tcp_ended", "how=\"closed\"", false,
	 "TCP connections out of the namespace that have ended."},
	{"outward", "tcpAborted", "outward_tcp_ended", "how=\"aborted\"", false, NULL},
	{"outward", "tcpRefused", "outward_tcp_failed", "cause=\"refused\"", false,
	 "TCP connections out of the namespace that did not reach their server."},
	{"outward", "tcpUnreachable", "outward_tcp_failed", "cause=\"unreachable\"", false, NULL},
	{"outward", "tcpProhibited", "outward_tcp_failed", "cause=\"prohibited\"", false, NULL},
	{"outward", "tcpTimedOut", "outward_tcp_failed", "cause=\"timed_out\"", false, NULL},
	{"outward", "tcpFailed", "outward_tcp_failed", "cause=\"other\"", false, NULL},
	{"outward", "tcpDropped", "outward_tcp_failed", "cause=\"dropped\"", false, NULL},
	{"outward", "tcpEvicted", "outward_tcp_failed", "cause=\"evicted\"", false, NULL},
	{"outward", "tcpBytesUp", "outward_tcp_bytes", "direction=\"up\"", false,
	 "Bytes of TCP out of the namespace (up) and back."},
	{"outward", "tcpBytesDown", "outward_tcp_bytes", "direction=\"down\"", false, NULL},
	{"outward", "udpFlows", "outward_udp_flows", NULL, true,
	 "UDP mappings of the way out that there are now."},
	{"outward", "udpDatagramsUp", "outward_udp_datagrams", "direction=\"up\"", false,
	 "Datagrams out of the namespace (up) and back."},
	{"outward", "udpDatagramsDown", "outward_udp_datagrams", "direction=\"down\"", false, NULL},
	{"outward", "udpBytesUp", "outward_udp_bytes", "direction=\"up\"", false,
	 "Bytes of UDP out of the namespace (up) and back."},
	{"outward", "udpBytesDown", "outward_udp_bytes", "direction=\"down\"", false, NULL},
	{"outward", "udpDropped", "outward_udp_dropped", NULL, false,
	 "Datagrams of the way out that were dropped."},
	{"outward", "udpProhibited", "outward_udp_prohibited", NULL, false,
	 "Datagrams to where nobody may go."},
	{"outward", "udpErrors", "outward_udp_errors", NULL, false,
	 "ICMP errors from outside that were passed on."},
	{"outward", "udpEvicted", "outward_udp_ended", "how=\"evicted\"", false,
	 "UDP mappings of the way out that have ended: idle, or for newer ones."},
	{"outward", "udpExpired", "outward_udp_ended", "how=\"expired\"", false, NULL},
	{"outward", "dnsQueries", "outward_dns_queries", NULL, false,
	 "Datagrams to the name server's address."},
	{"outward", "pings", "outward_pings", NULL, false, "Echo requests on their way out."},
	{"outward", "pingsAnswered", "outward_pings_answered", NULL, false,
	 "Echo replies that came back."},
	{"outward", "packetsOdd", "outward_packets_odd", NULL, false,
	 "Packets of the queue that made no sense."},
};

/* Groups whose counters are the buckets of a histogram, named by their bounds and in their order,
 * and the sum of the values in them. */
static const struct histogram {
	const char *group, *name, *help;
} histograms[] = {
	{"tcpConnectTime", "tcp_connect_seconds",
	 "Time from accepting a connection until the one inside stands."},
	{"tcpBacklogTime", "tcp_backlog_seconds",
	 "Time that a connection waited to be accepted, of one connection in sixteen."},
};

#define HISTOGRAM_SUM "sumNs"
#define NS_PER_S      1000000000

static const struct metric port_metrics[] = {
	{NULL, "flows", "port_flows", NULL, true, "Flows of the port that there are now."},
	{NULL, "opened", "port_flows_opened", NULL, false, "Flows of the port since it is there."},
	{NULL, "bytesIn", "port_bytes", "direction=\"in\"", false,
	 "Bytes of the port, in: to the namespace."},
	{NULL, "bytesOut", "port_bytes", "direction=\"out\"", false, NULL},
	{NULL, "datagramsIn", "port_datagrams", "direction=\"in\"", false,
	 "Datagrams of the port, in: to the namespace."},
	{NULL, "datagramsOut", "port_datagrams", "direction=\"out\"", false, NULL},
	{NULL, "errors", "port_errors", NULL, false,
	 "Flows of the port that did not reach their server."},
	{NULL, "dropped", "port_dropped", NULL, false, "Datagrams of the port that were dropped."},
};

/* Writing */

static void put_head(FILE *f, const char *name, const char *type, const char *help)
{
	fprintf(f, "# TYPE ringkit_%s %s\n# HELP ringkit_%s %s\n", name, type, name, help);
}

static void put_metric_head(FILE *f, const struct metric *m)
{
	if (m->help)
		put_head(f, m->name, m->is_gauge ? "gauge" : "counter", m->help);
}

/* Writes a sample. labels may be empty. */
static void put_sample(FILE *f, const struct metric *m, const char *labels, const json_t *value)
{
	const char *comma = m->label && labels[0] ? "," : "";

	if (!json_is_integer(value))
		return;
	fprintf(f, "ringkit_%s%s{%s%s%s} %" JSON_INTEGER_FORMAT "\n", m->name,
		m->is_gauge ? "" : "_total", labels, comma, m->label ? m->label : "",
		json_integer_value(value));
}

/* Writes the value of a label, in its quotes. */
static void put_quoted(FILE *f, const char *text)
{
	fputc('"', f);
	for (; *text; text++) {
		if (*text == '\n')
			fputs("\\n", f);
		else if (*text == '"' || *text == '\\')
			fprintf(f, "\\%c", *text);
		else
			fputc(*text, f);
	}
	fputc('"', f);
}

/* Workers */

static bool is_listed(const char *group, const char *counter)
{
	for (size_t i = 0; i < ARRAY_SIZE(histograms); i++)
		if (!strcmp(histograms[i].group, group))
			return true;
	for (size_t i = 0; i < ARRAY_SIZE(worker_metrics); i++)
		if (!strcmp(worker_metrics[i].group, group) &&
		    !strcmp(worker_metrics[i].counter, counter))
			return true;
	return false;
}

static void put_for_workers(FILE *f, const struct metric *m, const json_t *workers)
{
	const json_t *worker;
	char label[32];
	size_t i;

	json_array_foreach(workers, i, worker)
	{
		snprintf(label, sizeof(label), "worker=\"%zu\"", i);
		put_sample(f, m, label,
			   json_object_get(json_object_get(worker, m->group), m->counter));
	}
}

/* Writes "staleCompletions" as "stale_completions". */
static void snake_case(const char *group, const char *counter, char *out, size_t size)
{
	size_t len = (size_t)snprintf(out, size, "%s_", group);

	for (; *counter && len + 2 < size; counter++) {
		if (isupper((unsigned char)*counter))
			out[len++] = '_';
		out[len++] = (char)tolower((unsigned char)*counter);
	}
	out[len] = '\0';
}

/* Writes the counters that have no row. */
static void put_others(FILE *f, const json_t *workers)
{
	const char *group, *counter;
	json_t *counters, *value;

	json_object_foreach(json_array_get(workers, 0), group, counters)
	{
		json_object_foreach(counters, counter, value)
		{
			char name[96];
			const struct metric m = {group, counter, name, NULL, true, NULL};

			if (is_listed(group, counter))
				continue;
			snake_case(group, counter, name, sizeof(name));
			put_head(f, name, "unknown", "A counter of the data plane.");
			put_for_workers(f, &m, workers);
		}
	}
}

static void put_histogram_of(FILE *f, const char *name, json_t *buckets, size_t worker)
{
	json_int_t count = 0, sum_ns;
	const char *bound;
	json_t *value;

	json_object_foreach(buckets, bound, value)
	{
		if (!strcmp(bound, HISTOGRAM_SUM))
			continue;
		count += json_integer_value(value);
		fprintf(f, "ringkit_%s_bucket{worker=\"%zu\",le=\"%s\"} %" JSON_INTEGER_FORMAT "\n",
			name, worker, bound, count);
	}
	sum_ns = json_integer_value(json_object_get(buckets, HISTOGRAM_SUM));
	fprintf(f, "ringkit_%s_count{worker=\"%zu\"} %" JSON_INTEGER_FORMAT "\n", name, worker,
		count);
	fprintf(f,
		"ringkit_%s_sum{worker=\"%zu\"} %" JSON_INTEGER_FORMAT ".%09" JSON_INTEGER_FORMAT
		"\n",
		name, worker, sum_ns / NS_PER_S, sum_ns % NS_PER_S);
}

static void put_histograms(FILE *f, const json_t *workers)
{
	const json_t *worker;
	size_t i;

	for (size_t k = 0; k < ARRAY_SIZE(histograms); k++) {
		const struct histogram *h = &histograms[k];

		if (!json_object_get(json_array_get(workers, 0), h->group))
			continue;
		put_head(f, h->name, "histogram", h->help);
		fprintf(f, "# UNIT ringkit_%s seconds\n", h->name);
		json_array_foreach(workers, i, worker)
		{
			put_histogram_of(f, h->name, json_object_get(worker, h->group), i);
		}
	}
}

static void put_workers(FILE *f, const json_t *workers)
{
	put_histograms(f, workers);
	for (size_t i = 0; i < ARRAY_SIZE(worker_metrics); i++) {
		put_metric_head(f, &worker_metrics[i]);
		put_for_workers(f, &worker_metrics[i], workers);
	}
	put_others(f, workers);
}

/* Ports */

struct port_view {
	FILE *f;
	const struct metric *metric;
	const json_t *counters; /* by id */
	unsigned left;
};

static int put_port(void *arg, const struct port *port)
{
	struct port_view *v = arg;
	const struct port_spec *spec = &port->spec;
	auto_free char *labels = NULL;
	char key[16];
	size_t len;
	FILE *f;

	if (v->left-- == 0)
		return 1;
	f = open_memstream(&labels, &len);
	if (!f)
		return -1;
	snprintf(key, sizeof(key), "%d", port->id);
	fprintf(f, "id=\"%s\",proto=\"%s\",parent_ip=", key, spec->proto);
	put_quoted(f, spec->parent_ip);
	fprintf(f, ",parent_port=\"%lld\",child_ip=", spec->parent_port);
	put_quoted(f, spec->child_ip);
	fprintf(f, ",child_port=\"%lld\"", spec->child_port);
	fclose(f);
	if (labels)
		put_sample(v->f, v->metric, labels,
			   json_object_get(json_object_get(v->counters, key), v->metric->counter));
	return 0;
}

static void put_ports(FILE *f, const struct ports *ports, const json_t *counters)
{
	for (size_t i = 0; i < ARRAY_SIZE(port_metrics); i++) {
		struct port_view v = {.f = f,
				      .metric = &port_metrics[i],
				      .counters = counters,
				      .left = LIMIT_METRICS_PORTS};

		put_metric_head(f, &port_metrics[i]);
		ports_each(ports, put_port, &v);
	}
}

static int count_port(void *arg, const struct port *port)
{
	(void)port;
	++*(unsigned *)arg;
	return 0;
}

/* Everything */

/* Writes what the network has counted beside the workers. */
static void put_network(FILE *f, const json_t *outward)
{
	const json_t *refused = json_object_get(outward, "packetsRefused");

	if (!refused)
		return;
	put_head(f, "outward_packets_refused", "counter",
		 "Packets of protocols that nothing carries.");
	fprintf(f, "ringkit_outward_packets_refused_total %" JSON_INTEGER_FORMAT "\n",
		json_integer_value(refused));
}

/* Writes how far the host has the ports that are open inside. */
static void put_implicit(FILE *f, const json_t *implicit)
{
	static const struct metric rows[] = {
		{NULL, "open", "implicit_ports", "state=\"open\"", true,
		 "Ports that are open inside, by whether they are open on the host, and why not."},
		{NULL, "inUse", "implicit_ports", "state=\"in_use\"", true, NULL},
		{NULL, "privileged", "implicit_ports", "state=\"privileged\"", true, NULL},
		{NULL, "failed", "implicit_ports", "state=\"failed\"", true, NULL},
		{NULL, "overLimit", "implicit_ports", "state=\"over_limit\"", true, NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows) && implicit; i++) {
		put_metric_head(f, &rows[i]);
		put_sample(f, &rows[i], "", json_object_get(implicit, rows[i].counter));
	}
}

static void put_counters(FILE *f, const struct ports *ports, const json_t *stats)
{
	const json_t *total = json_object_get(stats, "total");

	put_head(f, "dataplane_starts", "counter", "Times that the data plane was started.");
	fprintf(f, "ringkit_dataplane_starts_total %" JSON_INTEGER_FORMAT "\n",
		json_integer_value(json_object_get(stats, "starts")));
	put_workers(f, json_object_get(stats, "workers"));
	put_network(f, json_object_get(total, "outward"));
	put_implicit(f, json_object_get(total, "implicit"));
	if (ports)
		put_ports(f, ports, json_object_get(stats, "ports"));
}

static void put_build(FILE *f, const struct ports *ports, const json_t *stats)
{
	const char *dataplane = json_string_value(json_object_get(stats, "dataplane"));

	put_head(f, "build_info", "gauge", "What runs.");
	fprintf(f, "ringkit_build_info{version=\"%s\",port_driver=\"%s\",dataplane=\"%s\"} 1\n",
		RINGKIT_VERSION, ports ? ports_driver(ports)->name : "",
		dataplane ? dataplane : "");
}

static void put_numbers_of_ports(FILE *f, const struct ports *ports)
{
	unsigned n = 0;

	ports_each(ports, count_port, &n);
	put_head(f, "ports", "gauge", "Published ports.");
	fprintf(f, "ringkit_ports %u\n", n);
	put_head(f, "ports_not_shown", "gauge",
		 "Ports that have no metrics of their own, because there are so many.");
	fprintf(f, "ringkit_ports_not_shown %u\n",
		n > LIMIT_METRICS_PORTS ? n - LIMIT_METRICS_PORTS : 0);
}

static bool has_stats(const struct api_info *info)
{
	return info->ports || info->network_stats;
}

char *metrics_text(const struct api_info *info)
{
	json_t *stats = has_stats(info) ? counters_stats(info, NULL) : NULL;
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	bool bad = !f;

	if (f) {
		put_build(f, info->ports, stats);
		if (info->ports)
			put_numbers_of_ports(f, info->ports);
		if (stats)
			put_counters(f, info->ports, stats);
		fputs("# EOF\n", f);
		bad = ferror(f) != 0;
		bad = fclose(f) != 0 || bad;
	}
	json_decref(stats);
	if (!bad)
		return text;
	free(text);
	return NULL;
}
