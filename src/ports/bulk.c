/* SPDX-License-Identifier: Apache-2.0 */
#include "ports/bulk.h"

#include <errno.h>
#include <stdlib.h>

#include "base/limits.h"
#include "ports/table_internal.h"

struct item {
	struct bulk *bulk;
	struct port *port; /* NULL: it is gone */
	bool asked;	   /* the driver has been asked for it */
};

struct bulk {
	struct ports *ports;
	void (*step)(struct item *item); /* what is done with each */
	void (*finish)(struct bulk *bulk);
	ports_added_fn *added; /* one of the two */
	port_done_fn *removed;
	void *arg;
	size_t n, next;
	size_t waiting; /* answers of the driver that are to come */
	size_t failed;	/* the first one that was refused; n: none */
	struct err why;
	int first_id;	      /* adding */
	bool pumping, stayed; /* stayed: a port could not be taken back */
	struct item items[];
};

static struct bulk *bulk_new(struct ports *p, size_t n, void *arg)
{
	struct bulk *b = calloc(1, sizeof(*b) + n * sizeof(b->items[0]));

	if (!b)
		return NULL;
	b->ports = p;
	b->arg = arg;
	b->n = b->failed = n;
	for (size_t i = 0; i < n; i++)
		b->items[i].bulk = b;
	return b;
}

static void fail(struct bulk *b, size_t i, const struct err *e)
{
	if (i >= b->failed)
		return;
	b->failed = i;
	b->why = *e;
}

static void add_one(struct item *item);

/* Asks the driver for as much as it takes at a time. An answer may come from within. */
static void pump(struct bulk *b)
{
	unsigned max = b->ports->ops->batch_max ? b->ports->ops->batch_max : 1;

	if (b->pumping)
		return;
	b->pumping = true;
	while (b->next < b->n && b->waiting < max && !b->ports->closing &&
	       !(b->step == add_one && b->failed < b->n)) {
		b->waiting++;
		b->step(&b->items[b->next++]);
	}
	b->pumping = false;
	if (b->waiting == 0)
		b->finish(b);
}

/* Removing, also what a range that failed has left */

static void end_removal(struct bulk *b)
{
	b->removed(b->arg, b->failed < b->n ? &b->why : NULL);
	free(b);
}

static void on_removed(void *arg, const struct err *e)
{
	struct item *item = arg;
	struct bulk *b = item->bulk;

	if (e)
		fail(b, (size_t)(item - b->items), e);
	b->waiting--;
	pump(b);
}

static void remove_one(struct item *item)
{
	port_withdraw(item->port, on_removed, item);
}

/* 0, or -ENOENT when one of them is not there: then none is touched. */
static int find_all(struct bulk *b, long long first, struct err *e)
{
	for (size_t i = 0; i < b->n; i++) {
		b->items[i].port = port_find(b->ports, first + (long long)i, e);
		if (!b->items[i].port)
			return e->code;
	}
	return 0;
}

void bulk_remove(struct ports *p, long long first, long long last, port_done_fn *done, void *arg)
{
	struct bulk *b;
	struct err e;

	if (first > last || last - first >= LIMIT_PORTS) {
		err_set(&e, -EINVAL, "no range of ids: %lld-%lld", first, last);
		done(arg, &e);
		return;
	}
	b = bulk_new(p, (size_t)(last - first) + 1, arg);
	if (!b) {
		err_set(&e, -ENOMEM, "out of memory");
		done(arg, &e);
		return;
	}
	if (find_all(b, first, &e) < 0) {
		free(b);
		done(arg, &e);
		return;
	}
	b->removed = done;
	b->step = remove_one;
	b->finish = end_removal;
	pump(b);
}

/* Adding */

/* RootlessKit numbers only the ports that came to be. */
static void end_undoing(struct bulk *b)
{
	if (!b->stayed && b->ports->last_id == b->first_id + (int)b->n - 1)
		b->ports->last_id = b->first_id - 1;
	b->added(b->arg, 0, &b->why);
	free(b);
}

static void on_undone(void *arg, const struct err *e)
{
	struct item *item = arg;
	struct bulk *b = item->bulk;

	if (e) {
		item->port->hidden = false; /* it stays, and shows in the list */
		b->stayed = true;
	}
	b->waiting--;
	pump(b);
}

/* Takes back what the driver has, and forgets what it was not asked for. */
static void undo_one(struct item *item)
{
	if (item->port && item->asked) {
		port_withdraw(item->port, on_undone, item);
		return;
	}
	if (item->port)
		port_forget(item->port);
	item->bulk->waiting--;
}

static void end_adding(struct bulk *b)
{
	bool failed = b->failed < b->n;

	if (failed && !b->ports->closing) {
		b->next = 0;
		b->step = undo_one;
		b->finish = end_undoing;
		pump(b);
		return;
	}
	for (size_t i = 0; i < b->n && !failed; i++)
		b->items[i].port->hidden = false;
	b->added(b->arg, failed ? 0 : b->first_id, failed ? &b->why : NULL);
	free(b);
}

static void on_added(void *arg, int id, const struct err *e)
{
	struct item *item = arg;
	struct bulk *b = item->bulk;

	(void)id;
	if (e) {
		item->port = NULL;
		fail(b, (size_t)(item - b->items), e);
	}
	b->waiting--;
	pump(b);
}

static void add_one(struct item *item)
{
	item->asked = true;
	port_ask(item->port, on_added, item);
}

static int check_all(struct ports *p, const struct port_spec *spec, struct err *e)
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

/* Puts all of them into the table, which keeps others from their addresses. */
static int make_all(struct bulk *b, const struct port_spec *spec)
{
	for (size_t i = 0; i < b->n; i++) {
		struct port_spec one = portspec_at(spec, i);
		struct port *port = port_new(b->ports, &one);

		if (!port)
			return -ENOMEM;
		port->hidden = true;
		b->items[i].port = port;
		port->entry.range = b->items[0].port->entry.id;
	}
	b->first_id = b->items[0].port->entry.id;
	return 0;
}

void bulk_add(struct ports *p, const struct port_spec *spec, ports_added_fn *done, void *arg)
{
	size_t n = portspec_count(spec);
	struct bulk *b;
	struct err e;

	if (check_all(p, spec, &e) < 0) {
		done(arg, 0, &e);
		return;
	}
	b = bulk_new(p, n, arg);
	if (!b || make_all(b, spec) < 0) {
		for (size_t i = 0; b && i < n && b->items[i].port; i++)
			port_forget(b->items[i].port);
		free(b);
		err_set(&e, -ENOMEM, "out of memory");
		done(arg, 0, &e);
		return;
	}
	b->added = done;
	b->step = add_one;
	b->finish = end_adding;
	pump(b);
}
