/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_port_driver.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static void answer(struct port_driver *drv, port_done_fn *done, void *arg, long long parent_port)
{
	bool fails = parent_port == 666 && (!drv->fail_only || drv->added <= drv->fail_only);
	struct err e;

	if (fails)
		err_set(&e, -EADDRINUSE, "listen tcp 127.0.0.1:666: bind: address already in use");
	done(arg, fails ? &e : NULL);
}

static void ask(struct port_driver *drv, long long parent_port, port_done_fn *done, void *arg)
{
	if (drv->immediate) {
		answer(drv, done, arg, parent_port);
		return;
	}
	assert(drv->n_waiting < 64);
	drv->waiting[drv->n_waiting].done = done;
	drv->waiting[drv->n_waiting].arg = arg;
	drv->waiting[drv->n_waiting++].parent_port = parent_port;
}

static void fake_add(struct port_driver *drv, int id, const struct port_spec *spec,
		     port_done_fn *done, void *arg)
{
	(void)id;
	drv->added++;
	ask(drv, spec->parent_port, done, arg);
}

static void fake_remove(struct port_driver *drv, int id, port_done_fn *done, void *arg)
{
	(void)id;
	drv->removed++;
	ask(drv, 0, done, arg);
}

static const char *const protos[] = {"tcp", "udp", NULL};

const struct port_driver_ops fake_ops = {
	.name = "fake", .protos = protos, .batch_max = 4, .add = fake_add, .remove = fake_remove};

void fake_answer(struct port_driver *drv)
{
	port_done_fn *done = drv->waiting[0].done;
	void *arg = drv->waiting[0].arg;
	long long parent_port = drv->waiting[0].parent_port;

	assert(drv->n_waiting > 0);
	memmove(drv->waiting, drv->waiting + 1, --drv->n_waiting * sizeof(drv->waiting[0]));
	answer(drv, done, arg, parent_port);
}
