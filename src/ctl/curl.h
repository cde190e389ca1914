/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_CURL_H
#define RINGKIT_CTL_CURL_H

#include <curl/curl.h>

#include "base/err.h"

/*
 * libcurl, loaded when the first client opens. Debian's links to some twenty libraries, which cost
 * more than a megabyte and 8 ms in every process that has it linked; the docker proxy, of which
 * there are two for each published port, keeps it out of the process that stays.
 */
struct curl {
	__typeof__(&curl_global_init) global_init;
	__typeof__(&curl_global_cleanup) global_cleanup;
	__typeof__(&curl_easy_init) easy_init;
	__typeof__(&curl_easy_cleanup) easy_cleanup;
	CURLcode (*easy_setopt)(CURL *handle, CURLoption option, ...);
	CURLcode (*easy_getinfo)(CURL *handle, CURLINFO info, ...);
	__typeof__(&curl_easy_perform) easy_perform;
	__typeof__(&curl_easy_strerror) easy_strerror;
	__typeof__(&curl_slist_append) slist_append;
	__typeof__(&curl_slist_free_all) slist_free_all;
};

/* The functions, or NULL with *e filled in. Loaded once, never unloaded. */
const struct curl *curl_load(struct err *e);

#endif
