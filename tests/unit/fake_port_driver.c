/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_port_driver.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* Why the request fails; 0 in e->code: it does not. */
static void judge(const struct port_driver *drv, const struct fake_request *r, struct err *e)
{
	const struct port_spec *spec = &r->port->spec;

	e->code = 0;
	if (r->adding && spec->parent_port == 666 &&
	    (!drv->fail_only || drv->added <= drv->fail_only))
		err_set(e, -EADDRINUSE, "listen tcp %s:666: bind: address already in use",
			spec->parent_ip);
	if (!r->adding && drv->fail_remove && spec->parent_port == drv->fail_remove)
		err_set(e, -EIO, "port %lld stays", spec->parent_port);
}

static void answer(const struct port_driver *drv, const struct fake_request *r)
{
	struct err e;

	judge(drv, r, &e);
	r->port->settled(r->port, PORT_BY_PROGRAM, e.code ? &e : NULL);
}

static void ask(struct port *port, bool adding)
{
	struct port_driver *drv = port->drv;
	struct fake_request r = {port, adding};

	if (drv->immediate) {
		answer(drv, &r);
		return;
	}
	assert(drv->n_waiting < 64);
	drv->waiting[drv->n_waiting++] = r;
}

static void fake_add(struct port *port)
{
	port->drv->added++;
	ask(port, true);
}

static void fake_remove(struct port *port)
{
	port->drv->removed++;
	ask(port, false);
}

static const char *const protos[] = {"tcp", "udp", NULL};

const struct port_driver_ops fake_ops = {
	.name = "fake", .protos = protos, .batch_max = 4, .add = fake_add, .remove = fake_remove};

void fake_answer(struct port_driver *drv)
{
	struct fake_request r = drv->waiting[0];

	assert(drv->n_waiting > 0);
	memmove(drv->waiting, drv->waiting + 1, --drv->n_waiting * sizeof(drv->waiting[0]));
	answer(drv, &r);
}

void fake_answer_last(struct port_driver *drv)
{
	struct fake_request r;

	assert(drv->n_waiting > 0);
	r = drv->waiting[--drv->n_waiting];
	answer(drv, &r);
}
