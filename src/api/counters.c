/* SPDX-License-Identifier: Apache-2.0 */
#include "api/counters.h"

#include <errno.h>
#include <stdio.h>

/* The answer under construction. */
struct sheet {
	json_t *driver, *total, *workers, *ports;
	json_t *last; /* the object that the last counter went into */
	struct port_counter where;
};

static int put(json_t *o, const struct port_counter *c)
{
	json_t *v = c->text ? json_string(c->text) : json_integer((json_int_t)c->value);

	return json_object_set_new(o, c->name, v) < 0 ? -ENOMEM : 0;
}

/* Finds the object of this name in o, or adds it. NULL: out of memory. */
static json_t *member(json_t *o, const char *name)
{
	json_t *v = json_object_get(o, name);

	if (v || json_object_set_new(o, name, json_object()) < 0)
		return v;
	return json_object_get(o, name);
}

static json_t *worker_of(struct sheet *s, int index)
{
	while (json_array_size(s->workers) <= (size_t)index)
		if (json_array_append_new(s->workers, json_object()) < 0)
			return NULL;
	return json_array_get(s->workers, (size_t)index);
}

static json_t *port_of(struct sheet *s, int id)
{
	char key[16];

	snprintf(key, sizeof(key), "%d", id);
	return member(s->ports, key);
}

/* The object that a counter belongs in. NULL: out of memory. */
static json_t *place_of(struct sheet *s, const struct port_counter *c)
{
	json_t *o = s->driver;

	if (c->scope == COUNTER_TOTAL)
		o = s->total;
	else if (c->scope == COUNTER_WORKER)
		o = worker_of(s, c->index);
	else if (c->scope == COUNTER_PORT)
		o = port_of(s, c->index);
	return o && c->group ? member(o, c->group) : o;
}

static int take(void *arg, const struct port_counter *c)
{
	struct sheet *s = arg;

	/* Counters of the same place come one after another. */
	if (!s->last || c->scope != s->where.scope || c->index != s->where.index ||
	    c->group != s->where.group) {
		s->last = place_of(s, c);
		s->where = *c;
	}
	return s->last ? put(s->last, c) : -ENOMEM;
}

static int take_fact(void *arg, const struct port_counter *c)
{
	json_t *o = c->group ? member(arg, c->group) : arg;

	return o ? put(o, c) : -ENOMEM;
}

void counters_describe(const struct ports *ports, json_t *o)
{
	ports_describe(ports, take_fact, o);
}

/* Picks the network's counters of one scope: its facts, or what it has counted. */
struct part {
	enum counter_scope scope;
	port_counter_fn *fn;
	void *arg;
};

static int take_part(void *arg, const struct port_counter *c)
{
	const struct part *p = arg;

	return c->scope == p->scope ? p->fn(p->arg, c) : 0;
}

static int describe_network(const struct api_info *info, enum counter_scope scope,
			    port_counter_fn *fn, void *arg)
{
	struct part part = {.scope = scope, .fn = fn, .arg = arg};

	return info->describe_network ? info->describe_network(info->network, take_part, &part) : 0;
}

void counters_describe_network(const struct api_info *info, json_t *o)
{
	describe_network(info, COUNTER_DRIVER, take_fact, o);
}

/* Lists the counters of the port driver, or those of a data plane without ports, and the
 * network's. */
static int list_stats(const struct api_info *info, struct sheet *s, struct err *e)
{
	bool by_ports = info->ports && ports_driver(info->ports)->stats;
	int code;

	if (!by_ports && info->network_stats)
		code = info->network_stats(info->network, take, s, e);
	else
		code = ports_stats(info->ports, take, s, e);
	if (!code && describe_network(info, COUNTER_TOTAL, take, s) < 0)
		code = err_errno(e, -ENOMEM, "statistics");
	return code;
}

json_t *counters_stats(const struct api_info *info, struct err *e)
{
	struct sheet s = {.driver = json_object(),
			  .total = json_object(),
			  .workers = json_array(),
			  .ports = json_object()};
	int code = list_stats(info, &s, e);

	json_object_set_new(s.driver, "total", s.total);
	json_object_set_new(s.driver, "workers", s.workers);
	if (json_object_set_new(s.driver, "ports", s.ports) < 0 && !code)
		code = err_errno(e, -ENOMEM, "statistics");
	if (code) {
		json_decref(s.driver);
		return NULL;
	}
	return s.driver;
}
