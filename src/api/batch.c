/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "api/api_internal.h"
#include "api/codec.h"

/*
 * POST /v1/ports/batch: many ports by one request, for `rootlessctl add-ports` with thousands of
 * them. It comes to what the same number of requests would, sent one after the other until one
 * fails; but the driver is asked for all of them before it has answered for the first. Where it
 * refuses one, those after it are taken back. A range is one of them: it is there as a whole or not
 * at all; since the driver has as much to answer for as it takes with one range, nothing is asked
 * beside it.
 */

struct item {
	struct batch *batch;
	struct port_spec spec;
	int id; /* 0: not published */
};

struct batch {
	struct pending pending;
	struct ports *ports;
	size_t n, next;
	size_t waiting; /* answers that are to come, and one for whoever asks */
	bool range;	/* one of them is for a range */
	bool pumping;
	size_t failed; /* the first one that was refused; n: none */
	struct err why;
	bool ending;
	struct item items[];
};

static struct batch *batch_new(struct request *r, const struct port_spec *specs, size_t n)
{
	struct batch *b = calloc(1, sizeof(*b) + n * sizeof(b->items[0]));

	if (!b)
		return NULL;
	b->pending.request = r;
	b->ports = r->api->info.ports;
	b->n = b->failed = n;
	for (size_t i = 0; i < n; i++)
		b->items[i] = (struct item){.batch = b, .spec = specs[i]};
	r->pending = &b->pending;
	return b;
}

static json_t *published(const struct batch *b)
{
	json_t *list = json_array();

	for (size_t i = 0; i < b->failed; i++)
		json_array_append_new(list, codec_port_encode(b->items[i].id, &b->items[i].spec));
	return list;
}

static void tell(const struct batch *b, struct request *r)
{
	for (size_t i = 0; i < b->failed; i++) {
		const struct item *item = &b->items[i];

		events_port(r->api, "portAdded", client_of(r->api, r->conn), item->id,
			    item->id + (int)portspec_count(&item->spec) - 1, &item->spec);
	}
}

static void finish(struct batch *b)
{
	struct request *r = b->pending.request;
	json_t *answer;

	if (r) {
		r->pending = NULL;
		tell(b, r);
		answer = published(b);
		if (b->failed < b->n) {
			json_t *why = codec_message_encode(b->why.msg);

			json_object_set_new(why, "ports", answer);
			answer = why;
		}
		routes_answer(r, b->failed < b->n ? MHD_HTTP_BAD_REQUEST : MHD_HTTP_CREATED,
			      answer);
	}
	free(b);
}

static void on_undone(void *arg, const struct err *e)
{
	struct batch *b = arg;

	(void)e; /* it stays, and shows in the list */
	if (--b->waiting == 0)
		finish(b);
}

/* Every port has been answered for. */
static void settle(struct batch *b)
{
	b->waiting = 1;
	for (size_t i = b->failed; i < b->n && !b->ending; i++) {
		if (b->items[i].id == 0)
			continue;
		b->waiting++;
		ports_remove_range(b->ports, b->items[i].id,
				   b->items[i].id + (int)portspec_count(&b->items[i].spec) - 1,
				   on_undone, b);
	}
	on_undone(b, NULL);
}

static void on_added(void *arg, int id, const struct err *e);

/* Whether the next may be asked for. */
static bool may_ask(const struct batch *b)
{
	if (b->next == b->n || b->failed < b->n)
		return false;
	return b->waiting == 1 || (!b->range && b->items[b->next].spec.count < 2);
}

static void pump(struct batch *b)
{
	if (b->pumping)
		return;
	b->pumping = true;
	b->waiting++;
	while (may_ask(b)) {
		struct item *item = &b->items[b->next++];

		b->range = item->spec.count > 1;
		b->waiting++;
		ports_add(b->ports, &item->spec, on_added, item);
	}
	b->pumping = false;
	if (--b->waiting == 0)
		settle(b);
}

static void on_added(void *arg, int id, const struct err *e)
{
	struct item *item = arg;
	struct batch *b = item->batch;
	size_t i = (size_t)(item - b->items);

	item->id = id;
	if (e && i < b->failed) {
		b->failed = i;
		b->why = *e;
		/* The table is being closed: there is nothing to take back any more. */
		b->ending |= e->code == -ECANCELED;
	}
	b->waiting--;
	pump(b);
}

void batch_add(struct request *r)
{
	struct ports *ports = r->api->info.ports;
	unsigned max = ports_driver(ports)->batch_max;
	struct port_spec *specs = NULL;
	struct err e = {.code = 0};
	struct batch *b;
	size_t n = 0;

	if (codec_specs_decode(r->body ? r->body : "", r->body_len, max ? max : 1, &specs, &n, &e) <
	    0) {
		routes_fail(r, MHD_HTTP_BAD_REQUEST, "%s", e.msg);
		return;
	}
	b = batch_new(r, specs, n);
	free(specs);
	if (!b) {
		routes_fail(r, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory");
		return;
	}
	pump(b);
}
