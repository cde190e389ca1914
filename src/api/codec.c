/* SPDX-License-Identifier: Apache-2.0 */
#include "api/codec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/fd.h"
#include "base/text.h"

static const char *type_name(const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		return "object";
	case JSON_ARRAY:
		return "array";
	case JSON_STRING:
		return "string";
	case JSON_INTEGER:
	case JSON_REAL:
		return "number";
	default:
		return "bool";
	}
}

static int wrong_type(const json_t *v, const char *field, const char *type, struct err *e)
{
	char number[32] = "";

	if (json_is_real(v) && !strcmp(type, "int"))
		snprintf(number, sizeof(number), " %.12g", json_real_value(v));
	return err_set(e, -EINVAL,
		       "json: cannot unmarshal %s%s into Go struct field Spec.%s of type %s",
		       type_name(v), number, field, type);
}

static int take_string(const json_t *v, const char *field, char out[64], struct err *e)
{
	if (json_is_null(v))
		return 0;
	if (!json_is_string(v))
		return wrong_type(v, field, "string", e);
	if (json_string_length(v) >= 64)
		return err_set(e, -EINVAL, "invalid %s: %zu bytes, and none has more than 63",
			       field, json_string_length(v));
	snprintf(out, 64, "%s", json_string_value(v));
	return 0;
}

static int take_integer(const json_t *v, const char *field, long long *out, struct err *e)
{
	if (json_is_null(v))
		return 0;
	if (!json_is_integer(v))
		return wrong_type(v, field, "int", e);
	*out = json_integer_value(v);
	return 0;
}

static int take_member(const char *key, const json_t *v, struct port_spec *out, struct err *e)
{
	if (!strcasecmp(key, "proto"))
		return take_string(v, "proto", out->proto, e);
	if (!strcasecmp(key, "parentIP"))
		return take_string(v, "parentIP", out->parent_ip, e);
	if (!strcasecmp(key, "childIP"))
		return take_string(v, "childIP", out->child_ip, e);
	if (!strcasecmp(key, "childListenIP"))
		return take_string(v, "childListenIP", out->child_listen_ip, e);
	if (!strcasecmp(key, "parentPort"))
		return take_integer(v, "parentPort", &out->parent_port, e);
	if (!strcasecmp(key, "childPort"))
		return take_integer(v, "childPort", &out->child_port, e);
	if (!strcasecmp(key, "count"))
		return take_integer(v, "count", &out->count, e);
	return 0;
}

static bool is_blank(const char *body, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!strchr(" \t\r\n", body[i]) || body[i] == '\0')
			return false;
	return true;
}

static int syntax_error(const char *body, size_t len, const json_error_t *je, struct err *e)
{
	if (is_blank(body, len))
		return err_set(e, -EINVAL, "EOF");
	if (json_error_code(je) == json_error_premature_end_of_input)
		return err_set(e, -EINVAL, "unexpected EOF");
	return err_set(e, -EINVAL, "invalid JSON at byte %d: %s", je->position, je->text);
}

int codec_spec_take(const json_t *value, struct port_spec *out, struct err *e)
{
	const char *key;
	const json_t *v;
	int code;

	memset(out, 0, sizeof(*out));
	if (!value || json_is_null(value))
		return 0;
	if (!json_is_object(value))
		return err_set(e, -EINVAL,
			       "json: cannot unmarshal %s into Go value of type port.Spec",
			       type_name(value));
	json_object_foreach((json_t *)value, key, v)
	{
		code = take_member(key, v, out, e);
		if (code < 0)
			return code;
	}
	return 0;
}

int codec_spec_decode(const char *body, size_t len, struct port_spec *out, struct err *e)
{
	json_error_t je;
	json_t *root = json_loadb(body, len, JSON_DISABLE_EOF_CHECK | JSON_DECODE_ANY, &je);
	int code;

	memset(out, 0, sizeof(*out));
	if (!root)
		return syntax_error(body, len, &je, e);
	code = codec_spec_take(root, out, e);
	json_decref(root);
	return code;
}

/* Reads a spec's "lease": 1 for "connection", 0 for none, or -EINVAL. */
static int lease_of(const json_t *spec, struct err *e)
{
	const char *key, *word = "";
	const json_t *v;

	json_object_foreach((json_t *)spec, key, v)
	{
		if (strcasecmp(key, "lease") != 0)
			continue;
		word = json_is_null(v) ? "" : json_string_value(v);
		if (!word || (word[0] && strcmp(word, "connection") != 0))
			return err_set(e, -EINVAL,
				       "unknown lease: the only one there is is \"connection\"");
	}
	return word[0] != '\0';
}

