/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_APICALL_H
#define RINGKIT_CTL_APICALL_H

#include <jansson.h>

#include "base/err.h"

/*
 * One request to the API over a connection of its own, without libcurl: loading that takes 8 ms,
 * and a container with 500 published ports has 2,000 requests made. For answers that are short;
 * client.h is for everybody else.
 *
 * body and out may be NULL; *out is the caller's to json_decref(). 0 or -errno with *e filled in:
 * -EREMOTEIO with the server's own message when it refused, -EPROTO when it is no RootlessKit API,
 * what connect(2) says when nobody is there.
 */
int apicall(const char *socket_path, const char *method, const char *path, const json_t *body,
	    json_t **out, struct err *e);

#endif
