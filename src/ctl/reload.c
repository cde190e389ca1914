/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/reload.h"

#include <stdio.h>

#include "base/text.h"
#include "ctl/member.h"
#include "ctl/output.h"

static int print(const json_t *result, struct err *e)
{
	const char *version = json_string_value(json_object_get(result, "version"));

	fputs("version ", stdout);
	text_put_printable(version ? version : "?", stdout);
	printf(" serves; connections and UDP clients taken over: %.0f; at rest for %.1f ms\n",
	       member_number(result, "flows"), member_number(result, "pauseUs") / 1000);
	return output_finish(e);
}

int reload_run(struct client *client, const struct ctl_args *args, struct err *e)
{
	json_t *result = NULL;
	int code = client_call(client, "POST", "/v1/reload", NULL, &result, e);

	if (code < 0)
		return code;
	code = args_has(args, CTL_JSON) ? output_json_indented(result, e) : print(result, e);
	json_decref(result);
	return code;
}
