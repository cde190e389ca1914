/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port driver "slirp4netns" (deprecated): the process that carries the network's packets also
 * forwards ports, which it is asked for over its API socket. Runs in the parent.
 *
 * A request without an answer may have been carried out, or may be later. Before anything else is
 * requested, our table and that of slirp4netns are compared: what it forwards without a port of
 * ours is removed, and what it has lost is added again.
 */
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/hash.h"
#include "base/log.h"
#include "drivers/driver.h"
#include "drivers/port/bind_probe.h"
#include "drivers/port/slirp4netns_api.h"
#include "drivers/registry_internal.h"
#include "ports/address.h"

#define RECONCILE_RETRY_MS 2000

/* The driver's part of a port. */
struct forward {
	struct port_driver *drv;
	struct port *port;
	long long slirp_id; /* 0 until it is forwarded */
	bool seen;	    /* it is in slirp4netns's list */
	bool asked;	    /* an add or a remove is under way */
	UT_hash_handle by_slirp_id;
	struct forward *prev, *next; /* the driver's other forwards */
};

struct port_driver {
	struct loop *loop;
	struct slirp4netns_api *api;
	char child_ip[INET6_ADDRSTRLEN];
	bool no_udp_replies, warned_udp;
	struct forward *forwards, *by_slirp_id;
	bool unsure, listing;
	struct loop_source *retry;
};

static void reconcile(struct port_driver *drv);

static int slirp_start(const struct port_params *params, struct port_driver **out, struct err *e)
{
	struct port_driver *drv = calloc(1, sizeof(*drv));
	int code = drv ? slirp4netns_api_open(params->loop, params->helper_socket, &drv->api)
		       : -ENOMEM;

	if (code) {
		free(drv);
		return err_errno(e, code, "port driver slirp4netns");
	}
	drv->loop = params->loop;
	drv->no_udp_replies = params->disable_host_loopback;
	snprintf(drv->child_ip, sizeof(drv->child_ip), "%s", params->child_ip);
	*out = drv;
	return 0;
}

/* Sets slirp4netns's number of a forward. slirp_id: 0 for none. */
static void set_slirp_id(struct forward *f, long long slirp_id)
{
	if (f->slirp_id && hash_has(&f->by_slirp_id))
		HASH_DELETE(by_slirp_id, f->drv->by_slirp_id, f);
	f->slirp_id = slirp_id;
	if (slirp_id)
		HASH_ADD(by_slirp_id, f->drv->by_slirp_id, slirp_id, sizeof(f->slirp_id), f);
}

static void forward_end(struct forward *f)
{
	set_slirp_id(f, 0);
	DL_DELETE(f->drv->forwards, f);
}

/* slirp4netns's word for the protocol. sctp is passed on unchanged, and slirp4netns refuses it. */
static const char *slirp_proto(const char *proto)
{
	if (!strcmp(proto, "tcp") || !strcmp(proto, "tcp4"))
		return "tcp";
	if (!strcmp(proto, "udp") || !strcmp(proto, "udp4"))
		return "udp";
	return strcmp(proto, "sctp") ? NULL : "sctp";
}

static bool is_udp(const struct port_spec *spec)
{
	return !strncmp(spec->proto, "udp", 3);
}

/* Makes the request to add a forward: a malloc'd text, or NULL. */
static char *add_text(const struct forward *f)
{
	const struct port_spec *spec = &f->port->spec;
	char host[INET_ADDRSTRLEN], guest[INET_ADDRSTRLEN];
	json_t *args = json_pack("{ss, sI, ss, sI}", "proto", slirp_proto(spec->proto), "host_port",
				 (json_int_t)spec->parent_port, "guest_addr",
				 spec->child_ip[0] ? port_address_unmapped(spec->child_ip, guest)
						   : f->drv->child_ip,
				 "guest_port", (json_int_t)spec->child_port);
	json_t *root;
	char *text;

	if (args && spec->parent_ip[0])
		json_object_set_new(args, "host_addr",
				    json_string(port_address_unmapped(spec->parent_ip, host)));
	root = json_pack("{ss, so}", "execute", "add_hostfwd", "arguments", args);
	text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	json_decref(root);
	return text;
}

static char *remove_text(long long slirp_id)
{
	json_t *root = json_pack("{ss, s{sI}}", "execute", "remove_hostfwd", "arguments", "id",
				 (json_int_t)slirp_id);
	char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;

	json_decref(root);
	return text;
}

