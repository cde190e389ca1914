/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/port/slirp4netns_answer.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"

/* Copies text without escape sequences, which the server must not put into our messages. */
static void copy_printable(char *out, size_t size, const char *text, size_t len)
{
	size_t n = len < size - 1 ? len : size - 1;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];

		out[i] = '?';
		if (c >= ' ' && c < 0x7f)
			out[i] = text[i];
	}
	out[n] = '\0';
}

static int not_understood(const char *text, size_t len, struct err *e)
{
	char shown[100];

	copy_printable(shown, sizeof(shown), text, len);
	if (!len)
		return err_set(e, -EPROTO,
			       "slirp4netns closed its API connection without an answer");
	return err_set(e, -EPROTO, "slirp4netns gave an answer that is not understood: %s%s", shown,
		       len >= sizeof(shown) ? "..." : "");
}

/* Takes the server's refusal, which is {"desc":"..."}; anything else is shown as it came. */
static void take_refusal(const json_t *error, struct slirp4netns_answer *out)
{
	const char *desc = json_string_value(json_object_get(error, "desc"));
	auto_free char *dump = desc ? NULL : json_dumps(error, JSON_COMPACT | JSON_ENCODE_ANY);
	const char *text = desc ? desc : dump ? dump : "";

	copy_printable(out->refused, sizeof(out->refused), text, strlen(text));
	if (!out->refused[0])
		snprintf(out->refused, sizeof(out->refused), "an error without a description");
}

static bool take_id(const json_t *object, long long *out)
{
	const json_t *id = json_object_get(object, "id");

	*out = json_integer_value(id);
	return json_is_integer(id) && *out > 0;
}

/* Takes the list of forwards. 1: well formed, 0: not, or -ENOMEM. */
static int take_entries(const json_t *root, struct slirp4netns_answer *out)
{
	const json_t *outer = json_object_get(root, "return");
	const json_t *entries = json_object_get(outer ? outer : root, "entries");
	size_t n = json_array_size(entries);

	if (!json_is_array(entries))
		return 0;
	if (!n)
		return 1;
	out->ids = calloc(n, sizeof(*out->ids));
	if (!out->ids)
		return -ENOMEM;
	for (; out->n_ids < n; out->n_ids++)
		if (!take_id(json_array_get(entries, out->n_ids), &out->ids[out->n_ids]))
			return 0;
	return 1;
}

static int take(enum slirp4netns_request request, const json_t *root,
		struct slirp4netns_answer *out)
{
	const json_t *error = json_object_get(root, "error");

	if (error) {
		take_refusal(error, out);
		return 1;
	}
	switch (request) {
	case SLIRP4NETNS_ADD:
		return take_id(json_object_get(root, "return"), &out->id);
	case SLIRP4NETNS_REMOVE:
		return json_object_get(root, "return") != NULL;
	default:
		return take_entries(root, out);
	}
}

int slirp4netns_answer_parse(enum slirp4netns_request request, const char *text, size_t len,
			     struct slirp4netns_answer *out, struct err *e)
{
	json_t *root = json_loadb(text, len, 0, NULL);
	int got;

	*out = (struct slirp4netns_answer){.id = 0};
	got = take(request, root, out);
	json_decref(root);
	if (got > 0)
		return 0;
	slirp4netns_answer_free(out);
	return got < 0 ? err_errno(e, got, "answer of slirp4netns") : not_understood(text, len, e);
}

void slirp4netns_answer_free(struct slirp4netns_answer *answer)
{
	free(answer->ids);
	*answer = (struct slirp4netns_answer){.id = 0};
}
