/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_CLIENT_H
#define RINGKIT_CTL_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

/*
 * The client's end of the REST API: one connection over the unix socket, kept open from request to
 * request. One thread; a call waits for its answer, but only for the time-out.
 */
struct client;

struct client_options {
	const char *socket_path; /* borrowed; outlives the client */
	int timeout_ms;		 /* for a request, with connecting; 0: none */
	int abort_fd; /* -1, or readable when somebody wants an end: a request under way then has
		       * one more second. Borrowed */
	bool debug;   /* a line on stderr for each request */
};

/* Makes a client, which connects at its first request. 0 or -errno. */
int client_open(const struct client_options *options, struct client **out, struct err *e);

/* client may be NULL. */
void client_close(struct client *client);

/* Replaces abort_fd of the options. */
void client_set_abort_fd(struct client *client, int fd);

/* Whether the client is connected. A server that has hung up counts as gone. */
bool client_is_connected(const struct client *client);

/* The JSON of the last answer, even of one that was an error. A new reference, NULL when it was no
 * JSON. */
json_t *client_last_answer(const struct client *client);

/*
 * Makes one request; body may be NULL. An answer that is no success is an error with the server's
 * own message. *out, if out is not NULL, gets the decoded answer, whatever type it has; the caller
 * json_decref()s it. 0 or -errno: -EREMOTEIO when the server refused, -EPROTO when it has no
 * RootlessKit API, -ETIMEDOUT, -ECANCELED.
 */
int client_call(struct client *client, const char *method, const char *path, const json_t *body,
		json_t **out, struct err *e);

/* Gets path, whose answer comes piece by piece until the server ends it; take is called with each
 * piece. The usual time-out holds until the first byte, then there is none. Otherwise as
 * client_call. */
int client_follow(struct client *client, const char *path,
		  int (*take)(void *arg, const char *data, size_t len, struct err *e), void *arg,
		  struct err *e);

/* Gets path, whose answer is no JSON. *out belongs to the client, may be written to, and is valid
 * until the next request. Otherwise as client_call. */
int client_get_text(struct client *client, const char *path, char **out, struct err *e);

#endif
