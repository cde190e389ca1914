/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/limits.h"
#include "base/log.h"
#include "dataplane/dataplane.h"
#include "drivers/driver.h"
#include "drivers/port/builtin_stats.h"
#include "drivers/registry_internal.h"
#include "ports/address.h"

/*
 * The port driver "builtin": ports by way of the data plane. Runs in the parent. This file turns
 * specs into addresses and errors into RootlessKit's words; the work is behind dataplane.h.
 */
struct port_driver {
	struct dataplane *dp;
	bool transparent;
};

static int backend_from_name(const char *name, enum dataplane_backend *out)
{
	static const struct {
		const char *name;
		enum dataplane_backend backend;
	} names[] = {{"auto", DATAPLANE_AUTO},
		     {"io_uring", DATAPLANE_URING},
		     {"epoll", DATAPLANE_EPOLL}};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(name, names[i].name) != 0)
			continue;
		*out = names[i].backend;
		return 0;
	}
	return -EINVAL;
}

static int builtin_start(const struct port_params *params, struct port_driver **out, struct err *e)
{
	struct dataplane_config config = {
		.userns_fd = params->userns_fd,
		.netns_fd = params->netns_fd,
		.workers = params->workers > 0 ? (unsigned)params->workers : 0,
		.sandbox = params->dataplane_sandbox,
		.transparent = params->source_ip_transparent,
		.udp_timeout_ms = params->udp_timeout_ms > 0 ? (uint32_t)params->udp_timeout_ms : 0,
		.debug = params->debug,
		.outward = params->outward,
	};
	struct port_driver *drv;
	int code;

	if (backend_from_name(params->dataplane ? params->dataplane : "auto", &config.backend) < 0)
		return err_set(e, -EINVAL,
			       "unknown data plane: %.64s; available: auto, io_uring, epoll",
			       params->dataplane);
	drv = calloc(1, sizeof(*drv));
	if (!drv)
		return err_errno(e, -ENOMEM, "port driver builtin");
	code = dataplane_open(params->loop, &config, &drv->dp, e);
	if (code) {
		free(drv);
		return err_wrap(e, code, "port driver builtin");
	}
	drv->transparent = config.transparent;
	log_debug("builtin port driver: %s (%s), %u workers", dataplane_backend_name(drv->dp),
		  dataplane_backend_reason(drv->dp), dataplane_workers(drv->dp));
	*out = drv;
	return 0;
}

/* Why there is no port, in RootlessKit's words. */
static void explain(const struct port_order *order, const struct port_outcome *outcome,
		    struct err *e)
{
	if (outcome->by == PORT_BY_DATA_PLANE)
		err_set(e, outcome->err, "the data plane fails again and again: see the log");
	else if (outcome->by == PORT_BY_BROKER)
		port_address_inside_error(order->spec, outcome->err, e);
	else
		port_address_error(
			order->spec, outcome->err,
			outcome->by == PORT_BY_PARENT ? port_address_unprivileged_start() : -1, e);
}

static void on_added(void *arg, const struct port_outcome *outcome)
{
	struct port_order *order = arg;
	struct err e = {.code = 0};

	if (outcome->err)
		explain(order, outcome, &e);
	order->settled(order, outcome->err ? &e : NULL);
}

static void on_removed(void *arg, const struct port_outcome *outcome)
{
	struct port_order *order = arg;
	struct err e = {.code = 0};

	if (outcome->err)
		err_errno(&e, outcome->err, "port %d could not be removed", order->id);
	order->settled(order, outcome->err ? &e : NULL);
}

/* A socket that comes from the namespace is told from others by its cookie alone. */
static int check_inside(const struct port_driver *drv, const struct port_spec *spec, struct err *e)
{
	if (!spec->child_listen_ip[0] || dataplane_netns_cookie(drv->dp))
		return 0;
	return err_set(e, -EOPNOTSUPP, "childListenIP needs Linux 5.14 or newer (SO_NETNS_COOKIE)");
}

static void builtin_add(struct port_order *order)
{
	struct dataplane *dp = order->drv->dp;
	struct port_route port = {.id = order->id};
	struct port_outcome outcome;
	struct err e = {.code = 0};

	if (check_inside(order->drv, order->spec, &e) < 0 ||
	    port_address_resolve(order->spec, &port, &e) < 0) {
		order->settled(order, &e);
		return;
	}
	outcome = dataplane_port_add(dp, &port, on_added, order);
	if (outcome.err == -EAFNOSUPPORT && port_address_without_ipv6(&port))
		outcome = dataplane_port_add(dp, &port, on_added, order);
	if (outcome.err)
		on_added(order, &outcome);
}

static void builtin_remove(struct port_order *order)
{
	struct port_outcome outcome = {
		.err = dataplane_port_remove(order->drv->dp, order->id, on_removed, order)};

	if (outcome.err)
		on_removed(order, &outcome);
}

static void builtin_stop(struct port_driver *drv)
{
	if (!drv)
		return;
	dataplane_close(drv->dp);
	free(drv);
}

static int builtin_describe(const struct port_driver *drv, port_counter_fn *fn, void *arg)
{
	uint64_t cookie = dataplane_netns_cookie(drv->dp);
	struct port_counter facts[] = {
		{.name = "dataplane", .text = dataplane_backend_name(drv->dp)},
		{.name = "dataplaneReason", .text = dataplane_backend_reason(drv->dp)},
		{.name = "workers", .value = dataplane_workers(drv->dp)},
		{.name = "netnsCookie", .value = cookie},
	};
	size_t n = ARRAY_SIZE(facts) - (cookie == 0); /* the last tells that it is known */
	struct port_counter transparent = {
		.group = "extra", .name = "sourceIPTransparentBackend", .text = "nft"};
	int code = drv->transparent ? fn(arg, &transparent) : 0;

	for (size_t i = 0; i < n && !code; i++)
		code = fn(arg, &facts[i]);
	return code;
}

static int builtin_stats(const struct port_driver *drv, port_counter_fn *fn, void *arg,
			 struct err *e)
{
	int code = builtin_stats_list(drv->dp, fn, arg);

	return code ? err_errno(e, code, "statistics") : 0;
}

static const char *const builtin_protos[] = {"tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", NULL};

const struct port_driver_ops port_builtin_ops = {
	.name = "builtin",
	.protos = builtin_protos,
	.batch_max = LIMIT_PORT_BATCH,
	.takes_child_listen_ip = true,
	.start = builtin_start,
	.add = builtin_add,
	.remove = builtin_remove,
	.stop = builtin_stop,
	.describe = builtin_describe,
	.stats = builtin_stats,
};