/* Whether slirp4netns may have done what it did not confirm. */
static bool is_unsure(const struct err *e)
{
	return e->code == -ETIMEDOUT || e->code == -EPROTO;
}

/* Explains a refusal as far as possible: slirp4netns only names the wrong argument. */
static void explain(const struct port_spec *spec, const char *refused, struct err *e)
{
	struct port_spec as_ipv4 = *spec;
	struct port_route route = {.proto = PORT_TCP};
	const char *what = NULL;
	struct err bind_error = {.code = 0};

	if (strstr(refused, "arguments.proto"))
		what = "it forwards tcp, tcp4, udp and udp4";
	else if (strstr(refused, "arguments.host_addr"))
		what = "it listens on IPv4 addresses only";
	else if (strstr(refused, "arguments.guest_addr"))
		what = "the child IP must be an IPv4 address";
	snprintf(as_ipv4.proto, sizeof(as_ipv4.proto), "%s4", slirp_proto(spec->proto));
	if (!what && bind_probe(&as_ipv4, &route, &bind_error) < 0)
		what = bind_error.msg;
	err_set(e, -EREMOTEIO, "reply.Error: map[desc:%s]%s%s", refused, what ? ": " : "",
		what ? what : "");
}

static void warn_about(struct port_driver *drv, const struct port_spec *spec)
{
	char ip[INET_ADDRSTRLEN];

	if (!strncmp(port_address_unmapped(spec->child_ip, ip), "127.", 4))
		log_warning("--port-driver=slirp4netns does not reach loopback addresses of the "
			    "namespace: leave the child IP %s out, or say %s",
			    spec->child_ip, drv->child_ip);
	if (!is_udp(spec) || !drv->no_udp_replies || drv->warned_udp)
		return;
	drv->warned_udp = true;
	log_warning("--port-driver=slirp4netns with --disable-host-loopback: UDP clients on this "
		    "host get no replies; --port-driver=builtin has no such limit");
}

/* Answers the forward's add or remove and, unless keep, ends the forward. */
static void settle(struct forward *f, bool keep, const struct err *e)
{
	struct port_driver *drv = f->drv;

	f->asked = false;
	if (!keep)
		forward_end(f);
	if (e && is_unsure(e)) {
		drv->unsure = true;
		reconcile(drv);
	}
	f->port->settled(f->port, PORT_BY_PROGRAM, e);
}

static void on_added(void *arg, const struct slirp4netns_answer *answer, const struct err *e)
{
	struct forward *f = arg;
	struct err refused = {.code = 0};

	if (!e && answer->refused[0]) {
		explain(&f->port->spec, answer->refused, &refused);
		e = &refused;
	}
	if (!e) {
		set_slirp_id(f, answer->id);
		warn_about(f->drv, &f->port->spec);
	}
	settle(f, !e, e);
}

static void fail(struct port *port, int code)
{
	struct err e = {.code = 0};

	err_errno(&e, code, "port driver slirp4netns");
	port->settled(port, PORT_BY_PARENT, &e);
}

static void slirp_add(struct port *port)
{
	struct forward *f = (struct forward *)port->own;
	struct port_driver *drv = port->drv;
	struct err e = {.code = 0};
	char quoted[300];
	int code;

	if (!slirp_proto(port->spec.proto)) {
		err_set(&e, -EPROTONOSUPPORT, "unsupported protocol %s",
			quote_go(port->spec.proto, quoted, sizeof(quoted)));
		port->settled(port, PORT_BY_PARENT, &e);
		return;
	}
	reconcile(drv);
	*f = (struct forward){.drv = drv, .port = port, .asked = true};
	DL_APPEND(drv->forwards, f);
	code = slirp4netns_api_call(drv->api, SLIRP4NETNS_ADD, add_text(f), false, on_added, f);
	if (code) {
		forward_end(f);
		fail(port, code);
	}
}

/* A forward that slirp4netns does not have, or whose slirp4netns is gone, counts as removed. */
static void on_removed(void *arg, const struct slirp4netns_answer *answer, const struct err *e)
{
	struct forward *f = arg;
	struct err refused = {.code = 0};

	if (e && e->code == -ECONNREFUSED)
		e = NULL;
	else if (!e && answer->refused[0] && !strstr(answer->refused, "arguments.id")) {
		err_set(&refused, -EREMOTEIO, "reply.Error: map[desc:%s]", answer->refused);
		e = &refused;
	}
	settle(f, e != NULL, e);
}

