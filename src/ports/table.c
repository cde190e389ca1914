/* SPDX-License-Identifier: Apache-2.0 */
#include "ports/table.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/limits.h"
#include "ports/bulk.h"
#include "ports/table_internal.h"

/* Between two tries. */
#define AGAIN_MS 20

int ports_open(const struct port_driver_ops *ops, struct port_driver *drv, struct ports **out)
{
	struct ports *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->ops = ops;
	p->drv = drv;
	*out = p;
	return 0;
}

void ports_await_predecessor(struct ports *p, struct loop *loop, int patience_ms)
{
	p->loop = loop;
	p->patient_until = loop_now_ms() + (uint64_t)patience_ms;
}

void port_forget(struct port *port)
{
	struct ports *p = port->ports;

	loop_remove(port->again);
	HASH_DELETE(by_id, p->by_id, port);
	HASH_DELETE(by_key, p->by_key, port);
	DL_DELETE(p->list, port);
	p->n--;
	free(port);
}

/* Whoever waits for the driver gets an answer before it goes. */
static void give_up(struct port *port)
{
	struct err e;

	err_set(&e, -ECANCELED, "rootlesskit is ending");
	if (port->state == PORT_ADDING && port->added)
		port->added(port->arg, 0, &e);
	else if (port->state == PORT_REMOVING)
		port->removed(port->arg, &e);
}

void ports_close(struct ports *p)
{
	struct port *port, *tmp;

	if (!p)
		return;
	p->closing = true;
	DL_FOREACH_SAFE(p->list, port, tmp)
	{
		give_up(port);
		port_forget(port);
	}
	free(p);
}

static void key_of(const struct port_spec *spec, struct port_key *key)
{
	memset(key, 0, sizeof(*key)); /* what follows the strings is compared too */
	snprintf(key->proto, sizeof(key->proto), "%s", spec->proto);
	snprintf(key->parent_ip, sizeof(key->parent_ip), "%s", spec->parent_ip);
	key->parent_port = spec->parent_port;
}

int port_check(struct ports *p, const struct port_spec *spec, struct err *e)
{
	struct port *twin;
	struct port_key key;
	int code = portspec_validate(spec, e);

	if (code < 0)
		return code;
	if (spec->child_listen_ip[0] && !p->ops->takes_child_listen_ip)
		return err_set(e, -ENOTSUP,
			       "the port driver %s does not listen in the namespace, so there can "
			       "be no childListenIP: builtin does",
			       p->ops->name);
	key_of(spec, &key);
	HASH_FIND(by_key, p->by_key, &key, sizeof(key), twin);
	if (twin)
		return err_set(e, -EEXIST, "conflict with ID %d", twin->entry.id);
	if (p->n >= LIMIT_PORTS)
		return err_set(e, -ENOSPC, "%u ports are published, and no more can be", p->n);
	return 0;
}

struct port *port_new(struct ports *p, const struct port_spec *spec)
{
	struct port *port = calloc(1, sizeof(*port));

	if (!port)
		return NULL;
	port->ports = p;
	port->entry = (struct port_entry){.id = ++p->last_id, .spec = *spec};
	key_of(spec, &port->key);
	port->state = PORT_ADDING;
	HASH_ADD(by_id, p->by_id, entry.id, sizeof(int), port);
	HASH_ADD(by_key, p->by_key, key, sizeof(port->key), port);
	if (!hash_has(&port->by_id) || !hash_has(&port->by_key)) {
		if (hash_has(&port->by_id))
			HASH_DELETE(by_id, p->by_id, port);
		if (hash_has(&port->by_key))
			HASH_DELETE(by_key, p->by_key, port);
		p->last_id--;
		free(port);
		return NULL;
	}
	DL_APPEND(p->list, port);
	p->n++;
	return port;
}

static void add_again(void *arg, uint32_t events)
{
	struct port *port = arg;
	struct ports *p = port->ports;

	(void)events;
	port->again = NULL;
	p->ops->add(&port->order);
}

/* Whether it is going to be tried again. */
static bool is_worth_waiting(struct port *port, const struct err *e)
{
	struct ports *p = port->ports;

	if (!e || e->code != -EADDRINUSE || !p->loop || loop_now_ms() >= p->patient_until)
		return false;
	port->again = loop_add_timer(p->loop, AGAIN_MS, add_again, port);
	return port->again != NULL;
}

