/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --net=none: a network namespace with only the loopback interface, which the child brings up
 * anyway. There is no helper process. Packets do not leave the namespace; the builtin port driver
 * still reaches it, because its sockets are made inside.
 */
#include <stdio.h>
#include <string.h>

#include "drivers/registry_internal.h"

static int none_start(const struct net_params *params, const struct net_target *target,
		      struct net_driver **out, struct net_result *result, struct err *e)
{
	(void)params;
	(void)target;
	(void)e;
	*out = NULL;
	memset(result, 0, sizeof(*result));
	snprintf(result->driver, sizeof(result->driver), "none");
	return 0;
}

static int none_watch(struct net_driver *drv, struct loop *loop, net_died_fn *died, void *arg)
{
	(void)drv;
	(void)loop;
	(void)died;
	(void)arg;
	return 0;
}

static void none_stop(struct net_driver *drv)
{
	(void)drv;
}

const struct net_driver_ops net_none_ops = {
	.name = "none",
	.start = none_start,
	.watch = none_watch,
	.stop = none_stop,
};
