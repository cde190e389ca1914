/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/curl.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>

/* The ABI of the header that this was built with. */
#define CURL_SONAME "libcurl.so.4"

static const struct {
	const char *name;
	size_t offset;
} symbols[] = {
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
	void *lib;

	if (curl.global_init)
		return &curl;
	lib = dlopen(CURL_SONAME, RTLD_LAZY | RTLD_LOCAL);
	if (!lib) {
		err_set(e, -ENOENT,
			"the HTTP library cannot be loaded (Debian's package is libcurl4): %s",
			dlerror());
		return NULL;
	}
	for (size_t i = sizeof(symbols) / sizeof(symbols[0]); i-- > 0;) {
		void *f = dlsym(lib, symbols[i].name);

		if (!f) {
			err_set(e, -ENOENT, "%s lacks %s", CURL_SONAME, symbols[i].name);
			dlclose(lib);
			return NULL;
		}
		*(void **)(void *)((char *)&curl + symbols[i].offset) = f;
	}
	return &curl;
}