static void slirp_remove(struct port *port)
{
	struct forward *f = (struct forward *)port->own;
	struct port_driver *drv = port->drv;
	int code;

	reconcile(drv);
	f->asked = true;
	code = slirp4netns_api_call(drv->api, SLIRP4NETNS_REMOVE, remove_text(f->slirp_id), false,
				    on_removed, f);
	if (code) {
		f->asked = false;
		fail(port, code);
	}
}

/* The rest of this file makes the two tables agree again. */

static void on_retry(void *arg, uint32_t events)
{
	struct port_driver *drv = arg;

	(void)events;
	drv->retry = NULL;
	reconcile(drv);
}

static void retry_later(struct port_driver *drv)
{
	if (!drv->retry)
		drv->retry = loop_add_timer(drv->loop, RECONCILE_RETRY_MS, on_retry, drv);
}

static void on_stray_removed(void *arg, const struct slirp4netns_answer *answer,
			     const struct err *e)
{
	struct port_driver *drv = arg;

	(void)answer;
	if (!e || e->code == -ECONNREFUSED)
		return;
	drv->unsure = true;
	retry_later(drv);
}

static void remove_stray(struct port_driver *drv, long long slirp_id)
{
	log_debug("port/slirp4netns: removing its forward %lld, which nobody waits for any more",
		  slirp_id);
	if (slirp4netns_api_call(drv->api, SLIRP4NETNS_REMOVE, remove_text(slirp_id), true,
				 on_stray_removed, drv) < 0)
		drv->unsure = true;
}

/* Requests are carried out in order, so this forward was not removed before. A removal that waits
 * has the old number, so the tables are compared again. */
static void on_added_again(void *arg, const struct slirp4netns_answer *answer, const struct err *e)
{
	struct forward *f = arg;

	if (answer && !answer->refused[0])
		set_slirp_id(f, answer->id);
	else
		log_error("port %d: slirp4netns has lost it: %s", f->port->id,
			  e ? e->msg : answer->refused);
	if (f->asked || (e && e->code != -ECONNREFUSED)) {
		f->drv->unsure = true;
		retry_later(f->drv);
	}
}

static void add_again(struct forward *f)
{
	if (slirp4netns_api_call(f->drv->api, SLIRP4NETNS_ADD, add_text(f), true, on_added_again,
				 f) < 0)
		f->drv->unsure = true;
}

static void on_list(void *arg, const struct slirp4netns_answer *answer, const struct err *e)
{
	struct port_driver *drv = arg;
	struct forward *f;

	drv->listing = false;
	if (e && e->code == -ECONNREFUSED) { /* its forwards went with it */
		drv->unsure = false;
		return;
	}
	if (e || answer->refused[0]) {
		retry_later(drv);
		return;
	}
	drv->unsure = false;
	DL_FOREACH(drv->forwards, f)
	f->seen = false;
	for (size_t i = 0; i < answer->n_ids; i++) {
		HASH_FIND(by_slirp_id, drv->by_slirp_id, &answer->ids[i], sizeof(f->slirp_id), f);
		if (f)
			f->seen = true;
		else
			remove_stray(drv, answer->ids[i]);
	}
	/* A forward that is to be removed (asked is set) need not come back. */
	DL_FOREACH(drv->forwards, f)
	if (f->slirp_id && !f->seen && !f->asked)
		add_again(f);
	if (drv->unsure)
		retry_later(drv);
}

/* Compares the tables, unless they are known to agree. */
static void reconcile(struct port_driver *drv)
{
	if (!drv->unsure || drv->listing)
		return;
	loop_remove(drv->retry);
	drv->retry = NULL;
	drv->listing = true;
	if (slirp4netns_api_call(drv->api, SLIRP4NETNS_LIST,
				 strdup("{\"execute\":\"list_hostfwd\"}"), true, on_list,
				 drv) < 0) {
		drv->listing = false;
		retry_later(drv);
	}
}

static void slirp_stop(struct port_driver *drv)
{
	if (!drv)
		return;
	loop_remove(drv->retry);
	slirp4netns_api_close(drv->api);
	while (drv->forwards)
		forward_end(drv->forwards);
	free(drv);
}

static const char *const slirp_protos[] = {"tcp", "tcp4", "udp", "udp4", NULL};

const struct port_driver_ops port_slirp4netns_ops = {
	.name = "slirp4netns",
	.protos = slirp_protos,
	.port_size = sizeof(struct forward),
	.disallow_loopback_child_ip = true,
	.start = slirp_start,
	.add = slirp_add,
	.remove = slirp_remove,
	.stop = slirp_stop,
};