static struct port *port_of(struct port_order *order)
{
	static_assert(offsetof(struct port, order) == 0, "the order is where its port is");
	return (struct port *)order;
}

static void add_settled(struct port_order *order, const struct err *e)
{
	struct port *port = port_of(order);
	ports_added_fn *added = port->added;
	void *added_arg = port->arg;
	int id = port->entry.id;

	assert(port->state == PORT_ADDING);
	if (is_worth_waiting(port, e))
		return;
	port->state = PORT_LIVE;
	port->added = NULL;
	if (e) {
		/* RootlessKit numbers only the ports that came to be. */
		if (id == port->ports->last_id && !port->hidden)
			port->ports->last_id--;
		port_forget(port);
		id = 0;
	}
	added(added_arg, id, e);
}

void port_ask(struct port *port, ports_added_fn *done, void *arg)
{
	struct ports *p = port->ports;

	port->added = done;
	port->arg = arg;
	port->order = (struct port_order){.drv = p->drv,
					  .id = port->entry.id,
					  .spec = &port->entry.spec,
					  .settled = add_settled};
	p->ops->add(&port->order);
}

void ports_add(struct ports *p, const struct port_spec *spec, ports_added_fn *done, void *arg)
{
	struct err e = {.code = 0};
	struct port *port;

	if (portspec_count(spec) > 1) {
		bulk_add(p, spec, done, arg);
		return;
	}
	if (port_check(p, spec, &e) < 0) {
		done(arg, 0, &e);
		return;
	}
	port = port_new(p, spec);
	if (!port) {
		err_set(&e, -ENOMEM, "out of memory");
		done(arg, 0, &e);
		return;
	}
	port_ask(port, done, arg);
}

static void remove_settled(struct port_order *order, const struct err *e)
{
	struct port *port = port_of(order);
	port_done_fn *removed = port->removed;
	void *removed_arg = port->arg;

	assert(port->state == PORT_REMOVING);
	if (e)
		port->state = PORT_LIVE;
	else
		port_forget(port);
	removed(removed_arg, e);
}

void port_withdraw(struct port *port, port_done_fn *done, void *arg)
{
	struct ports *p = port->ports;

	assert(port->state == PORT_LIVE);
	port->state = PORT_REMOVING;
	port->removed = done;
	port->arg = arg;
	port->order.settled = remove_settled;
	p->ops->remove(&port->order);
}

struct port *port_find(struct ports *p, long long id, struct err *e)
{
	struct port *port = NULL;
	int key = (int)id;

	if (id == key)
		HASH_FIND(by_id, p->by_id, &key, sizeof(key), port);
	if (port && port->state == PORT_LIVE && !port->hidden)
		return port;
	err_set(e, -ENOENT, "unknown id: %lld", id);
	return NULL;
}

void ports_remove(struct ports *p, long long id, port_done_fn *done, void *arg)
{
	struct err e;
	struct port *port = port_find(p, id, &e);

	if (port)
		port_withdraw(port, done, arg);
	else
		done(arg, &e);
}

void ports_remove_range(struct ports *p, long long first, long long last, port_done_fn *done,
			void *arg)
{
	bulk_remove(p, first, last, done, arg);
}

int ports_each(const struct ports *p, int (*fn)(void *arg, const struct port_entry *), void *arg)
{
	struct port *port;

	DL_FOREACH(p->list, port)
	{
		bool shows = port->state == PORT_LIVE && !port->hidden;
		int r = shows ? fn(arg, &port->entry) : 0;

		if (r)
			return r;
	}
	return 0;
}

const struct port_driver_ops *ports_driver(const struct ports *p)
{
	return p->ops;
}

int ports_describe(const struct ports *p, port_counter_fn *fn, void *arg)
{
	return p->ops->describe ? p->ops->describe(p->drv, fn, arg) : 0;
}

int ports_stats(const struct ports *p, port_counter_fn *fn, void *arg, struct err *e)
{
	if (p->ops->stats)
		return p->ops->stats(p->drv, fn, arg, e);
	return err_set(e, -ENOTSUP, "the port driver %s has no statistics: builtin has",
		       p->ops->name);
}
