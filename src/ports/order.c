/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "base/limits.h"
#include "ports/table_internal.h"

/*
 * Orders. An order is what one request asks of the table: to add ports, or to remove some. The
 * table looks for all conflicts before it asks the driver for anything. The driver has at most
 * batch_max ports of an order to settle at a time.
 *
 * When a port cannot be added, the order takes back the ports of its spec and of all later specs.
 * Only then is the request answered.
 */

struct port_order {
	struct ports *ports;
	bool undoing; /* adding has failed: the ports from failed on are taken back */
	void (*finish)(struct port_order *order);
	ports_added_fn *added; /* one of added and removed is set */
	ports_removed_fn *removed;
	void *arg;
	size_t n, next, end;  /* number of ports; the next port to ask for; where to stop */
	size_t waiting;	      /* ports that the driver has to settle */
	size_t failed;	      /* the first port of the first spec that failed; n: none has */
	struct err why;	      /* of the failure; code 0: none */
	bool pumping, stayed; /* pumping: pump() runs; stayed: a port could not be taken back */
	int last_id;	      /* id of the last port, when adding */
	struct port *list[];  /* an entry is NULL when its port is gone */
};

static struct port_order *order_new(struct ports *p, size_t n, void *arg)
{
	struct port_order *o = calloc(1, sizeof(*o) + n * sizeof(struct port *));

	if (!o)
		return NULL;
	o->ports = p;
	o->arg = arg;
	o->n = o->end = o->failed = n;
	return o;
}

static void ask_one(struct port_order *o, size_t i)
{
	struct port *port = o->list[i];

	if (!port)
		return;
	if (o->undoing && port->state == PORT_NEW) { /* the driver was not asked for it */
		o->list[i] = NULL;
		port_forget(port);
		return;
	}
	port->order = o;
	port->order_index = i;
	o->waiting++;
	port_ask(port);
}

/* Asks the driver for as many ports as it takes at a time. The driver may settle a port from
 * within. */
static void pump(struct port_order *o)
{
	unsigned max = o->ports->ops->batch_max ? o->ports->ops->batch_max : 1;

	if (o->pumping)
		return;
	o->pumping = true;
	while (o->next < o->end && o->waiting < max && !o->ports->closing)
		ask_one(o, o->next++);
	o->pumping = false;
	if (o->waiting == 0)
		o->finish(o);
}

/* The index of the first port of the spec that the i-th port came with. */
static size_t first_of_spec(const struct port *port, size_t i)
{
	return port->range ? i - (size_t)(port->id - port->range) : i;
}

/* Keeps the failure that is first in the order of the ports. An order that adds asks for nothing
 * from that port's spec on. */
static void note_failure(struct port_order *o, const struct port *port, size_t i,
			 const struct err *e)
{
	size_t first = o->added ? first_of_spec(port, i) : i;

	if (o->undoing || first >= o->failed)
		return;
	o->failed = first;
	o->why = *e;
	if (o->added)
		o->end = first;
}

void order_settled(struct port *port, const struct err *e)
{
	struct port_order *o = port->order;
	size_t i = port->order_index;

	port->order = NULL;
	if (e)
		note_failure(o, port, i, e);
	if (e && o->undoing) {
		port->hidden = false; /* the port stays, so that the list must show it */
		o->stayed = true;
	}
	if (port->state == PORT_NEW) {
		o->list[i] = NULL;
		port_forget(port);
	}
	o->waiting--;
	pump(o);
}

/* Removing */

static void end_removing(struct port_order *o)
{
	o->removed(o->arg, o->why.code ? &o->why : NULL);
	free(o);
}

/* 0, or -ENOENT when a port is not there; then no port is touched. */
static int find_all(struct port_order *o, long long first, struct err *e)
{
	for (size_t i = 0; i < o->n; i++) {
		o->list[i] = port_find(o->ports, first + (long long)i, e);
		if (!o->list[i])
			return e->code;
	}
	return 0;
}

void ports_remove(struct ports *p, long long first, long long last, ports_removed_fn *done,
		  void *arg)
{
	struct port_order *o = NULL;
	struct err e = {.code = 0};

	if (first > last || last - first >= LIMIT_PORTS)
		err_set(&e, -EINVAL, "no range of ids: %lld-%lld", first, last);
	else if (!(o = order_new(p, (size_t)(last - first) + 1, arg)))
		err_set(&e, -ENOMEM, "out of memory");
	else
		find_all(o, first, &e);
	if (!o || e.code) {
		free(o);
		done(arg, &e);
		return;
	}
	o->removed = done;
	o->finish = end_removing;
	pump(o);
}

