/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/port/builtin_stats.h"

#include <assert.h>

#include "base/array.h"
#include "base/limits.h"
#include "dataplane/dataplane.h"
#include "dataplane/stats.h"

/*
 * The names that the API has for the data plane's counters: one table for a worker, one for a port.
 */

struct counter {
	const char *group, *name;
	size_t at; /* offset in struct stats or struct port_stats */
};

/* Versions of clang-format differ about braces in macros. */
/* clang-format off */
#define TCP(n, field)      {"tcp", n, offsetof(struct stats, tcp_##field)}
#define UDP(n, field)      {"udp", n, offsetof(struct stats, udp_##field)}
#define RESOURCE(n, field) {"resources", n, offsetof(struct stats, field)}
#define OUT(n, field)      {"outward", n, offsetof(struct stats, out_##field)}
#define CONNECT_TIME(i, ns, n) {"tcpConnectTime", n, offsetof(struct stats, connect_time[i])},
#define BACKLOG_TIME(i, ns, n) {"tcpBacklogTime", n, offsetof(struct stats, backlog_time[i])},
#define PORT(n, field)     {NULL, n, offsetof(struct port_stats, field)}
/* clang-format on */

static const struct counter worker_counters[] = {
	TCP("flows", flows),
	TCP("accepted", accepted),
	TCP("connected", connected),
	TCP("closed", closed),
	TCP("aborted", aborted),
	TCP("vanished", vanished),
	TCP("refused", refused),
	TCP("unreachable", unreachable),
	TCP("timedOut", timed_out),
	TCP("retried", retried),
	TCP("noPort", no_port),
	TCP("failed", failed),
	TCP("transparent", transparent),
	TCP("transparentLost", transparent_lost),
	TCP("bytesIn", bytes_in),
	TCP("bytesOut", bytes_out),

	/* clang-format off */
	STATS_CONNECT_BOUNDS(CONNECT_TIME)
	CONNECT_TIME(STATS_CONNECT_BUCKETS - 1, 0, "+Inf")
	{"tcpConnectTime", "sumNs", offsetof(struct stats, connect_time_ns)},
	STATS_BACKLOG_BOUNDS(BACKLOG_TIME)
	BACKLOG_TIME(STATS_BACKLOG_BUCKETS - 1, 0, "+Inf")
	{"tcpBacklogTime", "sumNs", offsetof(struct stats, backlog_time_ns)},
	/* clang-format on */

	UDP("flows", flows),
	UDP("datagramsIn", datagrams_in),
	UDP("datagramsOut", datagrams_out),
	UDP("bytesIn", bytes_in),
	UDP("bytesOut", bytes_out),
	UDP("dropped", dropped),
	UDP("refused", refused),
	UDP("evicted", evicted),
	UDP("expired", expired),
	UDP("noPort", no_port),

	RESOURCE("listeners", listeners),
	RESOURCE("acceptPaused", accept_paused),
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
	OUT("pings", pings),
	OUT("pingsAnswered", pings_answered),
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

static_assert(ARRAY_SIZE(worker_counters) == STATS_WORDS, "every counter has a name");
static_assert(ARRAY_SIZE(port_counters) == PORT_STATS_WORDS, "every counter has a name");

/* The receiver of the list. */
struct taker {
	port_counter_fn *fn;
	void *arg;
};

/* Lists each counter of a table with its value in base. where: scope and index. */
static int list(const struct taker *taker, struct port_counter where, const struct counter *table,
		size_t n, const void *base)
{
	int code = 0;

	for (size_t i = 0; i < n && !code; i++) {
		where.group = table[i].group;
		where.name = table[i].name;
		where.value = *(const uint64_t *)((const char *)base + table[i].at);
		code = taker->fn(taker->arg, &where);
	}
	return code;
}

static int list_port(void *arg, int id, const struct port_stats *stats)
{
	struct port_counter where = {.scope = COUNTER_PORT, .index = id};

	return list(arg, where, port_counters, ARRAY_SIZE(port_counters), stats);
}

/* Lists all workers together, then each of them. They are read once, so that the parts add up to
 * the whole. */
static int list_workers(const struct dataplane *dp, const struct taker *taker)
{
	struct port_counter where = {.scope = COUNTER_TOTAL};
	struct stats workers[LIMIT_WORKERS], total = {0};
	unsigned n = dataplane_workers(dp);
	int code = 0;

	for (unsigned i = 0; i < n && !code; i++) {
		code = dataplane_stats_worker(dp, i, &workers[i]);
		if (!code)
			dataplane_stats_sum(&total, &workers[i]);
	}
	code = code ? code
		    : list(taker, where, worker_counters, ARRAY_SIZE(worker_counters), &total);
	where.scope = COUNTER_WORKER;
	for (unsigned i = 0; i < n && !code; i++) {
		where.index = (int)i;
		code = list(taker, where, worker_counters, ARRAY_SIZE(worker_counters),
			    &workers[i]);
	}
	return code;
}

int builtin_stats_list(const struct dataplane *dp, port_counter_fn *fn, void *arg)
{
	struct taker taker = {.fn = fn, .arg = arg};
	struct port_counter backend = {.name = "dataplane", .text = dataplane_backend_name(dp)};
	struct port_counter starts = {.name = "starts", .value = dataplane_starts(dp)};
	int code = fn(arg, &backend);

	code = code ? code : fn(arg, &starts);
	code = code ? code : list_workers(dp, &taker);
	return code ? code : dataplane_stats_ports(dp, list_port, &taker);
}
