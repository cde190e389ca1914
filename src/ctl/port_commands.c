/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/port_commands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/codec.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/text.h"
#include "ctl/answer.h"
#include "ctl/output.h"
#include "ports/spec.h"

/* From this number on, ports go many to a request, if the server has batches. */
#define BATCH_WORTH 16

/* The list */

struct list {
	struct answer_port *ports; /* n of them; free() */
	size_t n;
	size_t at; /* where the search starts: ports are mostly asked for in their order */
};

static int decode_list(const json_t *answer, struct list *out, struct err *e)
{
	size_t n = json_array_size(answer); /* null, for an empty list, counts as 0 */
	auto_free struct answer_port *ports = calloc(n + 1, sizeof(*ports));

	if (!ports)
		return err_errno(e, -ENOMEM, "ports");
	if (!json_is_array(answer) && !json_is_null(answer))
		return err_set(e, -EPROTO, "GET /v1/ports: the answer is not a list");
	for (size_t i = 0; i < n; i++) {
		int code = answer_decode_port(json_array_get(answer, i), &ports[i], e);

		if (code)
			return code;
	}
	out->ports = steal_ptr(ports);
	out->n = n;
	return 0;
}

static int ask_list(struct client *client, struct list *out, struct err *e)
{
	json_t *answer = NULL;
	int code = client_call(client, "GET", "/v1/ports", NULL, &answer, e);

	if (!code)
		code = decode_list(answer, out, e);
	json_decref(answer);
	return code;
}

/* Whether b is the port after the last one of a, of the same range. */
static bool goes_on(const struct answer_port *a, const struct answer_port *b)
{
	long long n = (long long)portspec_count(&a->spec);

	return a->range && a->range == b->range && b->id == a->id + n &&
	       b->spec.parent_port == a->spec.parent_port + n &&
	       b->spec.child_port == a->spec.child_port + n;
}

/* Merges entries that follow each other in a range into one. */
static void fold(struct list *list)
{
	size_t kept = 0;

	for (size_t i = 0; i < list->n; i++) {
		struct answer_port *last = kept ? &list->ports[kept - 1] : NULL;

		if (last && goes_on(last, &list->ports[i]))
			last->spec.count = (long long)portspec_count(&last->spec) + 1;
		else
			list->ports[kept++] = list->ports[i];
	}
	list->n = kept;
}

static int print_port_json(const struct answer_port *port, struct err *e)
{
	json_t *object = codec_port_encode(port->id, &port->spec);
	int code = output_json(object, e);

	json_decref(object);
	return code;
}

int port_commands_list(struct client *client, const struct ctl_args *args, struct err *e)
{
	struct list list = {.ports = NULL};
	int code = ask_list(client, &list, e);

	if (!code && !args_has(args, CTL_ALL))
		fold(&list);
	if (!code && !args_has(args, CTL_JSON))
		code = output_table(list.ports, list.n, e);
	else
		for (size_t i = 0; i < list.n && !code; i++)
			code = print_port_json(&list.ports[i], e);
	free(list.ports);
	return code;
}

/* Adding */

/* What the server can do and RootlessKit's cannot. */
struct abilities {
	size_t batch; /* specs in a request */
	bool ranges;
};

static int print_port(const struct answer_port *port, bool json, struct err *e)
{
	return json ? print_port_json(port, e)
		    : output_ids(port->id, (long long)portspec_count(&port->spec), e);
}

static int add_one(struct client *client, const struct port_spec *spec, struct answer_port *port,
		   struct err *e)
{
	json_t *body = codec_spec_encode(spec), *answer = NULL;
	int code;

	if (!body)
		return err_errno(e, -ENOMEM, "port spec");
	code = client_call(client, "POST", "/v1/ports", body, &answer, e);
	if (!code)
		code = answer_decode_port(answer, port, e);
	json_decref(answer);
	json_decref(body);
	return code;
}

static int remove_ids(struct client *client, long long first, long long count, struct err *e)
{
	char path[96];

	if (count > 1)
		snprintf(path, sizeof(path), "/v1/ports/%lld-%lld", first, first + count - 1);
	else
		snprintf(path, sizeof(path), "/v1/ports/%lld", first);
	return client_call(client, "DELETE", path, NULL, NULL, e);
}

/* Adds a range port by port, for a server that knows no ranges. When one fails, it removes those
 * before. */
static int add_unfolded(struct client *client, const struct port_spec *spec, bool json,
			struct err *e)
{
	size_t n = portspec_count(spec), added = 0;
	auto_free struct answer_port *ports = calloc(n, sizeof(*ports));
	struct err dropped;
	int code = 0;