/* Adding */

/* Answers the request. The first port of each spec moves to the front of the order's own list. */
static void answer(struct port_order *o)
{
	const struct port *const *first = (const struct port *const *)o->list;
	size_t n = 0;

	for (size_t i = 0; i < o->failed && !o->ports->closing; i++) {
		struct port *port = o->list[i];

		if (first_of_spec(port, i) == i)
			o->list[n++] = port;
	}
	o->added(o->arg, first, n, o->why.code ? &o->why : NULL);
	free(o);
}

/* The ids of ports that were taken back are used again: RootlessKit numbers only ports that came to
 * be. */
static void end_undoing(struct port_order *o)
{
	struct ports *p = o->ports;

	if (!o->stayed && !p->closing && p->last_id == o->last_id)
		p->last_id = o->last_id - (int)(o->n - o->failed);
	answer(o);
}

static void end_adding(struct port_order *o)
{
	for (size_t i = 0; i < o->failed && !o->ports->closing; i++)
		o->list[i]->hidden = false;
	if (o->failed == o->n || o->ports->closing) {
		answer(o);
		return;
	}
	o->undoing = true;
	o->next = o->failed;
	o->end = o->n;
	o->finish = end_undoing;
	pump(o);
}

static int check_range(struct ports *p, const struct port_spec *spec, struct err *e)
{
	size_t n = portspec_count(spec);
	int code = portspec_validate(spec, e);

	if (!code && p->n + n > LIMIT_PORTS)
		return err_set(e, -ENOSPC,
			       "%u ports are published, and no more than %d can be: a range of %zu "
			       "does not fit",
			       p->n, LIMIT_PORTS, n);
	for (size_t i = 0; i < n && !code; i++) {
		struct port_spec one = portspec_at(spec, i);

		code = port_check(p, &one, e);
		if (code == -EEXIST)
			err_wrap(e, code, "port %lld", one.parent_port);
	}
	return code;
}

/* Puts the spec's ports into the table, so that nobody else gets their addresses. 0, or -errno, and
 * then no port of the spec is there. */
static int make_ports(struct port_order *o, const struct port_spec *spec, struct err *e)
{
	size_t n = portspec_count(spec), before = o->n;
	int code = n > 1 ? check_range(o->ports, spec, e) : port_check(o->ports, spec, e);

	for (size_t i = 0; i < n && !code; i++) {
		struct port_spec one = n > 1 ? portspec_at(spec, i) : *spec;
		struct port *port = port_new(o->ports, &one);

		if (!port) {
			code = err_set(e, -ENOMEM, "out of memory");
			break;
		}
		port->hidden = true;
		port->range = n > 1 ? o->ports->last_id - (int)i : 0;
		o->list[o->n++] = port;
	}
	while (code && o->n > before) {
		port_forget(o->list[--o->n]);
		o->ports->last_id--;
	}
	return code;
}

/* Room for the ports of all specs: at most LIMIT_PORTS, and none for a range that is larger. */
static size_t count_all(const struct port_spec *specs, size_t n)
{
	size_t sum = 0;

	for (size_t i = 0; i < n; i++)
		if (portspec_count(&specs[i]) <= LIMIT_PORTS)
			sum += portspec_count(&specs[i]);
	return sum < LIMIT_PORTS ? sum : LIMIT_PORTS;
}

void ports_add(struct ports *p, const struct port_spec *specs, size_t n, ports_added_fn *done,
	       void *arg)
{
	struct port_order *o = order_new(p, count_all(specs, n), arg);
	struct err e;

	if (!o) {
		err_set(&e, -ENOMEM, "out of memory");
		done(arg, NULL, 0, &e);
		return;
	}
	o->n = 0;
	for (size_t i = 0; i < n && !o->why.code; i++)
		make_ports(o, &specs[i], &o->why);
	o->end = o->failed = o->n;
	o->last_id = p->last_id;
	o->added = done;
	o->finish = end_adding;
	pump(o);
}
