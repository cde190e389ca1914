/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/curl.h"

#include "base/library.h"

/* The ABI of the header that this was built with. */
#define SONAME "libcurl.so.4"

static const struct library_symbol symbols[] = {
	{"curl_global_init", offsetof(struct curl, global_init)},
	{"curl_global_cleanup", offsetof(struct curl, global_cleanup)},
	{"curl_easy_init", offsetof(struct curl, easy_init)},
	{"curl_easy_cleanup", offsetof(struct curl, easy_cleanup)},
	{"curl_easy_setopt", offsetof(struct curl, easy_setopt)},
	{"curl_easy_getinfo", offsetof(struct curl, easy_getinfo)},
	{"curl_easy_perform", offsetof(struct curl, easy_perform)},
	{"curl_easy_strerror", offsetof(struct curl, easy_strerror)},
	{"curl_slist_append", offsetof(struct curl, slist_append)},
	{"curl_slist_free_all", offsetof(struct curl, slist_free_all)},
};

const struct curl *curl_load(struct err *e)
{
	static struct curl curl;

	if (curl.global_init)
		return &curl;
	if (library_load(SONAME, "the HTTP library", "libcurl4", symbols,
			 sizeof(symbols) / sizeof(symbols[0]), &curl, e) < 0)
		return NULL;
	return &curl;
}
