/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/commands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/codec.h"
#include "base/fd.h"
#include "base/loop.h"
#include "ctl/answer.h"
#include "ctl/args.h"
#include "ctl/client.h"
#include "ctl/output.h"
#include "ctl/stats.h"
#include "ports/spec.h"

/* Between two looks of stats --watch. */
#define WATCH_S 1

/* From this many ports on they go many to a request, if the server takes them so. */
#define BATCH_WORTH 16

static bool is_json(const struct ctl_args *args)
{
	return args->options & CTL_JSON;
}

static bool is_watch(const struct ctl_args *args)
{
	return args->options & CTL_WATCH;
}

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
		code = is_json(args) ? output_json_indented(info, e) : output_info(info, e);
	json_decref(info);
	json_decref(answer);
	return code;
}

/* A screen is cleared before each; anything else gets one after the other. */
static int print_stats(const json_t *stats, const json_t *before, uint64_t elapsed_ms,
		       const struct ctl_args *args, struct err *e)
{
	if (is_json(args) && is_watch(args))
		return output_json(stats, e);
	if (is_json(args))
		return output_json_indented(stats, e);
	if (is_watch(args) && isatty(STDOUT_FILENO))
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
	} while (is_watch(args) && !code);
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
		code = print_ports(ports, n, is_json(args), e);
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

static int add_ports(struct client *client, const struct port_spec *specs, size_t n, bool json,
		     struct err *e)
{
	size_t batch, step;
	int code = choose_batch(client, n, &batch, e);

	for (size_t i = 0; i < n && !code; i += step) {
		step = batch < 2 ? 1 : n - i < batch ? n - i : batch;
		code = step > 1 ? add_batch(client, &specs[i], step, json, e)
				: add_one(client, &specs[i], json, e);
	}
	return code;
}

static int run_add(struct client *client, const struct ctl_args *args, struct err *e)
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
	return add_ports(client, specs, n, is_json(args), e);
}

static int remove_port(struct client *client, long long id, struct err *e)
{
	char path[64];
	int code;

	snprintf(path, sizeof(path), "/v1/ports/%lld", id);
	code = client_call(client, "DELETE", path, NULL, NULL, e);
	return code ? code : output_id(id, e);
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

static int run_remove(struct client *client, const struct ctl_args *args, struct err *e)
{
	int n = args->n_words, code = 0;
	auto_free long long *ids = calloc((size_t)n + 1, sizeof(*ids));

	if (!ids)
		return err_errno(e, -ENOMEM, "ids");
	if (n == 0)
		return err_set(e, -EINVAL, "no ID specified");
	for (int i = 0; i < n && !code; i++)
		code = parse_id(args->words[i], &ids[i], e);
	for (int i = 0; i < n && !code; i++)
		code = remove_port(client, ids[i], e);
	return code;
}

/* The table */

const struct ctl_option_row ctl_options[] = {
	{CTL_JSON, "json", "Prints as JSON"},
	{CTL_WATCH, "watch", "Repeats it every second"},
	{.name = NULL},
};

const struct ctl_command ctl_commands[] = {
	{.name = "list-ports",
	 .brief = "List ports",
	 .usage = "[flags]",
	 .options = CTL_JSON,
	 .run = run_list},
	{.name = "add-ports",
	 .brief = "Add ports",
	 .usage = "[flags] PARENTIP:PARENTPORT:CHILDPORT/PROTO "
		  "[PARENTIP:PARENTPORT:CHILDPORT/PROTO...]",
	 .text = "   Add exposed ports. The port spec is similar to `docker run -p`. "
		 "e.g. \"127.0.0.1:8080:80/tcp\",\n"
		 "   \"127.0.0.1:8080:10.0.2.100:80/tcp\", \"[::1]:8080:[::2]:80/udp\". "
		 "Ports are added in the order\n"
		 "   given; the first that fails ends it, and those before it stay.\n",
	 .options = CTL_JSON,
	 .takes_words = true,
	 .run = run_add},
	{.name = "remove-ports",
	 .brief = "Remove ports",
	 .usage = "[flags] ID [ID...]",
	 .takes_words = true,
	 .run = run_remove},
	{.name = "info",
	 .brief = "Show info",
	 .usage = "[flags]",
	 .options = CTL_JSON,
	 .run = run_info},
	{.name = "stats",
	 .brief = "Show what the port driver has counted",
	 .usage = "[flags]",
	 .text = "   Totals of the data plane and of each port. With --watch once a second, and "
		 "what each port does\n"
		 "   in a second; with --json and --watch one object a line. ringkit's own: "
		 "RootlessKit has no such\n"
		 "   request.\n",
	 .options = CTL_JSON | CTL_WATCH,
	 .run = run_stats},
	{.name = "help",
	 .alias = "h",
	 .brief = "Shows a list of commands or help for one command",
	 .usage = "[command]",
	 .takes_words = true},
	{.name = NULL},
};

const struct ctl_command *commands_find(const char *name)
{
	for (const struct ctl_command *c = ctl_commands; c->name; c++)
		if (!strcmp(name, c->name) || (c->alias && !strcmp(name, c->alias)))
			return c;
	return NULL;
}

const char *commands_names(unsigned option, char *buf, size_t size)
{
	size_t len = 0;

	buf[0] = '\0';
	for (const struct ctl_command *c = ctl_commands; c->name; c++)
		if ((!option || c->options & option) && len < size)
			len += (size_t)snprintf(buf + len, size - len, "%s%s", len ? ", " : "",
						c->name);
	return buf;
}
