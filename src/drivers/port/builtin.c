/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
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
 * The port driver "builtin": the data plane carries the ports. Runs in the parent. This file turns
 * specs into addresses; the work is done behind dataplane.h.
 */
struct port_driver {
	struct dataplane *dp;
	bool transparent;
	char child_ip[INET6_ADDRSTRLEN]; /* for ports without an address; "": loopback */
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
		.await_outward = params->await_outward,
		.await_arg = params->await_arg,
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

/* Refuses childListenIP where network namespaces have no cookie: only by it a socket made in the
 * namespace can be told from others. */
static int check_inside(const struct port_driver *drv, const struct port_spec *spec, struct err *e)
{
	if (!spec->child_listen_ip[0] || dataplane_netns_cookie(drv->dp))
		return 0;
	return err_set(e, -EOPNOTSUPP, "childListenIP needs Linux 5.14 or newer (SO_NETNS_COOKIE)");
}

static void builtin_add(struct port *port)
{
	struct port_route route = {.proto = PORT_TCP};
	struct port_spec spec = port->spec;
	struct err e = {.code = 0};

	if (!spec.child_ip[0])
		snprintf(spec.child_ip, sizeof(spec.child_ip), "%s", port->drv->child_ip);
	if (check_inside(port->drv, &spec, &e) < 0 || port_address_resolve(&spec, &route, &e) < 0)
		port->settled(port, PORT_BY_PARENT, &e);
	else
		dataplane_port_add(port->drv->dp, port, &route);
}

static int gvisor_start(const struct port_params *params, struct port_driver **out, struct err *e)
{
	int code = builtin_start(params, out, e);

	if (!code)
		snprintf((*out)->child_ip, sizeof((*out)->child_ip), "%s", params->child_ip);
	return code;
}

static void builtin_remove(struct port *port)
{
	dataplane_port_remove(port->drv->dp, port);
}

static void builtin_stop(struct port_driver *drv)
{
	if (!drv)
		return;
	dataplane_close(drv->dp);
	free(drv);
}

struct reload {
	port_reloaded_fn *done;
	void *arg;
};

static void on_reloaded(void *arg, const struct dataplane_reloaded *result, const struct err *e)
{
	struct reload *r = arg;
	struct port_reload out = {.flows = 0};

	if (result)
		out = (struct port_reload){.flows = result->flows,
					   .pause_us = result->pause_us,
					   .program = result->program};
	r->done(r->arg, result ? &out : NULL, e);
	free(r);
}

static int builtin_reload(struct port_driver *drv, port_reloaded_fn *done, void *arg, struct err *e)
{
	struct reload *r = calloc(1, sizeof(*r));
	int code;

	if (!r)
		return err_errno(e, -ENOMEM, "reload");
	*r = (struct reload){.done = done, .arg = arg};
	code = dataplane_reload(drv->dp, on_reloaded, r, e);
	if (code)
		free(r);
	return code;
}

static int builtin_describe(const struct port_driver *drv, port_counter_fn *fn, void *arg)
{
	uint64_t cookie = dataplane_netns_cookie(drv->dp);
	struct port_counter facts[] = {
		{.name = "dataplane", .text = dataplane_backend_name(drv->dp)},
		{.name = "dataplaneReason", .text = dataplane_backend_reason(drv->dp)},
		{.name = "workers", .value = dataplane_workers(drv->dp)},
		{.name = "dataplaneVersion", .text = dataplane_program(drv->dp)},
		{.name = "netnsCookie", .value = cookie},
	};
	size_t n = ARRAY_SIZE(facts) - (cookie == 0); /* the last fact is that the cookie is
						       * known */
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
	.carries_outward = true,
	.port_size = sizeof(struct dp_port),
	.start = builtin_start,
	.add = builtin_add,
	.remove = builtin_remove,
	.stop = builtin_stop,
	.reload = builtin_reload,
	.describe = builtin_describe,
	.stats = builtin_stats,
};

/* Protocols of RootlessKit's port driver of that name, for clients that know it. */
static const char *const gvisor_protos[] = {"tcp", "tcp4", "udp", "udp4", NULL};

const struct port_driver_ops port_gvisor_ops = {
	.name = "gvisor-tap-vsock",
	.protos = gvisor_protos,
	.batch_max = LIMIT_PORT_BATCH,
	.takes_child_listen_ip = true,
	.carries_outward = true,
	.port_size = sizeof(struct dp_port),
	.disallow_loopback_child_ip = true,
	.start = gvisor_start,
	.add = builtin_add,
	.remove = builtin_remove,
	.stop = builtin_stop,
	.describe = builtin_describe,
	.stats = builtin_stats,
};