int codec_lease_decode(const char *body, size_t len, struct err *e)
{
	json_t *root = json_loadb(body, len, JSON_DISABLE_EOF_CHECK | JSON_DECODE_ANY, NULL);
	int code = json_is_object(root) ? lease_of(root, e) : 0;

	json_decref(root);
	return code;
}

static int take_specs(const json_t *list, size_t max, struct port_spec **out, size_t *n,
		      struct err *e)
{
	size_t len = json_array_size(list);
	auto_free struct port_spec *specs = NULL;

	if (!json_is_array(list) || len == 0 || len > max)
		return err_set(e, -EINVAL, "expected an array of 1 to %zu port specs", max);
	specs = calloc(len, sizeof(*specs));
	if (!specs)
		return err_errno(e, -ENOMEM, "port specs");
	for (size_t i = 0; i < len; i++) {
		const json_t *spec = json_array_get(list, i);
		int code = codec_spec_take(spec, &specs[i], e);

		if (code == 0 && json_is_object(spec) && lease_of(spec, e) != 0)
			code = err_set(e, -EINVAL, "a port of a batch cannot have a lease");
		if (code < 0)
			return err_wrap(e, code, "port spec %zu", i);
	}
	*out = steal_ptr(specs);
	*n = len;
	return 0;
}

int codec_specs_decode(const char *body, size_t len, size_t max, struct port_spec **out, size_t *n,
		       struct err *e)
{
	json_error_t je;
	json_t *list = json_loadb(body, len, JSON_DISABLE_EOF_CHECK | JSON_DECODE_ANY, &je);
	int code = list ? take_specs(list, max, out, n, e) : syntax_error(body, len, &je, e);

	json_decref(list);
	return code;
}

/* Sets a member of object to value, which it takes over. 0 or -1. */
static int put(json_t *object, const char *key, json_t *value)
{
	return json_object_set_new(object, key, value);
}

json_t *codec_spec_encode(const struct port_spec *spec)
{
	json_t *o = json_object();
	int bad = put(o, "proto", json_string(spec->proto));

	if (spec->parent_ip[0])
		bad |= put(o, "parentIP", json_string(spec->parent_ip));
	if (spec->parent_port)
		bad |= put(o, "parentPort", json_integer(spec->parent_port));
	if (spec->child_port)
		bad |= put(o, "childPort", json_integer(spec->child_port));
	if (spec->child_ip[0])
		bad |= put(o, "childIP", json_string(spec->child_ip));
	if (spec->child_listen_ip[0])
		bad |= put(o, "childListenIP", json_string(spec->child_listen_ip));
	if (spec->count > 1)
		bad |= put(o, "count", json_integer(spec->count));
	if (!bad)
		return o;
	json_decref(o);
	return NULL;
}

json_t *codec_port_encode(int id, const struct port_spec *spec)
{
	json_t *o = json_object();

	if (put(o, "id", json_integer(id)) < 0 || put(o, "spec", codec_spec_encode(spec)) < 0) {
		json_decref(o);
		return NULL;
	}
	return o;
}

json_t *codec_message_encode(const char *message)
{
	json_t *o = json_object(), *s = json_string(message);
	char ascii[1024];
	size_t i;

	if (!s) {
		/* The message is no UTF-8, and jansson takes nothing else. */
		for (i = 0; message[i] && i + 1 < sizeof(ascii); i++)
			ascii[i] = (char)(message[i] & 0x80 ? '?' : message[i]);
		ascii[i] = '\0';
		s = json_string(ascii);
	}
	if (put(o, "message", s) < 0) {
		json_decref(o);
		return NULL;
	}
	return o;
}

int codec_id_decode(const char *s, long long *out, struct err *e)
{
	int code = text_parse_number(s, out);
	char q[300];

	if (!code)
		return 0;
	return err_set(e, -EINVAL, "bad id %s: strconv.Atoi: parsing %s: %s", s,
		       quote_go(s, q, sizeof(q)),
		       code == -ERANGE ? "value out of range" : "invalid syntax");
}

int codec_ids_decode(const char *s, long long *first, long long *last, struct err *e)
{
	size_t digits = strspn(s, "0123456789");
	char text[32];
	int code;

	if (!digits || digits >= sizeof(text) || s[digits] != '-') {
		code = codec_id_decode(s, first, e);
		*last = *first;
		return code;
	}
	snprintf(text, sizeof(text), "%.*s", (int)digits, s);
	code = codec_id_decode(text, first, e);
	return code ? code : codec_id_decode(s + digits + 1, last, e);
}
