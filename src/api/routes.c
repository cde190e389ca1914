/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_internal.h"
#include "api/codec.h"
#include "api/counters.h"
#include "api/metrics.h"
#include "base/array.h"
#include "config.h"

/*
 * The answers of the API, as RootlessKit gives them; openapi.yaml describes them.
 */

#define API_VERSION "1.1.1" /* the version of RootlessKit's API that this is */

#define TYPE_JSON "application/json"

/* The answer of Go's mux. */
#define NOT_FOUND "404 page not found\n"

void routes_answer(struct request *r, unsigned status, json_t *v)
{
	char *text = v ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

	json_decref(v);
	if (text)
		request_answer(r, status, TYPE_JSON, text);
	else
		request_answer(r, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, NULL);
}

void routes_fail(struct request *r, unsigned status, const char *fmt, ...)
{
	char message[1200], *text = NULL, *line = NULL;
	json_t *v;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	v = codec_message_encode(message);
	if (v)
		text = json_dumps(v, JSON_COMPACT);
	json_decref(v);
	if (text && asprintf(&line, "%s\n", text) < 0)
		line = NULL;
	free(text);
	request_answer(r, status, TYPE_JSON, line);
}

void routes_out_of_memory(struct request *r)
{
	routes_fail(r, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory");
}

/* GET /v1/info */

static json_t *net_json(const struct api_info *info)
{
	const struct net_result *net = info->net;
	json_t *o = json_object(), *dns = json_array();
	const char *servers[NET_DNS_MAX];
	size_t n = net_result_dns(net, servers);

	json_object_set_new(o, "driver", json_string(net->driver));
	for (size_t i = 0; i < n; i++)
		json_array_append_new(dns, json_string(servers[i]));
	if (json_array_size(dns))
		json_object_set(o, "dns", dns);
	json_decref(dns);
	if (net->ip[0])
		json_object_set_new(o, "childIP", json_string(net->ip));
	if (net->dynamic_child_ip)
		json_object_set_new(o, "dynamicChildIP", json_true());
	counters_describe_network(info, o);
	return o;
}

static json_t *port_driver_json(const struct ports *table)
{
	const struct port_driver_ops *ops = ports_driver(table);
	json_t *o = json_object(), *protos = json_array();

	json_object_set_new(o, "driver", json_string(ops->name));
	for (const char *const *p = ports_protos(table); *p; p++)
		json_array_append_new(protos, json_string(*p));
	json_object_set_new(o, "protos", protos);
	if (ops->disallow_loopback_child_ip)
		json_object_set_new(o, "disallowLoopbackChildIP", json_true());
	if (ops->batch_max)
		json_object_set_new(o, "batchMax", json_integer(ops->batch_max));
	json_object_set_new(o, "ranges", json_true());
	counters_describe(table, o);
	return o;
}

static void get_info(struct request *r, const char *rest)
{
	const struct api_info *info = &r->api->info;
	json_t *o = json_object();

	(void)rest;
	json_object_set_new(o, "apiVersion", json_string(API_VERSION));
	json_object_set_new(o, "version", json_string(RINGKIT_VERSION));
	json_object_set_new(o, "stateDir", json_string(info->state_dir));
	json_object_set_new(o, "childPID", json_integer(info->child_pid));
	if (info->net)
		json_object_set_new(o, "networkDriver", net_json(info));
	if (info->ports) {
		json_object_set_new(o, "portDriver", port_driver_json(info->ports));
		json_object_set_new(o, "portLeases", json_true());
	}
	routes_answer(r, MHD_HTTP_OK, o);
}

/* /v1/ports */

static bool need_ports(struct request *r)
{
	if (r->api->info.ports)
		return true;
	routes_fail(r, MHD_HTTP_BAD_REQUEST, "no PortDriver is available");
	return false;
}

static json_t *port_json(const struct port *port)
{
	json_t *o = codec_port_encode(port->id, &port->spec);

	if (port->range)
		json_object_set_new(o, "range", json_integer(port->range));
	return o;
}

static int append_port(void *arg, const struct port *port)
{
	return json_array_append_new(arg, port_json(port));
}

static void get_ports(struct request *r, const char *rest)
{
	json_t *list;

	(void)rest;
	list = json_array();
	if (!list || ports_each(r->api->info.ports, append_port, list)) {
		json_decref(list);
		list = NULL;
	} else if (json_array_size(list) == 0) {
		json_decref(list);
		list = json_null(); /* what Go writes for an empty slice */
	}
	routes_answer(r, MHD_HTTP_OK, list);
}

/* GET /v1/stats */

struct stats_merge {
	const json_t *by_id;
	json_t *list;
};

/* Appends a port as in GET /v1/ports, followed by its counters. */
static int append_stats(void *arg, const struct port *port)
{
	struct stats_merge *m = arg;
	json_t *o = port_json(port);
	char key[16];

	snprintf(key, sizeof(key), "%d", port->id);
	json_object_update(o, json_object_get(m->by_id, key));
	return json_array_append_new(m->list, o);
}

static void get_stats(struct request *r, const char *rest)
{
	struct err e = {.code = 0};
	struct stats_merge merge = {.list = NULL};
	json_t *stats;

	(void)rest;
	if (!r->api->info.network_stats && !need_ports(r))
		return;
	stats = counters_stats(&r->api->info, &e);
	if (!stats) {
		routes_fail(r, MHD_HTTP_BAD_REQUEST, "%s", e.msg);
		return;
	}
	merge.by_id = json_object_get(stats, "ports");
	merge.list = json_array();
	if (!merge.list ||
	    (r->api->info.ports && ports_each(r->api->info.ports, append_stats, &merge))) {
		json_decref(merge.list);
		json_decref(stats);
		stats = NULL;
	} else {
		json_object_set_new(stats, "ports", merge.list);
	}
	routes_answer(r, MHD_HTTP_OK, stats);
}

/* GET /v1/metrics */

static void get_metrics(struct request *r, const char *rest)
{
	char *text = metrics_text(&r->api->info);

	(void)rest;
	if (text)
		request_answer(r, MHD_HTTP_OK, METRICS_TYPE, text);
	else
		routes_out_of_memory(r);
}

/* POST /v1/reload */

static void on_reloaded(void *arg, const struct port_reload *result, const struct err *e)
{
	struct request *r = arg;
	json_t *o;

	if (!request_settled(r))
		return;
	if (e) {
		routes_fail(r, MHD_HTTP_INTERNAL_SERVER_ERROR, "%s", e->msg);
		return;
	}
	o = json_object();
	json_object_set_new(o, "version", json_string(result->program));
	json_object_set_new(o, "flows", json_integer(result->flows));
	json_object_set_new(o, "pauseUs", json_integer((json_int_t)result->pause_us));
	routes_answer(r, MHD_HTTP_OK, o);
}

static void post_reload(struct request *r, const char *rest)
{
	const struct api_info *info = &r->api->info;
	struct err e = {.code = 0};

	(void)rest;
	if (!info->reload) {
		routes_fail(r, MHD_HTTP_BAD_REQUEST, "there is no data plane to be reloaded");
		return;
	}
	if (info->reload(info->reload_arg, on_reloaded, r, &e) < 0)
		routes_fail(r, MHD_HTTP_BAD_REQUEST, "%s", e.msg);
	else
		r->ordered = true;
}

/* The table */

static void answer_options(struct request *r, const char *rest)
{
	(void)rest;
	request_answer(r, MHD_HTTP_OK, NULL, NULL);
}

static const struct route {
	const char *path; /* "/..." at the end stands for one more part, not empty, which serve
			   * gets */
	const char *method;
	bool needs_ports; /* without a port driver the request is refused */
	void (*serve)(struct request *r, const char *rest);
} routes[] = {
	{"*", "OPTIONS", false, answer_options},
	{"/v1/info", "GET", false, get_info},
	{"/v1/events", "GET", false, events_get},
	{"/v1/stats", "GET", false, get_stats},
	{"/v1/metrics", "GET", false, get_metrics},
	{"/v1/reload", "POST", false, post_reload},
	{"/v1/ports", "GET", true, get_ports},
	{"/v1/ports", "POST", true, publish_port},
	{"/v1/ports/batch", "POST", true, publish_batch},
	{"/v1/ports/...", "DELETE", true, publish_remove},
};

/* Whether the route is for this path. *rest gets the part that "..." stands for. */
static bool is_path(const struct route *route, const char *path, const char **rest)
{
	const char *dots = strstr(route->path, "...");
	size_t len = dots ? (size_t)(dots - route->path) : 0;

	*rest = path + len;
	if (!dots)
		return !strcmp(route->path, path);
	return !strncmp(route->path, path, len) && **rest && !strchr(*rest, '/');
}

void routes_serve(struct request *r)
{
	bool known = false;
	const char *rest;

	for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
		const struct route *route = &routes[i];

		if (!is_path(route, r->url, &rest))
			continue;
		known = true;
		if (strcmp(route->method, r->method) != 0)
			continue;
		if (!route->needs_ports || need_ports(r))
			route->serve(r, rest);
		return;
	}
	if (known)
		request_answer(r, MHD_HTTP_METHOD_NOT_ALLOWED, NULL, NULL);
	else
		request_answer(r, MHD_HTTP_NOT_FOUND, "text/plain; charset=utf-8",
			       strdup(NOT_FOUND));
}
