/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "api/api_internal.h"
#include "api/codec.h"

/*
 * POST /v1/ports, POST /v1/ports/batch and DELETE /v1/ports/ID. The table of ports does the work
 * (ports/table.h); the request waits for it, and stays until then even when its client goes away.
 *
 * A batch is for `rootlessctl add-ports` with thousands of ports. Its result is that of the same
 * number of requests, sent one after the other until one fails.
 */

static int last_id(const struct port *port, const struct port_spec *asked)
{
	return port->id + (int)portspec_count(asked) - 1;
}

/* Reports the port as an event, and returns what the answer says of it. */
static json_t *announce(struct request *r, const struct port *port)
{
	struct port_spec asked = ports_asked(r->api->info.ports, port);

	events_port(r->api, "portAdded", client_of(r->api, r->conn), port->id,
		    last_id(port, &asked), &asked);
	return codec_port_encode(port->id, &asked);
}

/* POST /v1/ports */

static void on_published(void *arg, const struct port *const *ports, size_t n, const struct err *e)
{
	struct request *r = arg;

	if (!request_settled(r))
		return;
	if (e) {
		routes_fail(r, MHD_HTTP_BAD_REQUEST, "%s", e->msg);
	} else if (n && r->lease && lease_take(r, ports[0]->id) < 0) {
		lease_remove_port(r->api, ports[0]->id);
		routes_out_of_memory(r);
	} else {
		routes_answer(r, MHD_HTTP_CREATED, announce(r, ports[0]));
	}
}

/* Reads the spec in the request's body. 0 or -errno. */
static int read_spec(struct request *r, struct port_spec *spec, struct err *e)
{
	const char *body = r->body ? r->body : "";
	int code = codec_spec_decode(body, r->body_len, spec, e);

	code = code ? code : codec_lease_decode(body, r->body_len, e);
	r->lease = code > 0;
	if (r->lease && spec->count > 1)
		return err_set(e, -EINVAL, "a range cannot have a lease: ask for single ports");
	return code > 0 ? lease_check(r, e) : code;
}

void publish_port(struct request *r, const char *rest)
{
	struct err e = {.code = 0};
	struct port_spec spec;

	(void)rest;
	if (read_spec(r, &spec, &e) < 0) {
		routes_fail(r, MHD_HTTP_BAD_REQUEST, "%s", e.msg);
		return;
	}
	r->ordered = true;
	ports_add(r->api->info.ports, &spec, 1, on_published, r);
}

/* POST /v1/ports/batch */

static void on_batch_published(void *arg, const struct port *const *ports, size_t n,
			       const struct err *e)
{
	struct request *r = arg;
	json_t *list, *why;

	if (!request_settled(r))
		return;
	list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, announce(r, ports[i]));
	if (!e) {
		routes_answer(r, MHD_HTTP_CREATED, list);
		return;
	}
	why = codec_message_encode(e->msg);
	json_object_set_new(why, "ports", list);
	routes_answer(r, MHD_HTTP_BAD_REQUEST, why);
}

void publish_batch(struct request *r, const char *rest)
{
	struct ports *ports = r->api->info.ports;
	unsigned max = ports_driver(ports)->batch_max;
	struct port_spec *specs = NULL;
	struct err e = {.code = 0};
	size_t n = 0;

	(void)rest;
	if (codec_specs_decode(r->body ? r->body : "", r->body_len, max ? max : 1, &specs, &n, &e) <
	    0) {
		routes_fail(r, MHD_HTTP_BAD_REQUEST, "%s", e.msg);
		return;
	}
	r->ordered = true;
	ports_add(ports, specs, n, on_batch_published, r);
	free(specs);
}

/* DELETE /v1/ports/ID */

static void on_removed(void *arg, const struct err *e)
{
	struct request *r = arg;

	if (!request_settled(r))
		return;
	if (e) {
		routes_fail(r, MHD_HTTP_BAD_REQUEST, "%s", e->msg);
		return;
	}
	for (long long id = r->port; id <= r->last_port; id++)
		lease_forget(r->api, id);
	events_port(r->api, "portRemoved", client_of(r->api, r->conn), (int)r->port,
		    (int)r->last_port, NULL);
	request_answer(r, MHD_HTTP_OK, NULL, NULL);
}

void publish_remove(struct request *r, const char *ids)
{
	struct err e = {.code = 0};

	if (codec_ids_decode(ids, &r->port, &r->last_port, &e) < 0) {
		routes_fail(r, MHD_HTTP_BAD_REQUEST, "%s", e.msg);
		return;
	}
	r->ordered = true;
	ports_remove(r->api->info.ports, r->port, r->last_port, on_removed, r);
}
