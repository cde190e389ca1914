/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_API_MHD_H
#define RINGKIT_API_MHD_H

#include <microhttpd.h>

#include "base/err.h"

/*
 * libmicrohttpd, loaded for the first client of the API. Debian's library links to GnuTLS: in a
 * process that is linked to it and does not use it, start-up takes 2 ms longer and 2.8 MiB more are
 * resident.
 */
struct mhd {
	__typeof__(&MHD_start_daemon) start_daemon;
	__typeof__(&MHD_stop_daemon) stop_daemon;
	__typeof__(&MHD_run) run;
	__typeof__(&MHD_get_timeout) get_timeout;
	__typeof__(&MHD_get_daemon_info) get_daemon_info;
	__typeof__(&MHD_get_connection_info) get_connection_info;
	__typeof__(&MHD_create_response_from_buffer) create_response_from_buffer;
	__typeof__(&MHD_create_response_from_callback) create_response_from_callback;
	__typeof__(&MHD_add_response_header) add_response_header;
	__typeof__(&MHD_queue_response) queue_response;
	__typeof__(&MHD_destroy_response) destroy_response;
	__typeof__(&MHD_suspend_connection) suspend_connection;
	__typeof__(&MHD_resume_connection) resume_connection;
	__typeof__(&MHD_lookup_connection_value) lookup_connection_value;
	__typeof__(&MHD_get_connection_values_n) get_connection_values_n;
	__typeof__(&MHD_set_connection_option) set_connection_option;
};

/* Loads the library at the first call, for good. The functions, or NULL with *e filled in. */
const struct mhd *mhd_load(struct err *e);

#endif
