/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_CLIENT_H
#define RINGKIT_CTL_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

/*
 * The client's end of the REST API: one connection over the unix socket, kept open from request
 * to request. Blocking, one thread.
 */
struct client;

/* Connects at the first request. socket_path is borrowed and must outlive the client. debug: a
 * line on stderr for each request. 0 or -errno. */
int client_open(const char *socket_path, bool debug, struct client **out, struct err *e);

/* NULL is allowed. */
void client_close(struct client *client);

/* What came with the last answer, also one that was an error. A new reference, NULL when it is no
 * JSON. */
json_t *client_last_answer(const struct client *client);

/*
 * One request; body may be NULL. An answer that is no success is an error with the server's own
 * message. *out, if out is not NULL, takes the answer decoded, whatever type it has; the caller
 * json_decref()s it. 0 or -errno: -EREMOTEIO when the server refused, -EPROTO when it is no
 * RootlessKit API.
 */
int client_call(struct client *client, const char *method, const char *path, const json_t *body,
		json_t **out, struct err *e);

#endif
