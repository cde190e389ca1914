/* SPDX-License-Identifier: Apache-2.0 */
#include "api/mhd.h"

#include "base/array.h"
#include "base/library.h"

/* The ABI version of the header that this is built with. */
#define SONAME "libmicrohttpd.so.12"

static const struct library_symbol symbols[] = {
	{"MHD_start_daemon", offsetof(struct mhd, start_daemon)},
	{"MHD_stop_daemon", offsetof(struct mhd, stop_daemon)},
	{"MHD_run", offsetof(struct mhd, run)},
	{"MHD_get_timeout", offsetof(struct mhd, get_timeout)},
	{"MHD_get_daemon_info", offsetof(struct mhd, get_daemon_info)},
	{"MHD_get_connection_info", offsetof(struct mhd, get_connection_info)},
	{"MHD_create_response_from_buffer", offsetof(struct mhd, create_response_from_buffer)},
	{"MHD_create_response_from_callback", offsetof(struct mhd, create_response_from_callback)},
	{"MHD_add_response_header", offsetof(struct mhd, add_response_header)},
	{"MHD_queue_response", offsetof(struct mhd, queue_response)},
	{"MHD_destroy_response", offsetof(struct mhd, destroy_response)},
	{"MHD_suspend_connection", offsetof(struct mhd, suspend_connection)},
	{"MHD_resume_connection", offsetof(struct mhd, resume_connection)},
	{"MHD_lookup_connection_value", offsetof(struct mhd, lookup_connection_value)},
	{"MHD_get_connection_values_n", offsetof(struct mhd, get_connection_values_n)},
	{"MHD_set_connection_option", offsetof(struct mhd, set_connection_option)},
};

const struct mhd *mhd_load(struct err *e)
{
	static struct mhd mhd;

	if (mhd.start_daemon)
		return &mhd;
	if (library_load(SONAME, "the HTTP library", "libmicrohttpd12", symbols,
			 ARRAY_SIZE(symbols), &mhd, e) < 0)
		return NULL;
	return &mhd;
}
