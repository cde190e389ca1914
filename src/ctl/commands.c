/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/commands.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/codec.h"
#include "base/fd.h"
#include "base/loop.h"
#include "ctl/answer.h"
#include "ctl/client.h"
#include "ctl/output.h"
#include "ctl/stats.h"
#include "ports/spec.h"

/* Between two looks of stats --watch. */
#define WATCH_S 1

/* From this many ports on they go many to a request, if the server takes them so. */
#define BATCH_WORTH 16

static int run_info(struct client *client, const struct ctl_args *args, struct err *e)
{
	json_t *answer, *info;
	int code;

	code = client_call(client, "GET", "/v1/info", NULL, &answer, e);
	if (code < 0)
		return code;
	info = answer_normalize_info(answer, e);
	if (!info)
		code = -EPROTO;
	else
		code = args->json ? output_json_indented(info, e) : output_info(info, e);
	json_decref(info);
	json_decref(answer);
	return code;
}

/* A screen is cleared before each; anything else gets one after the other. */
static int print_stats(const json_t *stats, const json_t *before, uint64_t elapsed_ms,
		       const struct ctl_args *args, struct err *e)
{
	if (args->json && args->watch)
		return output_json(stats, e);
	if (args->json)
		return output_json_indented(stats, e);
	if (args->watch && isatty(STDOUT_FILENO))
		fputs("\033[H\033[J", stdout);
	else if (before)
		putchar('\n');
	return stats_print(stats, before, elapsed_ms, e);
}

/* With --watch until it is interrupted, or the server has gone. */
static int run_stats(struct client *client, const struct ctl_args *args, struct err *e)
{
	json_t *stats = NULL, *before = NULL;
	uint64_t asked_ms = 0;
	int code;

	do {
		uint64_t before_ms = asked_ms;

		if (before_ms)
			sleep(WATCH_S);
		code = client_call(client, "GET", "/v1/stats", NULL, &stats, e);
		if (code < 0)
			break;
		asked_ms = loop_now_ms();
		code = print_stats(stats, before, asked_ms - before_ms, args, e);
		json_decref(before);
		before = stats;
	} while (args->watch && !code);
	json_decref(before);
	return code;
}

static int print_port_json(const struct answer_port *port, struct err *e)
{
	json_t *object = codec_port_encode(port->id, &port->spec);
	int code = output_json(object, e);

	json_decref(object);
	return code;
}

static int print_ports(const struct answer_port *ports, size_t n, bool json, struct err *e)
{
	int code = 0;

	if (!json)
		return output_table(ports, n, e);
	for (size_t i = 0; i < n && !code; i++)
		code = print_port_json(&ports[i], e);
	return code;
}

static int run_list(struct client *client, const struct ctl_args *args, struct err *e)
{
	auto_free struct answer_port *ports = NULL;
	json_t *answer;
	size_t n;
	int code;

	code = client_call(client, "GET", "/v1/ports", NULL, &answer, e);
	if (code < 0)
		return code;
	n = json_array_size(answer); /* null, an empty list, counts as 0 */
	ports = calloc(n + 1, sizeof(*ports));
	if (!ports) {
		json_decref(answer);
		return err_errno(e, -ENOMEM, "ports");
	}
	if (!json_is_array(answer) && !json_is_null(answer))
		code = err_set(e, -EPROTO, "GET /v1/ports: the answer is not a list");
	for (size_t i = 0; i < n && !code; i++)
		code = answer_decode_port(json_array_get(answer, i), &ports[i], e);
	if (!code)
		code = print_ports(ports, n, args->json, e);
	json_decref(answer);
	return code;
}

static int add_one(struct client *client, const struct port_spec *spec, bool json, struct err *e)
{
	json_t *body = codec_spec_encode(spec), *answer = NULL;
	struct answer_port port;
	int code;

	if (!body)
		return err_errno(e, -ENOMEM, "port spec");
	code = client_call(client, "POST", "/v1/ports", body, &answer, e);
	if (!code)
		code = answer_decode_port(answer, &port, e);
	if (!code)
		code = json ? print_port_json(&port, e) : output_id(port.id, e);
	json_decref(answer);
	json_decref(body);
	return code;
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
			code = json ? print_port_json(&port, e) : output_id(port.id, e);
		if (code)
			break;
	}
	return code;
}

