/* SPDX-License-Identifier: Apache-2.0 */
#include "ports/table.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

#include "base/limits.h"

enum port_state {
	PORT_ADDING,
	PORT_LIVE,
	PORT_REMOVING,
};

/* What two ports must not share: the words of the user, as RootlessKit compares them. */
struct port_key {
	char proto[64];
	char parent_ip[64];
	long long parent_port;
};

struct port {
	struct ports *ports;
	struct port_entry entry;
	enum port_state state;
	struct port_key key;
	ports_added_fn *added; /* until it is live */
	port_done_fn *removed; /* while it is being removed */
	void *arg;
	struct loop_source *again; /* the timer of the next try */
	UT_hash_handle by_id, by_key;
	struct port *prev, *next; /* in the order of ids */
};

struct ports {
	const struct port_driver_ops *ops;
	struct port_driver *drv;
	int last_id;
	unsigned n;
	struct port *by_id, *by_key, *list;
	struct loop *loop;	/* NULL: nobody is waited for */
	uint64_t patient_until; /* loop_now_ms() */
};

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

static void forget(struct port *port)
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
	if (port->state == PORT_ADDING)
		port->added(port->arg, 0, &e);
	else if (port->state == PORT_REMOVING)
		port->removed(port->arg, &e);
}

void ports_close(struct ports *p)
{
	struct port *port, *tmp;

	if (!p)
		return;
	DL_FOREACH_SAFE(p->list, port, tmp)
	{
		give_up(port);
		forget(port);
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

/* 0, or why it cannot be asked of the driver. */
static int check(struct ports *p, const struct port_spec *spec, const struct port_key *key,
		 struct err *e)
{
	struct port *twin;
	int code = portspec_validate(spec, e);

	if (code < 0)
		return code;
	if (spec->child_listen_ip[0] && !p->ops->takes_child_listen_ip)
		return err_set(e, -ENOTSUP,
			       "the port driver %s does not listen in the namespace, so there can "
			       "be no childListenIP: builtin does",
			       p->ops->name);
	HASH_FIND(by_key, p->by_key, key, sizeof(*key), twin);
	if (twin)
		return err_set(e, -EEXIST, "conflict with ID %d", twin->entry.id);
	if (p->n >= LIMIT_PORTS)
		return err_set(e, -ENOSPC, "%u ports are published, and no more can be", p->n);
	return 0;
}

static struct port *port_new(struct ports *p, const struct port_spec *spec,
			     const struct port_key *key)
{
	struct port *port = calloc(1, sizeof(*port));

	if (!port)
		return NULL;
	port->ports = p;
	port->entry = (struct port_entry){.id = ++p->last_id, .spec = *spec};
	port->key = *key;
	port->state = PORT_ADDING;
	HASH_ADD(by_id, p->by_id, entry.id, sizeof(int), port);
	HASH_ADD(by_key, p->by_key, key, sizeof(port->key), port);
	DL_APPEND(p->list, port);
	p->n++;
	return port;
}

static void on_added(void *arg, const struct err *e);

static void add_again(void *arg, uint32_t events)
{
	struct port *port = arg;
	struct ports *p = port->ports;

	(void)events;
	port->again = NULL;
	p->ops->add(p->drv, port->entry.id, &port->entry.spec, on_added, port);
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

static void on_added(void *arg, const struct err *e)
{
	struct port *port = arg;
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
		if (id == port->ports->last_id)
			port->ports->last_id--;
		forget(port);
		id = 0;
	}
	added(added_arg, id, e);
}

void ports_add(struct ports *p, const struct port_spec *spec, ports_added_fn *done, void *arg)
{
	struct err e = {.code = 0};
	struct port_key key;
	struct port *port;

	key_of(spec, &key);
	if (check(p, spec, &key, &e) < 0) {
		done(arg, 0, &e);
		return;
	}
	port = port_new(p, spec, &key);
	if (!port) {
		err_set(&e, -ENOMEM, "out of memory");
		done(arg, 0, &e);
		return;
	}
	port->added = done;
	port->arg = arg;
	p->ops->add(p->drv, port->entry.id, spec, on_added, port);
}

static void on_removed(void *arg, const struct err *e)
{
	struct port *port = arg;
	port_done_fn *removed = port->removed;
	void *removed_arg = port->arg;

	assert(port->state == PORT_REMOVING);
	if (e)
		port->state = PORT_LIVE;
	else
		forget(port);
	removed(removed_arg, e);
}

void ports_remove(struct ports *p, long long id, port_done_fn *done, void *arg)
{
	struct port *port = NULL;
	int key = (int)id;

	if (id == key)
		HASH_FIND(by_id, p->by_id, &key, sizeof(key), port);
	if (!port || port->state != PORT_LIVE) {
		struct err e;

		err_set(&e, -ENOENT, "unknown id: %lld", id);
		done(arg, &e);
		return;
	}
	port->state = PORT_REMOVING;
	port->removed = done;
	port->arg = arg;
	p->ops->remove(p->drv, port->entry.id, on_removed, port);
}

int ports_each(const struct ports *p, int (*fn)(void *arg, const struct port_entry *), void *arg)
{
	struct port *port;

	DL_FOREACH(p->list, port)
	{
		int r = port->state == PORT_LIVE ? fn(arg, &port->entry) : 0;

		if (r)
			return r;
	}
	return 0;
}

const struct port_driver_ops *ports_driver(const struct ports *p)
{
	return p->ops;
}

void ports_describe(const struct ports *p, json_t *info)
{
	if (p->ops->describe)
		p->ops->describe(p->drv, info);
}

json_t *ports_stats(const struct ports *p, struct err *e)
{
	if (p->ops->stats)
		return p->ops->stats(p->drv, e);
	err_set(e, -ENOTSUP, "the port driver %s has no statistics: builtin has", p->ops->name);
	return NULL;
}
