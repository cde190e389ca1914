/* SPDX-License-Identifier: Apache-2.0 */
#include "api/mhd.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>

/* The ABI of the header that this was built with. */
#define MHD_SONAME "libmicrohttpd.so.12"

static const struct {
	const char *name;
	size_t offset;
} symbols[] = {
	{"MHD_start_daemon", offsetof(struct mhd, start_daemon)},
	{"MHD_stop_daemon", offsetof(struct mhd, stop_daemon)},
	{"MHD_run", offsetof(struct mhd, run)},
	{"MHD_get_timeout", offsetof(struct mhd, get_timeout)},
	{"MHD_get_daemon_info", offsetof(struct mhd, get_daemon_info)},
	{"MHD_get_connection_info", offsetof(struct mhd, get_connection_info)},
	{"MHD_create_response_from_buffer", offsetof(struct mhd, create_response_from_buffer)},
	{"MHD_add_response_header", offsetof(struct mhd, add_response_header)},
	{"MHD_queue_response", offsetof(struct mhd, queue_response)},
	{"MHD_destroy_response", offsetof(struct mhd, destroy_response)},
	{"MHD_suspend_connection", offsetof(struct mhd, suspend_connection)},
	{"MHD_resume_connection", offsetof(struct mhd, resume_connection)},
	{"MHD_lookup_connection_value", offsetof(struct mhd, lookup_connection_value)},
};

const struct mhd *mhd_load(struct err *e)
{
	static struct mhd mhd;
	void *lib;

	if (mhd.start_daemon)
		return &mhd;
	lib = dlopen(MHD_SONAME, RTLD_LAZY | RTLD_LOCAL);
	if (!lib) {
		err_set(e, -ENOENT,
			"the HTTP library cannot be loaded (Debian's package is libmicrohttpd12): "
			"%s",
			dlerror());
		return NULL;
	}
	for (size_t i = sizeof(symbols) / sizeof(symbols[0]); i-- > 0;) {
		void *f = dlsym(lib, symbols[i].name);

		if (!f) {
			err_set(e, -ENOENT, "%s lacks %s", MHD_SONAME, symbols[i].name);
			dlclose(lib);
			return NULL;
		}
		*(void **)(void *)((char *)&mhd + symbols[i].offset) = f;
	}
	return &mhd;
}
