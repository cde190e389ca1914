/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

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
/* An add or a remove under way. */
struct request {
	struct port_driver *drv;
	port_done_fn *done;
	void *arg;
	int id;
	struct port_spec spec; /* add only */
	struct request *prev, *next;
};

struct port_driver {
	struct dataplane *dp;
	struct request *requests;
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
	log_debug("builtin port driver: %s, %u workers", dataplane_backend_name(drv->dp),
		  dataplane_workers(drv->dp));
	*out = drv;
	return 0;
}

static struct request *request_new(struct port_driver *drv, int id, const struct port_spec *spec,
				   port_done_fn *done, void *arg)
{
	struct request *req = calloc(1, sizeof(*req));

	if (!req)
		return NULL;
	*req = (struct request){.drv = drv, .done = done, .arg = arg, .id = id};
	if (spec)
		req->spec = *spec;
	DL_APPEND(drv->requests, req);
	return req;
}

static void request_free(struct request *req)
{
	DL_DELETE(req->drv->requests, req);
	free(req);
}

static void fail_no_memory(port_done_fn *done, void *arg)
{
	struct err e = {.code = 0};

	err_errno(&e, -ENOMEM, "port driver builtin");
	done(arg, &e);
}

/* Frees the request and answers it. */
static void request_finish(struct request *req, const struct err *e)
{
	port_done_fn *done = req->done;
	void *arg = req->arg;

	request_free(req);
	done(arg, e);
}

static void on_added(void *arg, int code)
{
	struct request *req = arg;
	struct err e = {.code = 0};

	if (code == -ECONNRESET)
		err_set(&e, code, "the data plane fails again and again: see the log");
	else if (code && dataplane_failed_inside(req->drv->dp))
		port_address_inside_error(&req->spec, code, &e);
	else if (code)
		port_address_error(&req->spec, code, -1, &e);
	request_finish(req, code ? &e : NULL);
}

static void on_removed(void *arg, int code)
{
	struct request *req = arg;
	struct err e = {.code = 0};

	if (code)
		err_errno(&e, code, "port %d could not be removed", req->id);
	request_finish(req, code ? &e : NULL);
}

/* 0 or -errno with *e in RootlessKit's words; then on_added is not called. */
static int bind_and_hand_over(struct port_driver *drv, struct request *req, struct err *e)
{
	struct port_route port = {.id = req->id};
	int code = port_address_resolve(&req->spec, &port, e);

	if (code)
		return code;
	code = dataplane_port_add(drv->dp, &port, on_added, req);
	if (code == -EAFNOSUPPORT && port_address_without_ipv6(&port))
		code = dataplane_port_add(drv->dp, &port, on_added, req);
	if (code == -ECONNRESET)
		return err_set(e, code, "the data plane fails again and again: see the log");
	return code ? port_address_error(&req->spec, code, port_address_unprivileged_start(), e)
		    : 0;
}

static void builtin_add(struct port_driver *drv, int id, const struct port_spec *spec,
			port_done_fn *done, void *arg)
{
	struct request *req = request_new(drv, id, spec, done, arg);
	struct err e = {.code = 0};

	if (!req)
		fail_no_memory(done, arg);
	else if (bind_and_hand_over(drv, req, &e) < 0)
		request_finish(req, &e);
}

static void builtin_remove(struct port_driver *drv, int id, port_done_fn *done, void *arg)
{
	struct request *req = request_new(drv, id, NULL, done, arg);
	int code;

	if (!req) {
		fail_no_memory(done, arg);
		return;
	}
	code = dataplane_port_remove(drv->dp, id, on_removed, req);
	if (code < 0)
		on_removed(req, code);
}

static void builtin_stop(struct port_driver *drv)
{
	if (!drv)
		return;
	dataplane_close(drv->dp);
	while (drv->requests)
		request_free(drv->requests);
	free(drv);
}

static int builtin_describe(const struct port_driver *drv, port_counter_fn *fn, void *arg)
{
	struct port_counter facts[] = {
		{.name = "dataplane", .text = dataplane_backend_name(drv->dp)},
		{.name = "workers", .value = dataplane_workers(drv->dp)},
		{.name = "netnsCookie", .value = dataplane_netns_cookie(drv->dp)},
	};
	struct port_counter transparent = {
		.group = "extra", .name = "sourceIPTransparentBackend", .text = "nft"};
	int code = drv->transparent ? fn(arg, &transparent) : 0;

	for (size_t i = 0; i < ARRAY_SIZE(facts) && !code; i++)
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
