/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/member.h"

const char *member_text(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s ? s : "";
}

double member_number(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

const json_t *member_earlier_port(const json_t *list, size_t *at, json_int_t id)
{
	for (; *at < json_array_size(list); ++*at) {
		const json_t *port = json_array_get(list, *at);
		json_int_t other = json_integer_value(json_object_get(port, "id"));

		if (other >= id)
			return other == id ? port : NULL;
	}
	return NULL;
}
