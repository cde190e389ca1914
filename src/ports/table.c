/* SPDX-License-Identifier: Apache-2.0 */
#include "ports/table.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/array.h"
#include "base/limits.h"
#include "base/log.h"
#include "ports/table_internal.h"

/* Pause between two tries to add a port whose address is in use. */
#define AGAIN_MS 20

/* In words, for the log: "the broker". */
static const char *settler_name(enum port_settler by)
{
	static const char *const names[] = {
		[PORT_BY_PARENT] = "the parent",
		[PORT_BY_BROKER] = "the broker",
		[PORT_BY_WORKER] = "the workers",
		[PORT_BY_DATA_PLANE] = "the data plane",
		[PORT_BY_PROGRAM] = "the program that forwards it",
	};

	assert((size_t)by < ARRAY_SIZE(names));
	return names[by];
}

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

/* A request that waits for the driver is answered before its port is freed. */
static void give_up(struct port *port)
{
	struct err e;

	err_set(&e, -ECANCELED, "rootlesskit is ending");
	if (port->state == PORT_ADDING || port->state == PORT_REMOVING)
		order_settled(port, &e);
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
	memset(key, 0,
	       sizeof(*key)); /* the bytes after each string are part of the hash key, too */
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
		return err_set(e, -EEXIST, "conflict with ID %d", twin->id);
	if (p->n >= LIMIT_PORTS)
		return err_set(e, -ENOSPC, "%u ports are published, and no more can be", p->n);
	return 0;
}

struct port *port_new(struct ports *p, const struct port_spec *spec)
{
	struct port *port = calloc(1, sizeof(*port) + p->ops->port_size);

	if (!port)
		return NULL;
	port->ports = p;
	port->drv = p->drv;
	port->id = ++p->last_id;
	port->spec = *spec;
	port->state = PORT_NEW;
	key_of(spec, &port->key);
	HASH_ADD(by_id, p->by_id, id, sizeof(int), port);
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

	(void)events;
	port->again = NULL;
	memset(port->own, 0, port->ports->ops->port_size);
	port->ports->ops->add(port);
}

/* Whether the add will be tried again: while a predecessor may still hold the address. */
static bool is_worth_waiting(struct port *port, const struct err *e)
{
	struct ports *p = port->ports;

	if (port->state != PORT_ADDING || !e || e->code != -EADDRINUSE || !p->loop ||
	    loop_now_ms() >= p->patient_until)
		return false;
	port->again = loop_add_timer(p->loop, AGAIN_MS, add_again, port);
	return port->again != NULL;
}

/* The one place where an add or a remove ends. Called by the driver as port->settled. */
static void settled(struct port *port, enum port_settler by, const struct err *e)
{
	bool adding = port->state == PORT_ADDING, live = adding == !e;

	assert(adding || port->state == PORT_REMOVING);
	if (is_worth_waiting(port, e))
		return;
	if (e)
		log_debug("port %d could not be %s; settled by %s: %s", port->id,
			  adding ? "added" : "removed", settler_name(by), e->msg);
	port->state = live ? PORT_LIVE : PORT_NEW;
	order_settled(port, e);
}

void port_ask(struct port *port)
{
	const struct port_driver_ops *ops = port->ports->ops;

	assert(port->state == PORT_NEW || port->state == PORT_LIVE);
	port->settled = settled;
	if (port->state == PORT_NEW) {
		port->state = PORT_ADDING;
		ops->add(port);
	} else {
		port->state = PORT_REMOVING;
		ops->remove(port);
	}
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

static size_t range_count(const struct ports *p, int first)
{
	struct port *port;
	size_t n = 0;

	HASH_FIND(by_id, p->by_id, &first, sizeof(first), port);
	for (; port && port->range == first; port = port->next)
		n++;
	return n;
}

struct port_spec ports_asked(const struct ports *p, const struct port *port)
{
	struct port_spec spec = port->spec;

	if (port->range)
		spec.count = (long long)range_count(p, port->range);
	return spec;
}

int ports_each(const struct ports *p, int (*fn)(void *arg, const struct port *), void *arg)
{
	struct port *port;

	DL_FOREACH(p->list, port)
	{
		bool shows = port->state == PORT_LIVE && !port->hidden;
		int r = shows ? fn(arg, port) : 0;

		if (r)
			return r;
	}
	return 0;
}

const struct port_driver_ops *ports_driver(const struct ports *p)
{
	return p->ops;
}

const char *const *ports_protos(const struct ports *p)
{
	return p->ops->protos_now ? p->ops->protos_now(p->drv) : p->ops->protos;
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
