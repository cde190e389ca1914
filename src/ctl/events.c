/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/events.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/text.h"
#include "ctl/args.h"
#include "ctl/client.h"
#include "ctl/output.h"

/* The longest event has a port with the longest addresses: 500 bytes. */
#define LINE_MAX_BYTES 4096

struct reader {
	bool json;
	size_t len;
	char line[LINE_MAX_BYTES];
};

/* Prints a member's text or number. */
static void print_member(const json_t *event, const char *key)
{
	const json_t *v = json_object_get(event, key);

	if (json_is_string(v)) {
		printf(" %s=", key);
		text_put_printable(json_string_value(v), stdout);
	} else if (json_is_integer(v)) {
		printf(" %s=%lld", key, (long long)json_integer_value(v));
	}
}

/* Prints an event as TIME EVENT member=value... */
static int print_plain(const json_t *event, struct err *e)
{
	static const char *const members[] = {"id",  "lastId", "what",	  "count",
					      "pid", "uid",    "program", "message"};
	const json_t *spec = json_object_get(event, "spec");
	const char *time = json_string_value(json_object_get(event, "time"));
	const char *name = json_string_value(json_object_get(event, "event"));

	text_put_printable(time ? time : "?", stdout);
	putchar(' ');
	text_put_printable(name ? name : "?", stdout);
	for (size_t i = 0; i < ARRAY_SIZE(members); i++)
		print_member(event, members[i]);
	for (const char *const *m = (const char *const[]){"proto", "parentIP", "parentPort",
							  "childIP", "childPort", "count", NULL};
	     *m && spec; m++)
		print_member(spec, *m);
	putchar('\n');
	return output_finish(e);
}

static int print_line(struct reader *r, size_t len, struct err *e)
{
	json_t *event = json_loadb(r->line, len, 0, NULL);
	int code;

	if (!json_is_object(event)) {
		json_decref(event);
		return err_set(e, -EPROTO, "the server sends something else than events");
	}
	code = r->json ? output_json(event, e) : print_plain(event, e);
	json_decref(event);
	return code;
}

static int take(void *arg, const char *data, size_t len, struct err *e)
{
	struct reader *r = arg;
	int code = 0;

	for (size_t i = 0; i < len && !code; i++) {
		if (data[i] == '\n') {
			code = print_line(r, r->len, e);
			r->len = 0;
		} else if (r->len == sizeof(r->line)) {
			code = err_set(e, -EPROTO, "the server sends a line without an end");
		} else {
			r->line[r->len++] = data[i];
		}
	}
	return code;
}

int events_run(struct client *client, const struct ctl_args *args, struct err *e)
{
	struct reader reader = {.json = args_has(args, CTL_JSON)};

	return client_follow(client, "/v1/events", take, &reader, e);
}