	if (!ports)
		return err_errno(e, -ENOMEM, "ports");
	for (size_t i = 0; i < n && !code; i++) {
		struct port_spec one = portspec_at(spec, i);

		code = add_one(client, &one, &ports[i], e);
		if (!code)
			added++;
	}
	for (size_t i = 0; i < added && code; i++)
		remove_ids(client, ports[i].id, 1, &dropped);
	for (size_t i = 0; i < n && !code; i++)
		code = print_port(&ports[i], json, e);
	return code;
}

static int add_single(struct client *client, const struct port_spec *spec, bool json, struct err *e)
{
	struct answer_port port;
	int code = add_one(client, spec, &port, e);

	return code ? code : print_port(&port, json, e);
}

static json_t *encode_specs(const struct port_spec *specs, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++) {
		if (json_array_append_new(list, codec_spec_encode(&specs[i])) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static int print_added(const json_t *list, bool json, struct err *e)
{
	const json_t *item;
	struct answer_port port;
	int code = 0;
	size_t i;

	json_array_foreach(list, i, item)
	{
		code = answer_decode_port(item, &port, e);
		if (!code)
			code = print_port(&port, json, e);
		if (code)
			break;
	}
	return code;
}

/* Adds several specs in one request. When one fails, those before it are published, and are
 * printed. */
static int add_batch(struct client *client, const struct port_spec *specs, size_t n, bool json,
		     struct err *e)
{
	json_t *body = encode_specs(specs, n), *answer = NULL;
	int code;

	if (!body)
		return err_errno(e, -ENOMEM, "port specs");
	code = client_call(client, "POST", "/v1/ports/batch", body, &answer, e);
	json_decref(body);
	if (!code) {
		code = print_added(answer, json, e);
	} else if (code == -EREMOTEIO) {
		struct err dropped;

		answer = client_last_answer(client);
		print_added(json_object_get(answer, "ports"), json, &dropped);
	}
	json_decref(answer);
	return code;
}

/* Asks the server what it can do, unless there are too few ports for that to pay. */
static int ask_abilities(struct client *client, const struct port_spec *specs, size_t n,
			 struct abilities *out, struct err *e)
{
	bool has_range = false;
	json_t *info = NULL;
	int code = 0;

	for (size_t i = 0; i < n; i++)
		has_range = has_range || specs[i].count > 1;
	if (n >= BATCH_WORTH || has_range)
		code = client_call(client, "GET", "/v1/info", NULL, &info, e);
	out->ranges = answer_has_ranges(info);
	out->batch = has_range && !out->ranges ? 0 : answer_batch_max(info);
	json_decref(info);
	return code;
}

static int add_ports(struct client *client, const struct port_spec *specs, size_t n, bool json,
		     struct err *e)
{
	struct abilities can;
	int code = ask_abilities(client, specs, n, &can, e);
	size_t step;

	for (size_t i = 0; i < n && !code; i += step) {
		step = can.batch < 2 ? 1 : n - i < can.batch ? n - i : can.batch;
		if (step > 1)
			code = add_batch(client, &specs[i], step, json, e);
		else if (specs[i].count > 1 && !can.ranges)
			code = add_unfolded(client, &specs[i], json, e);
		else
			code = add_single(client, &specs[i], json, e);
	}
	return code;
}

int port_commands_add(struct client *client, const struct ctl_args *args, struct err *e)
{
	size_t n = (size_t)args->n_words;
	auto_free struct port_spec *specs = calloc(n + 1, sizeof(*specs));

	if (!specs)
		return err_errno(e, -ENOMEM, "ports");
	if (n == 0)
		return err_set(e, -EINVAL, "no port specified");
	for (size_t i = 0; i < n; i++) {
		int code = portspec_parse(args->words[i], &specs[i], e);

		if (code < 0)
			return code;
	}
	return add_ports(client, specs, n, args_has(args, CTL_JSON), e);
}

/* Removing */

/* The port or ports that one word names. */
struct target {
	bool is_spec;
	struct port_spec spec;
	long long first, count; /* ids, not of a spec */
};

static int parse_ids(const char *word, struct target *out, struct err *e)
{
	const char *dash = *word ? strchr(word + 1, '-') : NULL;
	char first[32], quoted[128];
	long long last;
	bool good;

	snprintf(first, sizeof(first), "%.*s", (int)(dash ? dash - word : 31), word);
	good = strlen(word) < sizeof(first) && text_parse_number(first, &out->first) == 0;
	last = out->first;
	if (good && dash)
		good = text_parse_number(dash + 1, &last) == 0 && out->first >= 1 &&
		       last >= out->first && last - out->first < LIMIT_PORTS;
	out->count = last - out->first + 1;
	if (good)
		return 0;
	return err_set(e, -EINVAL,
		       "invalid ID %s: must be a number that list-ports shows, such as 1, a range "
		       "such as 1-10, or a port as it was added",
		       quote_go(word, quoted, sizeof(quoted)));
}

/* Parses the spec of ports to remove. An error shows one that is right, unless it does already.
 * What add-ports says of a wrong spec is RootlessKit's text, word for word. */
static int parse_spec(const char *word, struct port_spec *out, struct err *e)
{
	int code = portspec_parse(word, out, e);
	struct err reason = *e;

	if (code && !strstr(reason.msg, "must be "))
		err_set(e, code, "%s; it must be like 127.0.0.1:8080:80/tcp", reason.msg);
	return code;
}

static int parse_target(const char *word, struct target *out, struct err *e)
{
	int code;

	out->is_spec = strchr(word, '/') != NULL;
	if (!out->is_spec)
		return parse_ids(word, out, e);
	code = parse_spec(word, &out->spec, e);
	return code ? code : portspec_validate(&out->spec, e);
}

static int remove_and_print(struct client *client, long long first, long long count, struct err *e)
{
	int code = remove_ids(client, first, count, e);

	return code ? code : output_ids(first, count, e);
}

static bool is_of(const struct answer_port *port, const struct port_spec *spec)
{
	long long i = port->spec.parent_port - spec->parent_port;

	return i >= 0 && i < (long long)portspec_count(spec) &&
	       port->spec.child_port == spec->child_port + i &&
	       !strcmp(port->spec.proto, spec->proto) &&
	       !strcmp(port->spec.parent_ip, spec->parent_ip) &&
	       !strcmp(port->spec.child_ip, spec->child_ip);
}

/* Moves the ports of the spec from the list to out. 0, or -ENOENT when one of them is missing. */
static int take_ports(struct list *list, const struct port_spec *spec, struct list *out,
		      struct err *e)
{
	size_t n = portspec_count(spec);
	char text[300];

	out->n = 0;
	out->ports = calloc(n, sizeof(*out->ports));
	if (!out->ports)
		return err_errno(e, -ENOMEM, "ports");
	for (size_t i = 0; i < list->n && out->n < n; i++) {
		size_t at = (list->at + i) % list->n;
		struct answer_port *port = &list->ports[at];

		if (port->id == 0 || !is_of(port, spec))
			continue;
		out->ports[out->n++] = *port;
		port->id = 0; /* taken */
		if (out->n == n)
			list->at = at + 1;
	}
	if (out->n == n)
		return 0;
	portspec_format(spec, text, sizeof(text));
	if (out->n == 0)
		return err_set(e, -ENOENT, "%s is not published", text);
	return err_set(e, -ENOENT,
		       "%s: not all of its ports are published (%zu of %zu): remove them by id",
		       text, out->n, n);
}

/* Removes the ports of a spec. They are looked up first, so that nothing is removed when a part of
 * them is missing. list: all ports, fetched for the first spec. */
static int remove_spec(struct client *client, const struct port_spec *spec, struct list *list,
		       struct err *e)
{
	struct list its = {.ports = NULL};
	int code = list->ports ? 0 : ask_list(client, list, e);

	if (!code)
		code = take_ports(list, spec, &its, e);
	if (!code)
		fold(&its);
	for (size_t i = 0; i < its.n && !code; i++)
		code = remove_and_print(client, its.ports[i].id,
					(long long)portspec_count(&its.ports[i].spec), e);
	free(its.ports);
	return code;
}

int port_commands_remove(struct client *client, const struct ctl_args *args, struct err *e)
{
	int n = args->n_words, code = 0;
	auto_free struct target *targets = calloc((size_t)n + 1, sizeof(*targets));
	struct list list = {.ports = NULL};

	if (!targets)
		return err_errno(e, -ENOMEM, "ids");
	if (n == 0)
		return err_set(e, -EINVAL, "no ID specified");
	for (int i = 0; i < n && !code; i++)
		code = parse_target(args->words[i], &targets[i], e);
	for (int i = 0; i < n && !code; i++)
		code = targets[i].is_spec
			       ? remove_spec(client, &targets[i].spec, &list, e)
			       : remove_and_print(client, targets[i].first, targets[i].count, e);
	free(list.ports);
	return code;
}
