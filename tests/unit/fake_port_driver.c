/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_port_driver.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static void answer(struct port *port, long long parent_port)
{
	struct port_driver *drv = port->drv;
	bool fails = parent_port == 666 && (!drv->fail_only || drv->added <= drv->fail_only);
	struct err e;

	if (fails)
		err_set(&e, -EADDRINUSE, "listen tcp 127.0.0.1:666: bind: address already in use");
	port->settled(port, PORT_BY_PROGRAM, fails ? &e : NULL);
}

static void ask(struct port *port, long long parent_port)
{
	struct port_driver *drv = port->drv;

	if (drv->immediate) {
		answer(port, parent_port);
		return;
	}
	assert(drv->n_waiting < 64);
	drv->waiting[drv->n_waiting].port = port;
	drv->waiting[drv->n_waiting++].parent_port = parent_port;
}

static void fake_add(struct port *port)
{
	port->drv->added++;
	ask(port, port->spec.parent_port);
}

static void fake_remove(struct port *port)
{
	port->drv->removed++;
	ask(port, 0);
}

static const char *const protos[] = {"tcp", "udp", NULL};

const struct port_driver_ops fake_ops = {
	.name = "fake", .protos = protos, .batch_max = 4, .add = fake_add, .remove = fake_remove};

void fake_answer(struct port_driver *drv)
{
	struct port *port = drv->waiting[0].port;
	long long parent_port = drv->waiting[0].parent_port;

	assert(drv->n_waiting > 0);
	memmove(drv->waiting, drv->waiting + 1, --drv->n_waiting * sizeof(drv->waiting[0]));
	answer(port, parent_port);
}
