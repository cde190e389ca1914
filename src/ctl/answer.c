/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/answer.h"

#include <errno.h>
#include <limits.h>

#include "api/codec.h"

static int wrong_type(const char *key, const char *want, struct err *e)
{
	return err_set(e, -EPROTO, "not an answer of RootlessKit's API: \"%s\" is not %s", key,
		       want);
}

/* Whether the numbers of the spec make sense, so that it can be a range. Nonsense is shown as it
 * is. */
static bool is_sound(const struct port_spec *spec)
{
	return portspec_validate(spec, NULL) == 0;
}

int answer_decode_port(const json_t *answer, struct answer_port *out, struct err *e)
{
	const json_t *id = json_object_get(answer, "id");
	json_int_t n = json_integer_value(id);

	if (!json_is_object(answer))
		return wrong_type("port", "an object", e);
	if (id && (!json_is_integer(id) || n < INT_MIN || n > INT_MAX))
		return wrong_type("id", "a whole number", e);
	out->id = (int)n;
	if (codec_spec_take(json_object_get(answer, "spec"), &out->spec, e) < 0)
		return err_wrap(e, -EPROTO, "not an answer of RootlessKit's API");
	n = json_integer_value(json_object_get(answer, "range"));
	out->range = n > 0 && n <= INT_MAX && is_sound(&out->spec) ? (int)n : 0;
	if (!is_sound(&out->spec))
		out->spec.count = 0;
	return 0;
}

size_t answer_batch_max(const json_t *info)
{
	json_int_t max = json_integer_value(
		json_object_get(json_object_get(info, "portDriver"), "batchMax"));

	return max > 0 ? (size_t)max : 0;
}

bool answer_has_ranges(const json_t *info)
{
	return json_is_true(json_object_get(json_object_get(info, "portDriver"), "ranges"));
}

/* Info */

struct member {
	const char *key;
	json_type type;
	bool optional; /* left out when the value is empty */
};

static const struct member info_members[] = {
	{"apiVersion", JSON_STRING, false},
	{"version", JSON_STRING, false},
	{"stateDir", JSON_STRING, false},
	{"childPID", JSON_INTEGER, false},
	{"networkDriver", JSON_OBJECT, true},
	{"portDriver", JSON_OBJECT, true},
	{NULL, JSON_NULL, false},
};

static const struct member net_members[] = {
	{"driver", JSON_STRING, false}, {"dns", JSON_ARRAY, true},
	{"childIP", JSON_STRING, true}, {"dynamicChildIP", JSON_TRUE, true},
	{NULL, JSON_NULL, false},
};

static const struct member port_members[] = {
	{"driver", JSON_STRING, false},
	{"protos", JSON_ARRAY, false},
	{"disallowLoopbackChildIP", JSON_TRUE, true},
	{NULL, JSON_NULL, false},
};

static bool has_type(const json_t *value, json_type type)
{
	const json_t *item;
	size_t i;

	if (type == JSON_TRUE)
		return json_is_boolean(value);
	if (json_typeof(value) != type)
		return false;
	if (type == JSON_ARRAY)
		json_array_foreach(value, i, item) if (!json_is_string(item)) return false;
	return true;
}

static const char *type_words(json_type type)
{
	switch (type) {
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "a whole number";
	case JSON_ARRAY:
		return "an array of strings";
	case JSON_OBJECT:
		return "an object";
	default:
		return "true or false";
	}
}

static bool is_empty(const json_t *value)
{
	return json_is_false(value) || (json_is_string(value) && !json_string_length(value)) ||
	       (json_is_array(value) && !json_array_size(value));
}

static json_t *empty_value(json_type type)
{
	if (type == JSON_STRING)
		return json_string("");
	return type == JSON_INTEGER ? json_integer(0) : json_null();
}

/* Moves the known members from rest to out, in RootlessKit's order. */
static int move_members(const struct member *members, json_t *rest, json_t *out, struct err *e)
{
	for (const struct member *m = members; m->key; m++) {
		json_t *value = json_object_get(rest, m->key);

		if (json_is_null(value))
			value = NULL;
		if (value && !has_type(value, m->type))
			return wrong_type(m->key, type_words(m->type), e);
		if (value && !(m->optional && is_empty(value)))
			json_object_set(out, m->key, value);
		else if (!m->optional)
			json_object_set_new(out, m->key, empty_value(m->type));
		json_object_del(rest, m->key);
	}
	return 0;
}

/* Puts known members first, the others after them as they came. NULL: wrong type or no memory. */
static json_t *in_order(const struct member *members, const json_t *object, struct err *e)
{
	json_t *rest = json_copy((json_t *)object);
	json_t *out = json_object();
	int code = rest && out ? 0 : err_errno(e, -ENOMEM, "info");

	if (!code)
		code = move_members(members, rest, out, e);
	if (!code)
		json_object_update(out, rest);
	json_decref(rest);
	if (code < 0) {
		json_decref(out);
		return NULL;
	}
	return out;
}

static int order_member(json_t *info, const char *key, const struct member *members, struct err *e)
{
	json_t *object = json_object_get(info, key), *ordered;

	if (!object)
		return 0;
	ordered = in_order(members, object, e);
	return ordered ? json_object_set_new(info, key, ordered) : -EPROTO;
}

json_t *answer_normalize_info(const json_t *answer, struct err *e)
{
	json_t *info;

	if (!json_is_object(answer)) {
		wrong_type("info", "an object", e);
		return NULL;
	}
	info = in_order(info_members, answer, e);
	if (info && (order_member(info, "networkDriver", net_members, e) < 0 ||
		     order_member(info, "portDriver", port_members, e) < 0)) {
		json_decref(info);
		return NULL;
	}
	return info;
}
