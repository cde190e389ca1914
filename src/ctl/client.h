/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_CLIENT_H
#define RINGKIT_CTL_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

/*
 * The client's end of the REST API: one connection over the unix socket, kept open from request
 * to request. One thread; a call waits for its answer, but not for ever.
 */
struct client;

struct client_options {
	const char *socket_path; /* borrowed; outlives the client */
	int timeout_ms;		 /* for a request, connecting included; 0: none */
	int abort_fd; /* -1, or readable when somebody wants an end: what is being asked has a
			 second left then. Borrowed */
	bool debug;   /* a line on stderr for each request */
};

/* Connects at the first request. 0 or -errno. */
int client_open(const struct client_options *options, struct client **out, struct err *e);

/* NULL is allowed. */
void client_close(struct client *client);

/* From now on abort_fd of the options is this. */
void client_set_abort_fd(struct client *client, int fd);

/* Whether the connection is there. A server that has hung up counts as gone. */
bool client_is_connected(const struct client *client);

/* What came with the last answer, also one that was an error. A new reference, NULL when it is no
 * JSON. */
json_t *client_last_answer(const struct client *client);

/*
 * One request; body may be NULL. An answer that is no success is an error with the server's own
 * message. *out, if out is not NULL, takes the answer decoded, whatever type it has; the caller
 * json_decref()s it. 0 or -errno: -EREMOTEIO when the server refused, -EPROTO when it is no
 * RootlessKit API, -ETIMEDOUT, -ECANCELED.
 */
int client_call(struct client *client, const char *method, const char *path, const json_t *body,
		json_t **out, struct err *e);

/* GET path, whose answer comes bit by bit until the server ends it; take gets it as it comes. For
 * the first byte there is the usual time, then no limit. Else as client_call. */
int client_follow(struct client *client, const char *path,
		  int (*take)(void *arg, const char *data, size_t len, struct err *e), void *arg,
		  struct err *e);

/* GET path, whose answer is no JSON. *out is the client's until the next request, and may be
 * written to. Else as client_call. */
int client_get_text(struct client *client, const char *path, char **out, struct err *e);

#endif
