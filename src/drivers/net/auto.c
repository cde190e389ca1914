/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --net=auto: the first of the networks below that works here and goes with the port driver. The
 * log says which one, and why not those before it.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/log.h"
#include "drivers/registry_internal.h"

struct net_driver {
	const struct net_driver_ops *ops;
	struct net_driver *inner;
};

/* The best comes first. */
static const struct net_driver_ops *const candidates[] = {&net_builtin_ops, &net_pasta_ops,
							  &net_slirp4netns_ops};

#define COUNT (ARRAY_SIZE(candidates))

/* Whether the driver can do what the user asks for. */
static bool suits(const struct net_driver_ops *ops, const struct net_params *params,
		  struct err *why)
{
	if (driver_check_combination(ops->name, params->port_driver, why))
		return false;
	if (ops == &net_builtin_ops || (!params->n_egress && !params->outbound_addr))
		return true;
	err_set(why, -EINVAL, "it has no --egress-deny, --egress-allow and --outbound-addr");
	return false;
}

/* Only a network that is there has been tried, so this waits for its set-up. */
static int start_whole(struct net_driver *drv, const struct net_params *params,
		       const struct net_target *target, struct net_result *result, struct err *e)
{
	int code = drv->ops->start(params, target, &drv->inner, result, e);

	if (!code && drv->ops->finish)
		code = drv->ops->finish(drv->inner, e);
	if (code && drv->inner)
		drv->ops->stop(drv->inner);
	drv->inner = code ? NULL : drv->inner;
	return code;
}

static int auto_start(const struct net_params *params, const struct net_target *target,
		      struct net_driver **out, struct net_result *result, struct err *e)
{
	struct net_driver *drv = calloc(1, sizeof(*drv));
	int code = -ENOENT;

	if (!drv)
		return err_errno(e, -ENOMEM, "network driver auto");
	for (size_t i = 0; i < COUNT; i++) {
		struct err why = {.code = 0};

		drv->ops = candidates[i];
		if (suits(drv->ops, params, &why))
			code = start_whole(drv, params, target, result, &why);
		else
			code = why.code;
		if (!code) {
			log_info("--net=auto: %s", drv->ops->name);
			*out = drv;
			return 0;
		}
		log_info("--net=auto: not %s: %s", drv->ops->name, why.msg);
		if (code == -ECANCELED)
			break;
	}
	free(drv);
	return err_set(e, code, "neither builtin nor pasta nor slirp4netns works here: see above");
}

static int auto_watch(struct net_driver *drv, struct loop *loop, net_died_fn *died, void *arg)
{
	return drv->ops->watch(drv->inner, loop, died, arg);
}

static struct dataplane_outward *auto_outward(struct net_driver *drv)
{
	return drv->ops->outward ? drv->ops->outward(drv->inner) : NULL;
}

static struct listening_source *auto_listening(struct net_driver *drv)
{
	return drv->ops->listening ? drv->ops->listening(drv->inner) : NULL;
}

static int auto_describe(const struct net_driver *drv, port_counter_fn *fn, void *arg)
{
	return drv->ops->describe ? drv->ops->describe(drv->inner, fn, arg) : 0;
}

static void auto_stop(struct net_driver *drv)
{
	drv->ops->stop(drv->inner);
	free(drv);
}

const struct net_driver_ops net_auto_ops = {
	.name = "auto",
	.takes_cidr = true,
	.takes_ipv6 = true,
	.takes_egress = true,
	.start = auto_start,
	.watch = auto_watch,
	.outward = auto_outward,
	.listening = auto_listening,
	.describe = auto_describe,
	.stop = auto_stop,
};
