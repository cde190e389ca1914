/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/port/builtin_stats.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "dataplane/stats.h"

/*
 * The counters of the data plane under the names that the API has for them: one table for a worker,
 * one for a port.
 */

struct counter {
	const char *group, *name;
	size_t at; /* in struct stats or struct port_stats */
};

/* The versions of clang-format differ about braces in macros. */
/* clang-format off */
#define TCP(n, field)      {"tcp", n, offsetof(struct stats, tcp_##field)}
#define UDP(n, field)      {"udp", n, offsetof(struct stats, udp_##field)}
#define RESOURCE(n, field) {"resources", n, offsetof(struct stats, field)}
#define OUT(n, field)      {"outward", n, offsetof(struct stats, out_##field)}
#define PORT(n, field)     {NULL, n, offsetof(struct port_stats, field)}
/* clang-format on */

static const struct counter worker_counters[] = {
	TCP("flows", flows),
	TCP("accepted", accepted),
	TCP("connected", connected),
	TCP("closed", closed),
	TCP("aborted", aborted),
	TCP("refused", refused),
	TCP("unreachable", unreachable),
	TCP("timedOut", timed_out),
	TCP("failed", failed),
	TCP("transparent", transparent),
	TCP("transparentLost", transparent_lost),
	TCP("bytesIn", bytes_in),
	TCP("bytesOut", bytes_out),

	UDP("flows", flows),
	UDP("datagramsIn", datagrams_in),
	UDP("datagramsOut", datagrams_out),
	UDP("bytesIn", bytes_in),
	UDP("bytesOut", bytes_out),
	UDP("dropped", dropped),
	UDP("refused", refused),
	UDP("evicted", evicted),
	UDP("expired", expired),

	RESOURCE("listeners", listeners),
	RESOURCE("acceptPaused", accept_paused),
	RESOURCE("flowsRefused", flows_refused),
	RESOURCE("pipesOpen", pipes_open),
	RESOURCE("pipesRefused", pipes_refused),
	RESOURCE("socketsRequested", sockets_requested),
	RESOURCE("socketsReceived", sockets_received),
	RESOURCE("socketsRejected", sockets_rejected),
	RESOURCE("socketPoolEmpty", pool_empty),
	RESOURCE("staleCompletions", stale_completions),

	OUT("tcpFlows", tcp_flows),
	OUT("tcpPending", tcp_pending),
	OUT("tcpSyns", tcp_syns),
	OUT("tcpConnected", tcp_connected),
	OUT("tcpClosed", tcp_closed),
	OUT("tcpAborted", tcp_aborted),
	OUT("tcpRefused", tcp_refused),
	OUT("tcpUnreachable", tcp_unreachable),
	OUT("tcpProhibited", tcp_prohibited),
	OUT("tcpTimedOut", tcp_timed_out),
	OUT("tcpFailed", tcp_failed),
	OUT("tcpDropped", tcp_dropped),
	OUT("tcpEvicted", tcp_evicted),
	OUT("tcpBytesUp", tcp_bytes_up),
	OUT("tcpBytesDown", tcp_bytes_down),
	OUT("udpFlows", udp_flows),
	OUT("udpDatagramsUp", udp_datagrams_up),
	OUT("udpDatagramsDown", udp_datagrams_down),
	OUT("udpBytesUp", udp_bytes_up),
	OUT("udpBytesDown", udp_bytes_down),
	OUT("udpDropped", udp_dropped),
	OUT("udpProhibited", udp_prohibited),
	OUT("udpErrors", udp_errors),
	OUT("udpEvicted", udp_evicted),
	OUT("udpExpired", udp_expired),
	OUT("dnsQueries", dns_queries),
	OUT("packetsOdd", packets_odd),
};

static const struct counter port_counters[] = {
	PORT("flows", flows),
	PORT("opened", opened),
	PORT("bytesIn", bytes_in),
	PORT("bytesOut", bytes_out),
	PORT("datagramsIn", datagrams_in),
	PORT("datagramsOut", datagrams_out),
	PORT("errors", errors),
	PORT("dropped", dropped),
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static_assert(COUNT(worker_counters) == STATS_WORDS, "every counter has a name");
static_assert(COUNT(port_counters) == PORT_STATS_WORDS, "every counter has a name");

static json_t *value_of(const void *base, const struct counter *c)
{
	return json_integer((json_int_t) * (const uint64_t *)((const char *)base + c->at));
}

/* {"tcp": {...}, "udp": {...}, "resources": {...}} */
static json_t *worker_json(const struct stats *stats)
{
	json_t *o = json_object();

	for (size_t i = 0; i < COUNT(worker_counters); i++) {
		const struct counter *c = &worker_counters[i];
		json_t *group = json_object_get(o, c->group);

		if (!group) {
			group = json_object();
			json_object_set_new(o, c->group, group);
		}
		json_object_set_new(group, c->name, value_of(stats, c));
	}
	return o;
}

static int add_port(void *arg, int id, const struct port_stats *stats)
{
	json_t *o = json_object();
	char key[16];

	snprintf(key, sizeof(key), "%d", id);
	for (size_t i = 0; i < COUNT(port_counters); i++)
		json_object_set_new(o, port_counters[i].name, value_of(stats, &port_counters[i]));
	return json_object_set_new(arg, key, o) < 0 ? -ENOMEM : 0;
}

static int add_workers(const struct dataplane *dp, json_t *list, struct stats *total)
{
	for (unsigned i = 0; i < dataplane_workers(dp); i++) {
		struct stats stats;
		int code = dataplane_stats_worker(dp, i, &stats);

		if (code)
			return code;
		dataplane_stats_sum(total, &stats);
		if (json_array_append_new(list, worker_json(&stats)) < 0)
			return -ENOMEM;
	}
	return 0;
}

json_t *builtin_stats_json(const struct dataplane *dp, struct err *e)
{
	json_t *o = json_object(), *workers = json_array(), *ports = json_object();
	struct stats total = {0};
	int code = add_workers(dp, workers, &total);

	if (!code)
		code = dataplane_stats_ports(dp, add_port, ports);
	json_object_set_new(o, "dataplane", json_string(dataplane_backend_name(dp)));
	json_object_set_new(o, "starts", json_integer(dataplane_starts(dp)));
	json_object_set_new(o, "total", worker_json(&total));
	json_object_set_new(o, "workers", workers);
	if (json_object_set_new(o, "ports", ports) < 0 && !code)
		code = -ENOMEM;
	if (code) {
		err_errno(e, code, "statistics");
		json_decref(o);
		return NULL;
	}
	return o;
}