/* Where it ends early, the ports that came before are there, and are printed. */
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

/* How many ports to put into a request. Where there are few, it is not worth the question. */
static int choose_batch(struct client *client, size_t n, size_t *batch, struct err *e)
{
	json_t *info = NULL;
	int code = 0;

	*batch = 0;
	if (n >= BATCH_WORTH) {
		code = client_call(client, "GET", "/v1/info", NULL, &info, e);
		*batch = answer_batch_max(info);
		json_decref(info);
	}
	return code;
}

static int run_add(struct client *client, const struct ctl_args *args,
		   const struct port_spec *specs, struct err *e)
{
	size_t n = (size_t)args->n_words, batch, step;
	int code = choose_batch(client, n, &batch, e);

	for (size_t i = 0; i < n && !code; i += step) {
		step = batch < 2 ? 1 : n - i < batch ? n - i : batch;
		code = step > 1 ? add_batch(client, &specs[i], step, args->json, e)
				: add_one(client, &specs[i], args->json, e);
	}
	return code;
}

static int run_remove(struct client *client, const long long *ids, int n, struct err *e)
{
	int code = 0;

	assert(ids);
	for (int i = 0; i < n && !code; i++) {
		char path[64];

		snprintf(path, sizeof(path), "/v1/ports/%lld", ids[i]);
		code = client_call(client, "DELETE", path, NULL, NULL, e);
		if (!code)
			code = output_id(ids[i], e);
	}
	return code;
}

static int parse_specs(const struct ctl_args *args, struct port_spec **out, struct err *e)
{
	auto_free struct port_spec *specs = calloc((size_t)args->n_words + 1, sizeof(*specs));

	if (!specs)
		return err_errno(e, -ENOMEM, "ports");
	if (args->n_words == 0)
		return err_set(e, -EINVAL, "no port specified");
	for (int i = 0; i < args->n_words; i++) {
		int code = portspec_parse(args->words[i], &specs[i], e);

		if (code < 0)
			return code;
	}
	*out = steal_ptr(specs);
	return 0;
}

/* As strconv.Atoi takes it: decimal, with a sign, nothing around it. */
static int parse_id(const char *word, long long *out, struct err *e)
{
	char quoted[128], *end;

	errno = 0;
	*out = strtoll(word, &end, 10);
	if (errno == ERANGE || end == word || *end || (*word > 0 && *word <= ' '))
		return err_set(e, -EINVAL,
			       "invalid ID %s: must be a number that list-ports shows, such as 1",
			       quote_go(word, quoted, sizeof(quoted)));
	return 0;
}

static int parse_ids(const struct ctl_args *args, long long **out, struct err *e)
{
	auto_free long long *ids = calloc((size_t)args->n_words + 1, sizeof(*ids));

	if (!ids)
		return err_errno(e, -ENOMEM, "ids");
	if (args->n_words == 0)
		return err_set(e, -EINVAL, "no ID specified");
	for (int i = 0; i < args->n_words; i++) {
		int code = parse_id(args->words[i], &ids[i], e);

		if (code < 0)
			return code;
	}
	*out = steal_ptr(ids);
	return 0;
}

int commands_run(const struct ctl_args *args, const char *socket_path, struct err *e)
{
	auto_free struct port_spec *specs = NULL;
	auto_free long long *ids = NULL;
	struct client *client = NULL;
	int code = 0;

	if (args->command == CTL_ADD_PORTS)
		code = parse_specs(args, &specs, e);
	else if (args->command == CTL_REMOVE_PORTS)
		code = parse_ids(args, &ids, e);
	if (!code)
		code = client_open(socket_path, args->debug, &client, e);
	if (code < 0)
		return code;
	if (args->command == CTL_INFO)
		code = run_info(client, args, e);
	else if (args->command == CTL_STATS)
		code = run_stats(client, args, e);
	else if (args->command == CTL_LIST_PORTS)
		code = run_list(client, args, e);
	else if (args->command == CTL_ADD_PORTS)
		code = run_add(client, args, specs, e);
	else
		code = run_remove(client, ids, args->n_words, e);
	client_close(client);
	return code;
}
